#include "policies/policy_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "hardened/prim/kernel.h"
#include "policies/text.h"

namespace hardened::policies {
namespace {

namespace kernel = prim::kernel;

// ---- Lines

bool IsBlank(char c) { return c == ' ' || c == '\t'; }

bool IsControl(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte < 0x20 && c != '\t') || byte == 0x7f;
}

// The first control byte; npos when there is none.
size_t FindControl(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (IsControl(text[i])) return i;
  }
  return std::string_view::npos;
}

// Parses the lines of one file, for one program.
class LineParser {
 public:
  LineParser(std::string_view program, Settings* settings, ComplaintSink& sink, RuleSink* rules)
      : program_(program), settings_(settings), sink_(sink), rules_(rules) {}

  void Parse(std::string_view line) {
    ++number_;
    line_ = line;
    if (line.size() > kMaxPolicyLineBytes) {
      Complain(Complaint::kLineTooLong, Part(line, 0, kShownOfLongLine));
      return;
    }
    if (!line.empty() && line.back() == '\r') {
      Complain(Complaint::kControlByte, PartFrom(line, line.size() - 1));
      line_.remove_suffix(1);
    }
    next_ = 0;
    const std::string_view pattern = NextWord(/*with_escapes=*/true);
    if (pattern.empty()) return;
    // The settings of a line that does not count are parsed as well, to tell what is wrong.
    const bool matches = CheckPattern(pattern) && MatchesProgram(pattern, program_);
    if (!ParseLineSettings(matches)) Complain(Complaint::kMissingSetting, pattern);
  }

  bool good() const { return good_; }

 private:
  static constexpr size_t kShownOfLongLine = 64;

  // The next word of the line; empty at its end or at a comment.
  std::string_view NextWord(bool with_escapes) {
    while (next_ < line_.size() && IsBlank(line_[next_])) ++next_;
    const size_t start = next_;
    if (start < line_.size() && line_[start] == '#') {
      TellControlIn(PartFrom(line_, start));
      next_ = line_.size();
      return {};
    }
    while (next_ < line_.size() && !IsBlank(line_[next_])) {
      next_ += with_escapes && line_[next_] == '\\' && next_ + 1 < line_.size() ? 2 : 1;
    }
    return Part(line_, start, next_);
  }

  bool CheckPattern(std::string_view pattern) {
    if (TellControlIn(pattern)) return false;
    if (IsValidPattern(pattern)) return true;
    Complain(Complaint::kBadPattern, pattern);
    return false;
  }

  // Returns: whether there was any word.
  bool ParseLineSettings(bool matches) {
    bool any = false;
    Settings said;  // in this line
    for (std::string_view word; !(word = NextWord(/*with_escapes=*/false)).empty();) {
      any = true;
      if (TellControlIn(word)) continue;
      Setting setting;
      uint64_t value;
      Complaint complaint;
      if (!ParseSetting(word, /*is_policy_file=*/true, &setting, &value, &complaint)) {
        Complain(complaint, word);
        continue;
      }
      if (said.has(setting)) Complain(Complaint::kDuplicate, word);
      said.Set(setting, value);
      if (!matches) continue;
      settings_->Set(setting, value);
      if (rules_ != nullptr) rules_->Apply(setting, value, number_);
    }
    return any;
  }

  // Returns: whether there is a control byte.
  bool TellControlIn(std::string_view text) {
    const size_t at = FindControl(text);
    if (at == std::string_view::npos) return false;
    Complain(Complaint::kControlByte, Part(text, at, at + 1));
    return true;
  }

  void Complain(Complaint complaint, std::string_view word) {
    if (complaint != Complaint::kDuplicate) good_ = false;
    sink_.Complain(complaint, word, number_, static_cast<uint32_t>(word.data() - line_.data()) + 1);
  }

  const std::string_view program_;
  Settings* const settings_;
  ComplaintSink& sink_;
  RuleSink* const rules_;
  uint32_t number_ = 0;
  std::string_view line_;
  size_t next_ = 0;  // in line_
  bool good_ = true;
};

// ---- Files

// What getdents64() writes.
struct DirectoryEntry {
  uint64_t inode;
  int64_t offset;
  uint16_t size;
  uint8_t type;
  char name[];
};

constexpr size_t kMaxNameBytes = 256;  // with its end; NAME_MAX
constexpr std::string_view kSuffix = ".policy";

