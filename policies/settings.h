// Settings: what can be said about the hardening of a process, in words or as values.
//
// One table, kSettingFacts, is the source for the parser, the printer, tools/policy and the table
// in README.md. A setting is `name=value`; the text of several is separated by ':' (environment,
// weak symbol) or by spaces (policy files).
//
//   level=strict:quarantine=4M:sample=1/1000:mismatch=report:seed=42
//
// Threads: pure functions. No allocation, no C runtime: they run before the first malloc.

#ifndef POLICIES_SETTINGS_H_
#define POLICIES_SETTINGS_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "hardened/prim/raw_writer.h"

namespace hardened::policies {

// Weakest first.
enum class Level : uint8_t { kLight, kStandard, kStrict, kParanoid };
inline constexpr unsigned kLevelCount = 4;

enum class Setting : uint8_t {
  kLevel,
  kFloor,    // the least level that the program and the environment may choose
  kDisable,  // the program runs on libc's malloc
  kAudit,    // all events that can be survived are reported instead of fatal
  kQuarantine,
  kQuarantineCheck,
  kSample,
  kRunHold,
  kRunCache,
  kGuardSlabs,
  kPlacement,
  kLanes,
  kPurgeDelay,
  kExplainFaults,
  kDeepbind,  // RTLD_DEEPBIND is left to calls of dlopen()
  kSeed,
  kDoubleFree,
  kInvalidFree,
  kForeignPointer,
  kMismatch,
  kSizedDelete,
  kCanary,
  kWriteAfterFree,
};
inline constexpr unsigned kSettingCount = 23;

// How a value is written.
enum class ValueType : uint8_t {
  kLevel,    // light, standard, strict, paranoid
  kBytes,    // 4096, 64K, 4M, 1G
  kNumber,   // decimal, without a suffix
  kRate,     // 1/N, or 0: never. The value is N.
  kWindow,   // "uniform" (the value is 0, whatever the range) or bytes
  kBoolean,  // on, off, true, false, yes, no, 1, 0; the bare name means on
  kAction,   // abort, report, ignore (the values of EventAction in hardened/features.h)
};

// Which change of the value makes a process safer.
enum class Stronger : uint8_t {
  kNeither,  // not a matter of protection
  kGreater,
  kLess,
  kLessNotZero,      // less, but 0 is the weakest (1 in N; guards each N slabs)
  kZeroThenGreater,  // 0 is the strongest, then the greater (windows)
  kUnset,            // any use weakens (seed, audit, disable, deepbind)
};

struct SettingFacts {
  std::string_view name;
  ValueType type;
  Stronger stronger;
  uint64_t least;  // of the value; both ends included
  uint64_t most;
  Level needs;            // the weakest level at which it has an effect
  bool file_only;         // only the system's policy files may say it
  std::string_view help;  // one line for README.md
};

// Indexed by Setting.
extern const SettingFacts kSettingFacts[kSettingCount];
inline const SettingFacts& FactsOf(Setting setting) {
  return kSettingFacts[static_cast<unsigned>(setting)];
}

// What one source, or all of them, said.
class Settings {
 public:
  bool has(Setting setting) const { return (given_ >> Bit(setting) & 1) != 0; }
  // Requires: has(setting).
  uint64_t Get(Setting setting) const { return values_[Bit(setting)]; }
  void Set(Setting setting, uint64_t value) {
    values_[Bit(setting)] = value;
    given_ |= uint32_t{1} << Bit(setting);
  }
  void Clear(Setting setting) { given_ &= ~(uint32_t{1} << Bit(setting)); }
  bool empty() const { return given_ == 0; }
  friend bool operator==(const Settings& a, const Settings& b);

 private:
  static unsigned Bit(Setting setting) { return static_cast<unsigned>(setting); }
  uint32_t given_ = 0;
  uint64_t values_[kSettingCount] = {};
};

// What is wrong with a text.
enum class Complaint : uint8_t {
  kUnknownName,
  kMissingValue,
  kMalformedValue,
  kOutOfRange,
  kDuplicate,       // said twice in one text; the last one counts
  kNotAllowedHere,  // file_only, elsewhere
  kBadPattern,      // a program pattern that is neither '*' nor starts with '/', or ends with '\'
  kMissingSetting,  // a line of a policy file with a pattern and nothing else
  kControlByte,     // a byte that no policy file may have
  kLineTooLong,
};
std::string_view TextOf(Complaint complaint);

// Told about each complaint. `word` is the part of the parsed text that is meant: a whole setting
// with its value, a pattern, a byte, the start of a line. line and column are where it begins; they
// count from 1, columns in bytes (line 1 for texts that are not files). `word` may hold any bytes:
// escape it for terminals. Must not allocate when used at start-up.
class ComplaintSink {
 public:
  virtual void Complain(Complaint complaint, std::string_view word, uint32_t line,
                        uint32_t column) = 0;

 protected:
  ~ComplaintSink() = default;
};

// One `name` or `name=value`.
// Returns: false, and leaves *setting and *value alone, when it is not one; *complaint says why.
bool ParseSetting(std::string_view text, bool is_policy_file, Setting* setting, uint64_t* value,
                  Complaint* complaint);

// Adds what `text` says to *settings: settings separated by `separator`; empty ones are skipped. A
// malformed or unknown one changes nothing and is told to `sink`.
// Returns: whether there was no complaint (kDuplicate is none).
bool ParseSettings(std::string_view text, char separator, bool is_policy_file, Settings* settings,
                   ComplaintSink& sink);

// One value, as in the text behind '='. Returns: false, and leaves *value alone, when malformed or
// out of range; *complaint says which.
bool ParseValue(Setting setting, std::string_view text, uint64_t* value, Complaint* complaint);

// The setting of this name; false when there is none.
bool FindSetting(std::string_view name, Setting* setting);
bool ParseLevel(std::string_view text, Level* level);
std::string_view NameOf(Level level);

// Writes the settings in the order of the enum, canonically: ParseSettings() of the text gives the
// same settings, and the same settings give the same text.
void PrintSettings(const Settings& settings, char separator, prim::RawWriter& out);
void PrintValue(Setting setting, uint64_t value, prim::RawWriter& out);

// Whether replacing `old_value` by `new_value` lowers protection. kUnset settings: whether
// new_value is not 0 (false) and differs from old_value; a seed, where 0 is a value like others:
// whether they differ (to set one where none was always does).
bool Weakens(Setting setting, uint64_t old_value, uint64_t new_value);

}  // namespace hardened::policies

#endif  // POLICIES_SETTINGS_H_
