// programs_test: real, unmodified programs behave the same under every level.
//
// One table of shell commands. Each runs twice, plain and with the level's
// library preloaded; standard output and exit status must be equal and stderr
// must hold no line of ours. The long list (servers, compilers, Python's own
// tests) is tools/checks/programs.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <ostream>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

namespace {

struct Level {
  const char* name;
  const char* variable;          // holds the path of the level's library
  bool bounds = false;           // bounded memcpy and its family besides
  const char* chosen = nullptr;  // the level, where the library has all of them
};

void PrintTo(const Level& level, std::ostream* out) { *out << level.name; }

constexpr Level kLevels[] = {
    {"Light", "HARDENED_LIGHT"},
    {"Standard", "HARDENED_STANDARD"},
    {"Strict", "HARDENED_STRICT"},
    {"Paranoid", "HARDENED_PARANOID"},
    {"ChosenStrict", "HARDENED_ALL", /*bounds=*/false, "strict"},
    {"StandardWithBounds", "HARDENED_STANDARD", /*bounds=*/true},
};

struct Program {
  const char* name;
  const char* needs;   // the command that must be installed
  const char* script;  // run by sh -c, in an empty directory
};

void PrintTo(const Program& program, std::ostream* out) { *out << program.name; }

constexpr Program kPrograms[] = {
    {"Bash", "bash",
     "bash -c 'declare -A a; for i in {1..2000}; do a[w$((i * 7919 % 1009))]+=$i,; done; "
     "echo ${#a[@]}; echo \"${a[@]}\" | cksum; mapfile -t b < <(seq 5000); echo ${b[@]: -3}; exit "
     "7'"},
    {"Ls", "ls", "ls -R /usr/include"},
    {"Sort", "sort", "seq 60000 | sort --parallel=2 -k1,1r | cksum"},
    {"Awk", "awk",
     "seq 30000 | awk '{ a[$1 % 997] = a[$1 % 997] $0 } END { for (i = 0; i < 997; i += 83) print "
     "a[i] }'"},
    {"Xz", "xz", "seq 50000 > t; xz -k t && xz -dc t.xz | cmp - t && cksum < t.xz"},
    {"Perl", "perl",
     "perl -e 'my %h; $h{join \"-\", map { $_[0] * $_ % 7 } 1 .. $_ % 9} .= \"x$_\" for 1 .. "
     "50000; "
     "print scalar(keys %h), \" \", length(join \"\", values %h), \"\\n\"'"},
    {"Lua", "lua5.4",
     "lua5.4 -e 'local t = {} for i = 1, 50000 do t[#t + 1] = (\"%x\"):format(i):rep(i % 5) end "
     "table.sort(t) print(#table.concat(t), t[777], t[#t])'"},
    {"Sqlite", "sqlite3",
     "sqlite3 t.db 'create table t(id integer primary key, v); with recursive n(i) as (select 1 "
     "union all select i + 1 "
     "from n where i < 20000) insert into t select i, printf(\"%0*d\", i % 200, i) from n; create "
     "index x on t(v); "
     "delete from t where id % 3 = 0; vacuum; pragma integrity_check; select count(*), "
     "sum(length(v)), max(v) from t'"},
    {"Git", "git",
     "export GIT_AUTHOR_DATE=2020-01-01T00:00:00Z GIT_COMMITTER_DATE=2020-01-01T00:00:00Z; git "
     "init -q r && cd r "
     "&& cp -r /usr/include/asm-generic . && git add . && git -c user.name=n -c user.email=e "
     "commit -qm m && git gc -q && git fsck --full && git rev-parse HEAD"},
    {"PythonThreads", "python3",
     "python3 -c 'import json, threading, hashlib\n"
     "def work(n, out):\n"
     "    data = [{str(i): \"v\" * (i % 300), \"list\": list(range(i % 50))} for i in "
     "range(3000)]\n"
     "    text = json.dumps([json.loads(json.dumps(d)) for d in data])\n"
     "    out[n] = hashlib.sha256(text.encode()).hexdigest()\n"
     "out = {}\n"
     "threads = [threading.Thread(target=work, args=(n, out)) for n in range(4)]\n"
     "[t.start() for t in threads]\n"
     "[t.join() for t in threads]\n"
     "print(len(out), set(out.values()))'"},
    {"PythonFork", "python3",
     "python3 -c 'import multiprocessing as m\n"
     "with m.get_context(\"fork\").Pool(4) as pool:\n"
     "    print(sum(map(len, pool.map(repr, [list(range(i)) for i in range(500)]))))'"},
    {"Gcc", "g++",
     "printf '#include <iostream>\\n#include <map>\\n#include <string>\\nint main() { "
     "std::map<std::string, int> m; "
     "for (int i = 0; i < 9999; ++i) ++m[std::string(i %% 99, 0)]; std::cout << m.size(); }' > "
     "t.cc "
     "&& g++ -O1 t.cc -o t && ./t"},
    {"Php", "php",
     "php -r '$a = []; for ($i = 0; $i < 20000; ++$i) $a[md5($i)] = str_repeat(\"x\", $i % 300); "
     "ksort($a); "
     "echo sha1(serialize($a)), strlen(json_encode($a)), implode(get_loaded_extensions()), "
     "trim(shell_exec(\"echo shell\"));'"},
    {"Fakeroot", "fakeroot",
     "fakeroot sh -c 'touch f; chown 1:2 f; stat -c \"%u %g\" f; mknod n c 1 3; stat -c %F n; tar "
     "-c f n | tar -tv | cut -c-18'"},
    // Each library that is preloaded besides, in front of ours and behind it.
    {"Faketime", "faketime",
     "lib=$(ls /usr/lib/*/faketime/libfaketime.so.1); ours=$LD_PRELOAD; export "
     "FAKETIME='2001-02-03 04:05:06' NO_FAKE_STAT=1; "
     "for LD_PRELOAD in \"$lib:$ours\" \"$ours:$lib\"; do export LD_PRELOAD; date +%F; perl -e "
     "'print scalar gmtime(time - time % 86400)'; done"},
    {"BashKillsItself", "bash",
     "for s in SEGV BUS ABRT FPE ILL SYS TRAP; do bash -c \"kill -$s \\$\\$; echo alive\"; echo "
     "$?; done; "
     "bash -c 'trap \"echo trapped\" SEGV; kill -SEGV $$; kill -SEGV $$; echo alive'; "
     "bash -c 'trap \"\" SEGV; kill -SEGV $$; echo ignored'"},
    {"PythonKillsItself", "python3",
     "for code in 'os.kill(os.getpid(), 11)' 'signal.raise_signal(11)' 'os.kill(os.getpid(), 7)' "
     "'ctypes.string_at(0)' "
     "'signal.signal(11, lambda *_: print(1)); os.kill(os.getpid(), 11); signal.signal(11, "
     "signal.SIG_DFL); os.kill(os.getpid(), 11)' "
     "'faulthandler.enable(open(os.devnull, \"w\")); os.kill(os.getpid(), 11)' "
     "'print(signal.getsignal(11), "
     "signal.getsignal(7))'; do "
     "python3 -uc \"import ctypes, faulthandler, os, signal, sys; $code\"; echo $?; done"},
    {"Node", "node",
     "node -e 'const { Worker } = require(\"worker_threads\"); for (let i = 0; i < 2; ++i) new "
     "Worker("
     "`let m = new Map(); for (let i = 0; i < 9999; ++i) m.set(i % 99, Buffer.alloc(i, 1)); "
     "require(\"worker_threads\").parentPort.postMessage(m.size)`, { eval: true }).on(\"message\", "
     "console.log)'"},
};

std::string ReadFile(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

struct Outcome {
  int status = -1;
  std::string out, err;
};

// Runs `script` in an empty directory with nothing but PATH, the locale and
// `more` in its environment, and waits for it.
Outcome RunScript(const std::string& script, const std::vector<std::string>& more) {
  std::string dir = ::testing::TempDir() + "/programs.XXXXXX";
  Outcome outcome;
  if (mkdtemp(dir.data()) == nullptr) return outcome;
  const std::string work = dir + "/work";
  std::filesystem::create_directory(work);

  std::vector<std::string> environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                                          "LC_ALL=C",
                                          "TZ=UTC",
                                          "PYTHONHASHSEED=0",
                                          "HOME=" + work,
                                          "TMPDIR=" + work};
  environment.insert(environment.end(), more.begin(), more.end());
  std::vector<char*> envp;
  for (std::string& variable : environment) envp.push_back(variable.data());
  envp.push_back(nullptr);
  std::string command = "cd '" + work + "' && " + script;
  char timeout[] = "timeout", seconds[] = "300", shell[] = "sh", flag[] = "-c";
  char* argv[] = {timeout, seconds, shell, flag, command.data(), nullptr};  // 124: it hung

  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, 1, (dir + "/out").c_str(), O_WRONLY | O_CREAT, 0600);
  posix_spawn_file_actions_addopen(&files, 2, (dir + "/err").c_str(), O_WRONLY | O_CREAT, 0600);
  pid_t pid;
  if (posix_spawn(&pid, "/usr/bin/timeout", &files, nullptr, argv, envp.data()) == 0) {
    waitpid(pid, &outcome.status, 0);
    outcome.out = ReadFile(dir + "/out");
    outcome.err = ReadFile(dir + "/err");
  }
  posix_spawn_file_actions_destroy(&files);
  std::error_code ignored;
  std::filesystem::remove_all(dir, ignored);
  return outcome;
}