class Descriptor {
 public:
  // Of what kernel::Open() returned.
  explicit Descriptor(long fd) : fd_(static_cast<int>(fd)) {}
  ~Descriptor() {
    if (fd_ >= 0) kernel::Close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  bool valid() const { return fd_ >= 0; }
  int error() const { return -fd_; }
  int get() const { return fd_; }

 private:
  const int fd_;
};

// The names of policy.d, sorted; the first kMaxPolicyFiles of them.
class Names {
 public:
  uint32_t count() const { return count_; }
  const char* operator[](uint32_t i) const { return names_[order_[i]]; }

  // Adds `name`. When there are too many, one is left out.
  // Returns: whether one is; it is then in left_out(), until the next call.
  bool Add(const char* name) {
    if (count_ == kMaxPolicyFiles && std::strcmp(name, (*this)[count_ - 1]) >= 0) {
      std::strcpy(left_out_, name);
      return true;
    }
    const bool full = count_ == kMaxPolicyFiles;
    const uint8_t place = full ? order_[count_ - 1] : static_cast<uint8_t>(count_);
    if (full) {
      std::strcpy(left_out_, names_[place]);
      --count_;
    }
    std::strcpy(names_[place], name);
    uint32_t i = count_++;
    for (; i > 0 && std::strcmp(name, names_[order_[i - 1]]) < 0; --i) order_[i] = order_[i - 1];
    order_[i] = place;
    return full;
  }
  const char* left_out() const { return left_out_; }

 private:
  uint32_t count_ = 0;
  uint8_t order_[kMaxPolicyFiles];
  char names_[kMaxPolicyFiles][kMaxNameBytes];
  char left_out_[kMaxNameBytes];
};

// Too large for the stack of a thread. Mapped, so its bytes are zero and untouched pages cost
// nothing.
struct Workspace {
  Names names;
  char path[4096 + 2 * kMaxNameBytes];  // of the file concerned, for the sink
  alignas(DirectoryEntry) char entries[4096];
  char text[kMaxPolicyFileBytes + 1];  // one more, to see that a file is too large
};

Refusal RefusalOfError(int error) {
  switch (error) {
    case ELOOP:    // a link
    case ENOTDIR:  // a link or a file for a directory
    case ENXIO:    // a socket
      return Refusal::kNotRegular;
    default:
      return Refusal::kCannotRead;
  }
}

class FileReader {
 public:
  FileReader(const char* directory, uid_t owner, std::string_view program, Settings* settings,
             PolicyFileSink& sink)
      : directory_(directory), owner_(owner), program_(program), settings_(settings), sink_(sink) {}

  void ReadAll() {
    const Descriptor directory(kernel::Open(AT_FDCWD, directory_, kOpenFlags));
    if (!directory.valid()) {
      if (directory.error() != ENOENT) {
        sink_.Refuse(directory_, RefusalOfError(directory.error()));
      }
      return;
    }
    if (!CheckStat(directory.get(), S_IFDIR, directory_)) return;
    const long mapped = kernel::Map(nullptr, sizeof(Workspace), PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS);
    if (kernel::IsError(mapped)) {
      sink_.Refuse(directory_, Refusal::kCannotRead);
      return;
    }
    work_ = reinterpret_cast<Workspace*>(mapped);
    ReadFile(directory.get(), "policy", PathOf("policy"));
    ReadDirectory(directory.get());
    kernel::Unmap(work_, sizeof(Workspace));
  }

 private:
  // For files and directories. Without O_NONBLOCK a FIFO would stop the program. Not O_DIRECTORY:
  // there are seccomp filters (man-db's) that let a program read files and refuse that flag;
  // CheckStat() says what it is.
  static constexpr int kOpenFlags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;

  // directory_/name or directory_/policy.d/name; what does not fit is cut off.
  std::string_view PathOf(std::string_view name, bool in_policy_d = false) {
    size_t size = 0;
    for (const std::string_view part :
         {std::string_view(directory_), std::string_view(in_policy_d ? "/policy.d/" : "/"), name}) {
      const size_t room = sizeof(work_->path) - size;
      const size_t taken = part.size() < room ? part.size() : room;
      std::memcpy(work_->path + size, part.data(), taken);
      size += taken;
    }
    return {work_->path, size};
  }

  // Whether the file is of this type, and nobody but its owner can change it.
  bool CheckStat(int fd, mode_t type, std::string_view path) {
    struct stat status;
    if (kernel::Stat(fd, &status) != 0) return Refuse(path, Refusal::kCannotRead);
    if ((status.st_mode & S_IFMT) != type) return Refuse(path, Refusal::kNotRegular);
    if (status.st_uid != owner_) return Refuse(path, Refusal::kWrongOwner);
    if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
      return Refuse(path, Refusal::kWritableByOthers);
    }
    return true;
  }

