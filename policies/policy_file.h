// Policy files: what the administrator says about programs, by the path of their executable.
//
//   # one rule a line; '#' starts a comment
//   *                    level=standard
//   /usr/sbin/nginx      level=strict floor=strict
//   /usr/bin/redis-*     level=strict quarantine=4M
//   /opt/legacy/**       disable
//
// A pattern is '*' (every program) or starts with '/': '?' and '*' match within one component, '**'
// also across '/', '[' has no meaning, '\' makes the next byte literal (a space, too). Words are
// separated by spaces and tabs; '#' is a comment where a word could start. All matching lines
// count, in order; of a setting said twice the last one holds.
//
// Control bytes other than tab and newline are not allowed: the word that holds one is void, and a
// carriage return at the end of a line is told and skipped. Lines above 4 KiB are void.
//
// The files are DIRECTORY/policy, then DIRECTORY/policy.d/*.policy in the order of their names
// (bytewise). The directory, policy.d and each file must belong to root and must not be writable by
// group or others, or they are refused with a reason; so are links, and files above 64 KiB. A file
// that is refused says nothing; the others still count. Nothing is read below a directory that is
// refused. Hidden files (".x.policy") are skipped.
//
// Threads: call at start-up, once. Allocates nothing; memory is mapped for the time of the call.

#ifndef POLICIES_POLICY_FILE_H_
#define POLICIES_POLICY_FILE_H_

#include <sys/types.h>

#include <cstdint>
#include <string_view>

#include "policies/settings.h"

namespace hardened::policies {

inline constexpr char kPolicyDirectory[] = "/etc/hardened";
inline constexpr size_t kMaxPolicyFileBytes = 64 * 1024;
inline constexpr size_t kMaxPolicyLineBytes = 4096;
inline constexpr uint32_t kMaxPolicyFiles = 64;  // in policy.d; those last by name are refused

// Whether `pattern` matches the absolute path. Linear in their product at worst; no recursion. An
// invalid pattern, or one above kMaxPolicyLineBytes, matches nothing.
bool MatchesProgram(std::string_view pattern, std::string_view path);
bool IsValidPattern(std::string_view pattern);

// Told about each setting that a matching line made, in order. Optional; for tools/policy.
class RuleSink {
 public:
  virtual void Apply(Setting setting, uint64_t value, uint32_t line) = 0;

 protected:
  ~RuleSink() = default;
};

// Adds what the text of one file says about `program` to *settings. Every line is parsed, whether
// it matches or not. A line with a complaint changes nothing where the complaint is; the rest of it
// counts. `rules` may be null.
// Returns: whether there was no complaint.
bool ParsePolicyText(std::string_view text, std::string_view program, Settings* settings,
                     ComplaintSink& sink, RuleSink* rules);

enum class Refusal : uint8_t {
  kCannotRead,  // a system call failed for another reason than that the file does not exist
  kNotRegular,  // or a link; of a directory: not one, or a link
  kWrongOwner,
  kWritableByOthers,
  kTooLarge,
  kTooMany,
};
std::string_view TextOf(Refusal refusal);

// All that happens while files are read. The path is that of the file concerned, valid during the
// call only.
class PolicyFileSink : public ComplaintSink, public RuleSink {
 public:
  // A file is about to be parsed; later calls of Complain() and Apply() belong to it.
  virtual void BeginFile(std::string_view path) = 0;
  virtual void Refuse(std::string_view path, Refusal refusal) = 0;

 protected:
  ~PolicyFileSink() = default;
};

// Reads all policy files below `directory` and adds what they say about `program`. `owner` is root
// except in tests. When the directory does not exist, this is one system call.
// Keeps errno.
void ReadPolicyFiles(const char* directory, uid_t owner, std::string_view program,
                     Settings* settings, PolicyFileSink& sink);

}  // namespace hardened::policies

#endif  // POLICIES_POLICY_FILE_H_