std::string PathIn(const char* variable) {
  const char* path = getenv(variable);
  return path == nullptr ? "" : std::filesystem::absolute(path).string();
}
std::string LibraryOf(const Level& level) { return PathIn(level.variable); }
std::string PreloadOf(const Level& level) {
  return (level.bounds ? PathIn("HARDENED_BOUNDS") + ":" : "") + LibraryOf(level);
}
// The environment that preloads the level.
std::vector<std::string> EnvironmentOf(const Level& level) {
  std::vector<std::string> environment = {"LD_PRELOAD=" + PreloadOf(level)};
  if (level.chosen != nullptr) environment.push_back(std::string("HARDENED_LEVEL=") + level.chosen);
  return environment;
}

std::string Tail(const std::string& text) {
  return text.size() < 600 ? text : text.substr(text.size() - 600);
}

class ProgramsTest : public ::testing::TestWithParam<std::tuple<Level, Program>> {};

TEST_P(ProgramsTest, BehavesTheSameWithTheLibraryPreloaded) {
  const auto& [level, program] = GetParam();
  if (RunScript(std::string("command -v ") + program.needs, {}).status != 0) {
    GTEST_SKIP() << program.needs << " is not installed";
  }
  const std::string library = LibraryOf(level);
  ASSERT_TRUE(std::filesystem::exists(library)) << level.variable << "=" << library;

  const Outcome plain = RunScript(program.script, {});
  const Outcome preloaded = RunScript(program.script, EnvironmentOf(level));
  ASSERT_TRUE(WIFEXITED(plain.status)) << plain.err;
  ASSERT_FALSE(plain.out.empty()) << plain.err;
  EXPECT_EQ(preloaded.status, plain.status) << Tail(preloaded.err);
  EXPECT_TRUE(preloaded.out == plain.out) << "plain:\n"
                                          << Tail(plain.out) << "\npreloaded:\n"
                                          << Tail(preloaded.out);
  EXPECT_THAT("\n" + preloaded.err, ::testing::Not(::testing::HasSubstr("\nhardened:")));
  EXPECT_THAT(preloaded.err, ::testing::Not(::testing::HasSubstr("cannot be preloaded")));
}