  bool Refuse(std::string_view path, Refusal refusal) {
    sink_.Refuse(path, refusal);
    return false;
  }

  void ReadFile(int directory, const char* name, std::string_view path) {
    const Descriptor file(kernel::Open(directory, name, kOpenFlags));
    if (!file.valid()) {
      if (file.error() != ENOENT) sink_.Refuse(path, RefusalOfError(file.error()));
      return;
    }
    if (!CheckStat(file.get(), S_IFREG, path)) return;
    size_t size = 0;
    if (!ReadText(file.get(), &size)) {
      sink_.Refuse(path, size > kMaxPolicyFileBytes ? Refusal::kTooLarge : Refusal::kCannotRead);
      return;
    }
    sink_.BeginFile(path);
    ParsePolicyText({work_->text, size}, program_, settings_, sink_, &sink_);
  }

  // The whole file into work_->text; not mapped, as a file that shrinks would then be a SIGBUS.
  // Requires: *size is 0.
  // Returns: false when it cannot be read or is too large; *size tells.
  bool ReadText(int fd, size_t* size) {
    while (*size < sizeof(work_->text)) {
      const long got = kernel::Read(fd, work_->text + *size, sizeof(work_->text) - *size);
      if (got == -EINTR) continue;
      if (got < 0) return false;
      if (got == 0) return true;
      *size += static_cast<size_t>(got);
    }
    return false;
  }

  void ReadDirectory(int parent) {
    const Descriptor directory(kernel::Open(parent, "policy.d", kOpenFlags));
    if (!directory.valid()) {
      if (directory.error() != ENOENT) {
        sink_.Refuse(PathOf("policy.d"), RefusalOfError(directory.error()));
      }
      return;
    }
    if (!CheckStat(directory.get(), S_IFDIR, PathOf("policy.d"))) return;
    if (!ListNames(directory.get())) {
      sink_.Refuse(PathOf("policy.d"), Refusal::kCannotRead);
      return;
    }
    for (uint32_t i = 0; i < work_->names.count(); ++i) {
      const char* const name = work_->names[i];
      ReadFile(directory.get(), name, PathOf(name, /*in_policy_d=*/true));
    }
  }

  bool ListNames(int fd) {
    for (;;) {
      const long got =
          kernel::SystemCall(SYS_getdents64, fd, work_->entries, sizeof(work_->entries));
      if (got <= 0) return got == 0;
      for (long at = 0; at < got;) {
        const auto* const entry = reinterpret_cast<const DirectoryEntry*>(work_->entries + at);
        at += entry->size;
        TakeName(entry->name);
      }
    }
  }

  void TakeName(const char* name) {
    const std::string_view text = name;
    if (text.size() >= kMaxNameBytes || text[0] == '.' || !text.ends_with(kSuffix)) return;
    if (work_->names.Add(name)) {
      sink_.Refuse(PathOf(work_->names.left_out(), /*in_policy_d=*/true), Refusal::kTooMany);
    }
  }

  const char* const directory_;
  const uid_t owner_;
  const std::string_view program_;
  Settings* const settings_;
  PolicyFileSink& sink_;
  Workspace* work_ = nullptr;
};

}  // namespace

bool ParsePolicyText(std::string_view text, std::string_view program, Settings* settings,
                     ComplaintSink& sink, RuleSink* rules) {
  LineParser parser(program, settings, sink, rules);
  size_t end = 0;
  for (size_t start = 0; start < text.size(); start = end + 1) {
    end = text.find('\n', start);
    if (end == std::string_view::npos) end = text.size();
    parser.Parse(Part(text, start, end));
  }
  return parser.good();
}

std::string_view TextOf(Refusal refusal) {
  switch (refusal) {
    case Refusal::kCannotRead:
      return "cannot be read";
    case Refusal::kNotRegular:
      return "is a link, or neither a file nor a directory where one must be";
    case Refusal::kWrongOwner:
      return "has the wrong owner";
    case Refusal::kWritableByOthers:
      return "can be written by its group or by others";
    case Refusal::kTooLarge:
      return "is too large";
    case Refusal::kTooMany:
      return "is one file too many";
  }
  return "";
}

void ReadPolicyFiles(const char* directory, uid_t owner, std::string_view program,
                     Settings* settings, PolicyFileSink& sink) {
  FileReader(directory, owner, program, settings, sink).ReadAll();
}

}  // namespace hardened::policies
