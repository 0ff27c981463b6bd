#include "policies/policy_file.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/policies/complaints.h"

namespace hardened::policies {

void PrintTo(Refusal refusal, std::ostream* out) { *out << TextOf(refusal); }

namespace {

constexpr std::string_view kProgram = "/usr/sbin/nginx";

// ---- Patterns

TEST(MatchesProgramTest, FollowsTheTable) {
  struct Row {
    std::string_view pattern;
    std::string_view path;
    bool matches;
  };
  const Row rows[] = {
      {"*", "/usr/sbin/nginx", true},
      {"*", "", true},
      {"/usr/sbin/nginx", "/usr/sbin/nginx", true},
      {"/usr/sbin/nginx", "/usr/sbin/ngin", false},
      {"/usr/sbin/nginx", "/usr/sbin/nginx2", false},
      {"/usr/sbin/nginx", "", false},
      {"/usr/bin/redis-*", "/usr/bin/redis-server", true},
      {"/usr/bin/redis-*", "/usr/bin/redis-", true},
      {"/usr/bin/redis-*", "/usr/bin/redis", false},
      {"/usr/bin/redis-*", "/usr/bin/redis-x/y", false},
      {"/usr/*/nginx", "/usr/sbin/nginx", true},
      {"/usr/*/nginx", "/usr/local/sbin/nginx", false},
      {"/usr/*/nginx", "/usr/nginx", false},
      {"/usr/**/nginx", "/usr/local/sbin/nginx", true},
      {"/usr/**/nginx", "/usr/nginx", false},
      {"/opt/legacy/**", "/opt/legacy/a/b/c", true},
      {"/opt/legacy/**", "/opt/legacy/", true},
      {"/opt/legacy/**", "/opt/legacy", false},
      {"/**", "/a", true},
      {"/*", "/a", true},
      {"/*", "/a/b", false},
      {"/a?c", "/abc", true},
      {"/a?c", "/a/c", false},
      {"/a?c", "/ac", false},
      {"/a[b]c", "/a[b]c", true},
      {"/a[b]c", "/abc", false},
      {"/a\\*c", "/a*c", true},
      {"/a\\*c", "/abc", false},
      {"/a\\?", "/ab", false},
      {"/a\\?", "/a?", true},
      {"/a\\\\b", "/a\\b", true},
      {"/a\\bc", "/abc", true},
      {"/a\\ b", "/a b", true},
      {"/a*b*c", "/aXbYbZc", true},
      {"/a*b*c", "/aXbYbZd", false},
      {"/a*/b", "/aXX/b", true},
      {"/*a/*a", "/aa/aXa", true},
      {"/**a*b", "/x/a/y/aXb", true},
      {"/**a*b", "/x/aX/b", false},
      {"/***", "/a/b", true},
      {"/**/*", "/a", false},
      {"/**/*", "/a/b", true},
      {"/*\xff", "/a\xff", true},
      // Not patterns.
      {"", "", false},
      {"**", "/a", false},
      {"a", "a", false},
      {"*a", "/a", false},
      {"/a\\", "/a\\", false},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(MatchesProgram(row.pattern, row.path), row.matches) << row.pattern << " " << row.path;
  }
}

// Tries everything; slow, and plain.
bool MatchesSlowly(std::string_view pattern, std::string_view path) {
  if (pattern.empty()) return path.empty();
  if (pattern.starts_with("*")) {
    const bool any = pattern.starts_with("**");
    if (MatchesSlowly(pattern.substr(any ? 2 : 1), path)) return true;
    return !path.empty() && (any || path[0] != '/') && MatchesSlowly(pattern, path.substr(1));
  }
  if (path.empty()) return false;
  if (pattern[0] == '?') return path[0] != '/' && MatchesSlowly(pattern.substr(1), path.substr(1));
  if (pattern[0] == '\\') pattern.remove_prefix(1);
  return pattern[0] == path[0] && MatchesSlowly(pattern.substr(1), path.substr(1));
}

// Every text of up to `size` bytes of `alphabet` after '/'.
std::vector<std::string> TextsOf(std::string_view alphabet, size_t size) {
  std::vector<std::string> texts = {"/"};
  for (size_t i = 0; i < texts.size(); ++i) {
    if (texts[i].size() > size) break;
    for (const char c : alphabet) texts.push_back(texts[i] + c);
  }
  return texts;
}

TEST(MatchesProgramTest, AgreesWithTheSlowMatcherOnAllShortTexts) {
  const std::vector<std::string> paths = TextsOf("a/*", 4);
  for (const std::string& pattern : TextsOf("a/*?\\", 5)) {
    if (!IsValidPattern(pattern)) continue;
    for (const std::string& path : paths) {
      ASSERT_EQ(MatchesProgram(pattern, path), MatchesSlowly(pattern, path))
          << pattern << " " << path;
    }
  }
}

TEST(MatchesProgramTest, LongPatternsAndPathsTakeTheirProductAtMost) {
  std::string pattern = "/";
  while (pattern.size() + 3 <= kMaxPolicyLineBytes) pattern += "**a";
  const std::string path = "/" + std::string(4000, 'a');
  EXPECT_TRUE(MatchesProgram(pattern, path));
  EXPECT_FALSE(MatchesProgram(pattern, path + "b"));
  EXPECT_FALSE(MatchesProgram(pattern + std::string(5, 'a'), path));  // above the limit
}

TEST(IsValidPatternTest, AStarOrAnAbsolutePathWithoutAnOpenEscape) {
  for (const char* pattern : {"*", "/", "/a", "/**", "/a\\\\", "/ä", "/a b"}) {
    EXPECT_TRUE(IsValidPattern(pattern)) << pattern;
  }
  for (const char* pattern : {"", "a", "**", "*/", "?", "a/b", "\\/", "/\\", "/a\\\\\\"}) {
    EXPECT_FALSE(IsValidPattern(pattern)) << pattern;
  }
  EXPECT_TRUE(IsValidPattern("/" + std::string(kMaxPolicyLineBytes - 1, 'a')));
  EXPECT_FALSE(IsValidPattern("/" + std::string(kMaxPolicyLineBytes, 'a')));
}

// ---- Text

struct Applied {
  Setting setting;
  uint64_t value;
  uint32_t line;
  friend bool operator==(const Applied&, const Applied&) = default;
};
void PrintTo(const Applied& applied, std::ostream* out) {
  *out << applied.line << ": " << FactsOf(applied.setting).name << "=" << applied.value;
}

class Rules : public RuleSink {
 public:
  void Apply(Setting setting, uint64_t value, uint32_t line) override {
    applied.push_back({setting, value, line});
  }
  std::vector<Applied> applied;
};

struct Parsed {
  explicit Parsed(std::string_view text, std::string_view program = kProgram) {
    // A copy of its exact size, so that a sanitizer sees a read past the end.
    const std::vector<char> exact(text.begin(), text.end());
    good = ParsePolicyText({exact.data(), exact.size()}, program, &settings, complaints, &rules);
  }
  Settings settings;
  Complaints complaints;
  Rules rules;
  bool good;
};

TEST(ParsePolicyTextTest, ReadsTheExampleOfTheHeader) {
  constexpr std::string_view kText =
      "# one rule a line; '#' starts a comment\n"
      "*                    level=standard\n"
      "/usr/sbin/nginx      level=strict floor=strict\n"
      "/usr/bin/redis-*     level=strict quarantine=4M\n"
      "/opt/legacy/**       disable\n";
  const std::vector<std::pair<std::string, std::string>> expected = {
      {"/usr/sbin/nginx", "level=strict floor=strict"},
      {"/usr/bin/redis-server", "level=strict quarantine=4M"},
      {"/opt/legacy/x/y", "level=standard disable=on"},
      {"/bin/true", "level=standard"},
      {"", "level=standard"},
  };
  for (const auto& [program, settings] : expected) {
    const Parsed parsed(kText, program);
    EXPECT_TRUE(parsed.good);
    EXPECT_TRUE(parsed.complaints.told.empty());
    EXPECT_EQ(Print(parsed.settings, ' '), settings) << program;
  }
}

TEST(ParsePolicyTextTest, RulesAreToldInOrderWithTheirLines) {
  const Parsed parsed(
      "/usr/sbin/nginx seed=3 level=strict\n\n/bin/true seed=9\n* level=light seed=4 seed=5\n");
  EXPECT_EQ(parsed.rules.applied, (std::vector<Applied>{{Setting::kSeed, 3, 1},
                                                        {Setting::kLevel, 2, 1},
                                                        {Setting::kLevel, 0, 4},
                                                        {Setting::kSeed, 4, 4},
                                                        {Setting::kSeed, 5, 4}}));
  EXPECT_EQ(Print(parsed.settings), "level=light:seed=5");
  EXPECT_TRUE(parsed.good);  // a duplicate is told, and no fault
  EXPECT_EQ(parsed.complaints.told,
            (std::vector<Complained>{{Complaint::kDuplicate, "seed=5", 4, 22}}));
}

TEST(ParsePolicyTextTest, RulesMayBeNull) {
  Settings settings;
  Complaints complaints;
  EXPECT_TRUE(ParsePolicyText("* seed=1", kProgram, &settings, complaints, nullptr));
  EXPECT_EQ(Print(settings), "seed=1");
}

TEST(ParsePolicyTextTest, WhatWasSaidBeforeIsKept) {
  Settings settings;
  settings.Set(Setting::kAudit, 1);
  settings.Set(Setting::kSeed, 1);
  Complaints complaints;
  EXPECT_TRUE(ParsePolicyText("* seed=2", kProgram, &settings, complaints, nullptr));
  EXPECT_EQ(Print(settings), "audit=on:seed=2");
}

TEST(ParsePolicyTextTest, ComplaintsHaveTheirExactPlace) {
  const Parsed parsed(
      "* nosuch=1\n"
      "\t /bin/true  quarantine=4X\tlevel=\n"
      "nginx level=strict\n"
      "  /usr/sbin/nginx\n"
      "* sample=1/0 audit # fine\n"
      "/usr\\ sample=2\n"
      "* seed=1#no\n"
      "/usr/sbin/nginx\\");
  const std::vector<Complained> expected = {
      {Complaint::kUnknownName, "nosuch=1", 1, 3},
      {Complaint::kMalformedValue, "quarantine=4X", 2, 14},
      {Complaint::kMissingValue, "level=", 2, 28},
      {Complaint::kBadPattern, "nginx", 3, 1},
      {Complaint::kMissingSetting, "/usr/sbin/nginx", 4, 3},
      {Complaint::kOutOfRange, "sample=1/0", 5, 3},
      {Complaint::kMissingSetting, "/usr\\ sample=2", 6, 1},
      {Complaint::kMalformedValue, "seed=1#no", 7, 3},
      {Complaint::kBadPattern, "/usr/sbin/nginx\\", 8, 1},
      {Complaint::kMissingSetting, "/usr/sbin/nginx\\", 8, 1},
  };
  EXPECT_EQ(parsed.complaints.told, expected);
  EXPECT_FALSE(parsed.good);
  EXPECT_EQ(Print(parsed.settings), "audit=on");  // the rest of the line with sample counts
}

TEST(ParsePolicyTextTest, LinesThatDoNotMatchAreParsedAsWell) {
  const Parsed parsed("/bin/true level=nosuch\n");
  EXPECT_FALSE(parsed.good);
  EXPECT_EQ(parsed.complaints.told,
            (std::vector<Complained>{{Complaint::kMalformedValue, "level=nosuch", 1, 11}}));
}

TEST(ParsePolicyTextTest, CommentsBeginWhereAWordCould) {
  EXPECT_EQ(Print(Parsed("#* seed=1\n  # * seed=1\n* seed=2 # seed=3\n").settings), "seed=2");
  EXPECT_EQ(Print(Parsed("/a#b seed=1\n", "/a#b").settings), "seed=1");
  EXPECT_TRUE(Parsed("").good);
  EXPECT_TRUE(Parsed("\n\n \t\n#\n").good);
}

TEST(ParsePolicyTextTest, APatternMayHaveEscapedSpaces) {
  const Parsed parsed("/opt/my\\ program/\\** seed=1", "/opt/my program/*x");
  EXPECT_TRUE(parsed.good);
  EXPECT_EQ(Print(parsed.settings), "seed=1");
}

TEST(ParsePolicyTextTest, ControlBytesVoidTheirWord) {
  using std::string_view_literals::operator""sv;
  const Parsed parsed(
      "* level=str\x01ict seed=1\n"
      "/usr/sbin/\0nginx seed=2\n"
      "* seed=3 # a\x7f bell\n"
      "* \x1b seed=4\n"sv);
  EXPECT_EQ(parsed.complaints.told, (std::vector<Complained>{
                                        {Complaint::kControlByte, "\x01", 1, 12},
                                        {Complaint::kControlByte, std::string(1, '\0'), 2, 11},
                                        {Complaint::kControlByte, "\x7f", 3, 13},
                                        {Complaint::kControlByte, "\x1b", 4, 3},
                                    }));
  EXPECT_EQ(Print(parsed.settings), "seed=4");
  EXPECT_FALSE(parsed.good);
}

TEST(ParsePolicyTextTest, CarriageReturnsAreToldAndLoseNoSetting) {
  const Parsed parsed("* level=strict\r\n\r\n/usr/sbin/nginx seed=1\r\n");
  EXPECT_EQ(Print(parsed.settings), "level=strict:seed=1");
  EXPECT_EQ(parsed.complaints.told, (std::vector<Complained>{
                                        {Complaint::kControlByte, "\r", 1, 15},
                                        {Complaint::kControlByte, "\r", 2, 1},
                                        {Complaint::kControlByte, "\r", 3, 23},
                                    }));
  EXPECT_FALSE(parsed.good);
}

TEST(ParsePolicyTextTest, LongLinesAreVoidAndTheNextOneCounts) {
  const std::string start = "* level=strict ";
  const std::string longest = start + std::string(kMaxPolicyLineBytes - start.size(), ' ');
  EXPECT_EQ(Print(Parsed(longest + "\n").settings), "level=strict");
  const Parsed parsed(longest + " \n* seed=1\n");
  EXPECT_EQ(Print(parsed.settings), "seed=1");
  EXPECT_EQ(parsed.complaints.told,
            (std::vector<Complained>{{Complaint::kLineTooLong, longest.substr(0, 64), 1, 1}}));
}

TEST(ParsePolicyTextTest, TheLastLineNeedsNoNewline) {
  EXPECT_EQ(Print(Parsed("* seed=1\n* seed=2").settings), "seed=2");
}

// ---- Files

class Events : public PolicyFileSink {
 public:
  void BeginFile(std::string_view path) override { files.emplace_back(path); }
  void Refuse(std::string_view path, Refusal refusal) override {
    refused.emplace_back(path, refusal);
  }
  void Complain(Complaint, std::string_view, uint32_t, uint32_t) override {
    complained_in.push_back(files.back());
  }
  void Apply(Setting, uint64_t, uint32_t) override { applied_in.push_back(files.back()); }