INSTANTIATE_TEST_SUITE_P(EveryLevel, ProgramsTest,
                         ::testing::Combine(::testing::ValuesIn(kLevels),
                                            ::testing::ValuesIn(kPrograms)),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param).name) +
                                  std::get<1>(info.param).name;
                         });

class PreloadTest : public ::testing::TestWithParam<Level> {};

// The dynamic linker's own account: the other tests pass as well when every
// call goes to libc, as it does when the exported malloc carries a version.
TEST_P(PreloadTest, MallocIsBoundToTheLibraryAndNeverToLibc) {
  const std::string library = LibraryOf(GetParam());
  ASSERT_TRUE(std::filesystem::exists(library)) << GetParam().variable << "=" << library;
  std::vector<std::string> environment = EnvironmentOf(GetParam());
  environment.push_back("LD_DEBUG=bindings");
  const Outcome outcome = RunScript("ls /", environment);
  ASSERT_EQ(outcome.status, 0) << Tail(outcome.err);
  bool bound = false;
  std::istringstream lines(outcome.err);
  for (std::string line; std::getline(lines, line);) {
    if (line.find("symbol `malloc'") == std::string::npos) continue;
    bound = bound || line.find(" to " + library + " [") != std::string::npos;
    EXPECT_EQ(line.find("libc.so", line.find(" to ")), std::string::npos) << line;
  }
  EXPECT_TRUE(bound);
}

// What the library asks of the file system it asks before the program's own code.
TEST_P(PreloadTest, AProgramThatHidesFilesBeforeItAllocatesHearsNothing) {
  const Outcome plain = RunScript(PathIn("HIDDEN_FILES"), {});
  if (WIFEXITED(plain.status) && WEXITSTATUS(plain.status) == 3)
    GTEST_SKIP() << "no seccomp filters here";
  ASSERT_EQ(plain.out, "fine\n");
  const Outcome preloaded = RunScript(PathIn("HIDDEN_FILES"), EnvironmentOf(GetParam()));
  EXPECT_EQ(preloaded.status, 0);
  EXPECT_EQ(preloaded.out, "fine\n");
  EXPECT_EQ(preloaded.err, "");
}

INSTANTIATE_TEST_SUITE_P(EveryLevel, PreloadTest, ::testing::ValuesIn(kLevels),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