  std::vector<std::string> files;
  std::vector<std::pair<std::string, Refusal>> refused;
  std::vector<std::string> complained_in;
  std::vector<std::string> applied_in;
};

using Refused = std::vector<std::pair<std::string, Refusal>>;

class ReadPolicyFilesTest : public testing::Test {
 protected:
  void SetUp() override {
    umask(022);
    std::string pattern = testing::TempDir() + "/policies.XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    directory_ = root_ / "hardened";
    ASSERT_EQ(mkdir(directory_.c_str(), 0755), 0);
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  std::string Path(const std::string& name) const { return (directory_ / name).string(); }

  void Write(const std::string& name, const std::string& text) {
    std::filesystem::create_directories(directory_ / std::filesystem::path(name).parent_path());
    std::ofstream(directory_ / name) << text;
  }

  // What the files say about the program, printed.
  std::string Read(std::string_view program = kProgram) {
    Settings settings;
    events_ = Events();
    errno = 77;
    ReadPolicyFiles(directory_.c_str(), owner_, program, &settings, events_);
    EXPECT_EQ(errno, 77);
    return Print(settings);
  }

  void Chmod(const std::string& name, mode_t mode) {
    ASSERT_EQ(chmod(Path(name).c_str(), mode), 0);
  }

  std::filesystem::path root_;
  std::filesystem::path directory_;
  uid_t owner_ = getuid();
  Events events_;
};

TEST_F(ReadPolicyFilesTest, NoDirectoryAndEmptyOnesSayNothing) {
  EXPECT_EQ(Read(), "");
  EXPECT_TRUE(events_.files.empty());
  EXPECT_TRUE(events_.refused.empty());
  std::filesystem::create_directory(directory_ / "policy.d");
  EXPECT_EQ(Read(), "");
  EXPECT_TRUE(events_.refused.empty());
  std::filesystem::remove_all(directory_);
  EXPECT_EQ(Read(), "");
  EXPECT_TRUE(events_.refused.empty());
}

TEST_F(ReadPolicyFilesTest, ReadsPolicyThenPolicyDInTheOrderOfNames) {
  Write("policy", "* level=light seed=1\n");
  Write("policy.d/b.policy", "* seed=3\n");
  Write("policy.d/B.policy", "* seed=2 audit\n");
  Write("policy.d/10.policy", "* seed=10 run_hold=1M\n");
  Write("policy.d/9.policy", "* seed=9 run_hold=2M\n");
  Write("policy.d/other", "* seed=98\n");
  Write("policy.d/x.policy~", "* seed=98\n");
  Write("policy.d/.hidden.policy", "* seed=99\n");
  EXPECT_EQ(Read(), "level=light:audit=on:run_hold=2M:seed=3");
  EXPECT_EQ(events_.files,
            (std::vector<std::string>{Path("policy"), Path("policy.d/10.policy"),
                                      Path("policy.d/9.policy"), Path("policy.d/B.policy"),
                                      Path("policy.d/b.policy")}));
  EXPECT_TRUE(events_.refused.empty());
  EXPECT_EQ(events_.applied_in,
            (std::vector<std::string>{Path("policy"), Path("policy"), Path("policy.d/10.policy"),
                                      Path("policy.d/10.policy"), Path("policy.d/9.policy"),
                                      Path("policy.d/9.policy"), Path("policy.d/B.policy"),
                                      Path("policy.d/B.policy"), Path("policy.d/b.policy")}));
}

TEST_F(ReadPolicyFilesTest, AnEmptyFileIsReadAndSaysNothing) {
  Write("policy", "");
  EXPECT_EQ(Read(), "");
  EXPECT_EQ(events_.files, std::vector<std::string>{Path("policy")});
}

TEST_F(ReadPolicyFilesTest, ComplaintsBelongToTheFileThatBegan) {
  Write("policy", "* seed=1\n");
  Write("policy.d/a.policy", "* nosuch\n");
  EXPECT_EQ(Read(), "seed=1");
  EXPECT_EQ(events_.complained_in, std::vector<std::string>{Path("policy.d/a.policy")});
}

TEST_F(ReadPolicyFilesTest, WritableFilesAreRefusedAndTheOthersCount) {
  Write("policy", "* seed=1\n");
  Write("policy.d/a.policy", "* run_hold=1M\n");
  Write("policy.d/b.policy", "* audit\n");
  for (const mode_t mode : {0664, 0646, 0666, 0622}) {
    Chmod("policy", mode);
    EXPECT_EQ(Read(), "audit=on:run_hold=1M");
    EXPECT_EQ(events_.refused, (Refused{{Path("policy"), Refusal::kWritableByOthers}}));
  }
  Chmod("policy", 0600);
  Chmod("policy.d/a.policy", 0664);
  EXPECT_EQ(Read(), "audit=on:seed=1");
  EXPECT_EQ(events_.refused, (Refused{{Path("policy.d/a.policy"), Refusal::kWritableByOthers}}));
}

TEST_F(ReadPolicyFilesTest, WritableDirectoriesAreRefusedWithAllTheyHold) {
  Write("policy", "* seed=1\n");
  Write("policy.d/a.policy", "* run_hold=1M\n");
  for (const mode_t mode : {0775, 0757, 01777}) {
    Chmod("policy.d", mode);
    EXPECT_EQ(Read(), "seed=1");
    EXPECT_EQ(events_.refused, (Refused{{Path("policy.d"), Refusal::kWritableByOthers}}));
  }
  Chmod("policy.d", 0755);
  Chmod("", 0775);
  EXPECT_EQ(Read(), "");
  EXPECT_EQ(events_.refused, (Refused{{directory_.string(), Refusal::kWritableByOthers}}));
}

TEST_F(ReadPolicyFilesTest, TheWrongOwnerIsRefused) {
  Write("policy", "* seed=1\n");
  owner_ = getuid() + 1;
  EXPECT_EQ(Read(), "");
  EXPECT_EQ(events_.refused, (Refused{{directory_.string(), Refusal::kWrongOwner}}));
}

TEST_F(ReadPolicyFilesTest, TheWrongOwnerOfOneFileIsRefused) {
  if (getuid() != 0) GTEST_SKIP() << "only root can give files away";
  Write("policy", "* seed=1\n");
  Write("policy.d/a.policy", "* run_hold=1M\n");
  if (chown(Path("policy").c_str(), 12345, 0) != 0) GTEST_SKIP() << "no other user here";
  EXPECT_EQ(Read(), "run_hold=1M");
  EXPECT_EQ(events_.refused, (Refused{{Path("policy"), Refusal::kWrongOwner}}));
  ASSERT_EQ(chown(Path("policy").c_str(), 0, 0), 0);
  ASSERT_EQ(chown(Path("policy.d").c_str(), 12345, 0), 0);
  EXPECT_EQ(Read(), "seed=1");
  EXPECT_EQ(events_.refused, (Refused{{Path("policy.d"), Refusal::kWrongOwner}}));
}

TEST_F(ReadPolicyFilesTest, LinksAreRefused) {
  Write("target", "* seed=1\n");
  Write("policy.d/b.policy", "* audit\n");
  std::filesystem::create_symlink("target", directory_ / "policy");
  std::filesystem::create_symlink("../target", directory_ / "policy.d/a.policy");
  std::filesystem::create_symlink("nowhere", directory_ / "policy.d/c.policy");
  EXPECT_EQ(Read(), "audit=on");
  EXPECT_EQ(events_.refused, (Refused{{Path("policy"), Refusal::kNotRegular},
                                      {Path("policy.d/a.policy"), Refusal::kNotRegular},
                                      {Path("policy.d/c.policy"), Refusal::kNotRegular}}));
}

TEST_F(ReadPolicyFilesTest, LinksToDirectoriesAreRefused) {
  Write("real.d/a.policy", "* seed=1\n");
  std::filesystem::create_symlink("real.d", directory_ / "policy.d");
  EXPECT_EQ(Read(), "");
  EXPECT_EQ(events_.refused, (Refused{{Path("policy.d"), Refusal::kNotRegular}}));
  const std::filesystem::path real = directory_;
  directory_ = root_ / "link";
  std::filesystem::create_symlink(real, directory_);
  EXPECT_EQ(Read(), "");
  EXPECT_EQ(events_.refused, (Refused{{directory_.string(), Refusal::kNotRegular}}));
}

TEST_F(ReadPolicyFilesTest, WhatIsNoFileIsRefusedWithoutWaiting) {
  ASSERT_EQ(mkfifo(Path("policy").c_str(), 0644), 0);
  std::filesystem::create_directories(directory_ / "policy.d/a.policy");
  EXPECT_EQ(Read(), "");
  EXPECT_EQ(events_.refused, (Refused{{Path("policy"), Refusal::kNotRegular},
                                      {Path("policy.d/a.policy"), Refusal::kNotRegular}}));
  std::filesystem::remove_all(directory_ / "policy.d");
  Write("policy.d", "* seed=1\n");
  EXPECT_EQ(Read(), "");
  EXPECT_EQ(events_.refused.back(), (std::pair{Path("policy.d"), Refusal::kNotRegular}));
}

TEST_F(ReadPolicyFilesTest, AFileForTheDirectoryIsRefused) {
  std::filesystem::remove(directory_);
  std::ofstream(directory_) << "* seed=1\n";
  EXPECT_EQ(Read(), "");
  EXPECT_EQ(events_.refused, (Refused{{directory_.string(), Refusal::kNotRegular}}));
}

// Refuses to open what is said to be a directory, as the filter that man-db runs troff under does.
bool RefuseDirectories() {
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[2])),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_DIRECTORY, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0;
}

TEST_F(ReadPolicyFilesTest, AFilterThatRefusesToOpenDirectoriesAsSuchDoesNoHarm) {
  Write("policy", "* seed=1\n");
  Write("policy.d/a.policy", "* quarantine=1M\n");
  const std::string expected = Read();
  const pid_t child = fork();
  if (child == 0) {
    if (!RefuseDirectories()) _exit(2);
    _exit(open(directory_.c_str(), O_RDONLY | O_DIRECTORY) < 0 && Read() == expected &&
                  events_.refused.empty()
              ? 0
              : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 2) GTEST_SKIP() << "no seccomp filters here";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(ReadPolicyFilesTest, OtherErrorsAreRefusedAsUnreadable) {
  const std::string too_long(5000, 'n');
  directory_ = root_ / too_long;
  EXPECT_EQ(Read(), "");
  EXPECT_EQ(events_.refused, (Refused{{directory_.string(), Refusal::kCannotRead}}));
}

TEST_F(ReadPolicyFilesTest, LargeFilesAreRefused) {
  const std::string rule = "* seed=1\n";
  Write("policy", rule + std::string(kMaxPolicyFileBytes - rule.size(), '\n'));
  EXPECT_EQ(Read(), "seed=1");
  Write("policy", rule + std::string(kMaxPolicyFileBytes - rule.size() + 1, '\n'));
  EXPECT_EQ(Read(), "");
  EXPECT_EQ(events_.refused, (Refused{{Path("policy"), Refusal::kTooLarge}}));
}

TEST_F(ReadPolicyFilesTest, ABigFileLeavesNothingBehindForASmallOne) {
  Write("policy", "* seed=1\n" + std::string(5000, '#') + "\n* audit\n");
  Write("policy.d/a.policy", "* run_hold=1M");
  EXPECT_EQ(Read(), "audit=on:run_hold=1M:seed=1");
}

TEST_F(ReadPolicyFilesTest, TheLastByNameOfTooManyFilesAreRefused) {
  // Names in no order.
  for (uint32_t i = 0; i < kMaxPolicyFiles + 3; ++i) {
    const uint32_t number = 100 + i * 37 % (kMaxPolicyFiles + 3);
    Write("policy.d/" + std::to_string(number) + ".policy",
          "* seed=" + std::to_string(number) + "\n");
  }
  EXPECT_EQ(Read(), "seed=" + std::to_string(100 + kMaxPolicyFiles - 1));
  ASSERT_EQ(events_.files.size(), kMaxPolicyFiles);
  for (uint32_t i = 0; i < kMaxPolicyFiles; ++i) {
    EXPECT_EQ(events_.files[i], Path("policy.d/" + std::to_string(100 + i) + ".policy"));
  }
  std::set<std::string> refused;
  for (const auto& [path, refusal] : events_.refused) {
    EXPECT_EQ(refusal, Refusal::kTooMany);
    refused.insert(path);
  }
  EXPECT_EQ(refused,
            (std::set<std::string>{Path("policy.d/164.policy"), Path("policy.d/165.policy"),
                                   Path("policy.d/166.policy")}));
}

TEST_F(ReadPolicyFilesTest, LongNamesAmongManyEntriesAreRead) {
  // More than one call of getdents64() gives.
  std::vector<std::string> expected;
  for (int i = 100; i < 140; ++i) {
    const std::string stem = std::to_string(i) + std::string(245, 'n');
    Write("policy.d/" + stem + ".policy", "* seed=" + std::to_string(i) + "\n");
    for (int j = 0; j < 10; ++j) Write("policy.d/" + stem + std::to_string(j), "");
    expected.push_back(Path("policy.d/" + stem + ".policy"));
  }
  EXPECT_EQ(Read(), "seed=139");
  EXPECT_EQ(events_.files, expected);
}

TEST_F(ReadPolicyFilesTest, LeavesNoFileOpen) {
  Write("policy", "* seed=1\n");
  Write("policy.d/a.policy", "* seed=2\n");
  const int before = open("/dev/null", O_RDONLY);
  close(before);
  Read();
  Chmod("policy.d", 0777);
  Read();
  Chmod("", 0777);
  Read();
  const int after = open("/dev/null", O_RDONLY);
  close(after);
  EXPECT_EQ(after, before);
}

// ---- Cost

// The system calls that `body` makes in a child, or -1 when they cannot be traced.
template <class Body>
int CountSystemCalls(Body body) {
  const pid_t child = fork();
  if (child == 0) {
    if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) _exit(1);
    raise(SIGSTOP);
    syscall(SYS_getppid);  // marks the beginning
    body();
    syscall(SYS_getppid);  // and the end
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (!WIFSTOPPED(status)) return -1;
  ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
  int marks = 0;
  int calls = 0;
  bool enters = true;
  for (;;) {
    ptrace(PTRACE_SYSCALL, child, nullptr, nullptr);
    waitpid(child, &status, 0);
    if (!WIFSTOPPED(status)) break;
    if (WSTOPSIG(status) != (SIGTRAP | 0x80)) continue;
    if (enters) {
      __ptrace_syscall_info info = {};
      if (ptrace(PTRACE_GET_SYSCALL_INFO, child, sizeof(info), &info) <= 0) {
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
        return -1;
      }
      if (info.entry.nr == SYS_getppid) {
        ++marks;
      } else if (marks == 1) {
        ++calls;
      }
    }
    enters = !enters;
  }
  return marks == 2 ? calls : -1;
}

TEST_F(ReadPolicyFilesTest, AMissingDirectoryCostsOneSystemCall) {
  const std::string nowhere = Path("nowhere");
  Settings settings;
  Events events;
  const int calls = CountSystemCalls(
      [&] { ReadPolicyFiles(nowhere.c_str(), owner_, kProgram, &settings, events); });
  if (calls < 0) GTEST_SKIP() << "children cannot be traced here";
  EXPECT_EQ(calls, 1);
}

TEST_F(ReadPolicyFilesTest, OneFileCostsAtMostElevenSystemCalls) {
  Write("policy", "/bin/true seed=1\n");
  Settings settings;
  Events events;
  // The sink's strings may allocate; they do not reach the kernel for so little.
  const int calls = CountSystemCalls(
      [&] { ReadPolicyFiles(directory_.c_str(), owner_, kProgram, &settings, events); });
  if (calls < 0) GTEST_SKIP() << "children cannot be traced here";
  EXPECT_LE(calls, 11);
}

TEST(TextOfTest, EveryRefusalHasATextOfItsOwn) {
  std::set<std::string_view> texts;
  for (int i = 0; i <= static_cast<int>(Refusal::kTooMany); ++i) {
    const std::string_view text = TextOf(static_cast<Refusal>(i));
    EXPECT_FALSE(text.empty());
    EXPECT_TRUE(texts.insert(text).second) << text;
  }
}

}  // namespace
}  // namespace hardened::policies
