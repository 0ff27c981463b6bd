#include "policies/settings.h"

#include "hardened/features.h"
#include "hardened/prim/environment.h"
#include "policies/text.h"

namespace hardened::policies {
namespace {

constexpr uint64_t kKiB = 1024;
constexpr uint64_t kMiB = 1024 * kKiB;
constexpr uint64_t kGiB = 1024 * kMiB;
constexpr uint64_t kMaxActions = static_cast<uint64_t>(EventAction::kIgnore);
constexpr uint64_t kHourMs = uint64_t{3600} * 1000;

constexpr std::string_view kLevelNames[kLevelCount] = {"light", "standard", "strict", "paranoid"};

// Indexed by EventAction.
constexpr std::string_view kActionNames[] = {"abort", "report", "ignore"};
static_assert(static_cast<unsigned>(EventAction::kAbort) == 0 &&
              static_cast<unsigned>(EventAction::kReport) == 1 &&
              static_cast<unsigned>(EventAction::kIgnore) == 2);

constexpr std::string_view kUniform = "uniform";

// The place of `text` in `words`, or -1.
template <size_t kCount>
int IndexOf(const std::string_view (&words)[kCount], std::string_view text) {
  for (size_t i = 0; i < kCount; ++i) {
    if (words[i] == text) return static_cast<int>(i);
  }
  return -1;
}

bool IsDigits(std::string_view text) {
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
  }
  return !text.empty();
}

bool IsSuffix(char c) { return std::string_view("kKmMgG").find(c) != std::string_view::npos; }

// A number, with a suffix or not. Above 64 bits it is out of range, not malformed.
bool ParseNumber(std::string_view text, bool with_suffix, uint64_t* value, Complaint* complaint) {
  std::string_view digits = text;
  if (with_suffix && !digits.empty() && IsSuffix(digits.back())) digits.remove_suffix(1);
  if (!IsDigits(digits)) {
    *complaint = Complaint::kMalformedValue;
    return false;
  }
  if (prim::ParseUnsigned(text, value)) return true;
  *complaint = Complaint::kOutOfRange;
  return false;
}

// The value as it is written, before its range is looked at.
bool ParseAsType(ValueType type, std::string_view text, uint64_t* value, Complaint* complaint) {
  *complaint = Complaint::kMalformedValue;
  int index = -1;
  bool flag = false;
  switch (type) {
    case ValueType::kLevel:
      index = IndexOf(kLevelNames, text);
      break;
    case ValueType::kAction:
      index = IndexOf(kActionNames, text);
      break;
    case ValueType::kBoolean:
      if (prim::ParseBoolean(text, &flag)) index = flag ? 1 : 0;
      break;
    case ValueType::kBytes:
    case ValueType::kWindow:
      return ParseNumber(text, /*with_suffix=*/true, value, complaint);
    case ValueType::kNumber:
      return ParseNumber(text, /*with_suffix=*/false, value, complaint);
    case ValueType::kRate:
      if (text == "0") {
        index = 0;
        break;
      }
      if (!text.starts_with("1/")) return false;
      if (!ParseNumber(PartFrom(text, 2), /*with_suffix=*/false, value, complaint)) return false;
      // The value 0 means never, which 1/0 does not.
      *complaint = Complaint::kOutOfRange;
      return *value != 0;
  }
  if (index < 0) return false;
  *value = static_cast<uint64_t>(index);
  return true;
}

void PrintBytes(uint64_t value, prim::RawWriter& out) {
  constexpr struct {
    uint64_t unit;
    char suffix;
  } kUnits[] = {{kGiB, 'G'}, {kMiB, 'M'}, {kKiB, 'K'}};
  for (const auto& [unit, suffix] : kUnits) {
    if (value != 0 && value % unit == 0) {
      out.Decimal(value / unit).Char(suffix);
      return;
    }
  }
  out.Decimal(value);
}

}  // namespace

constexpr SettingFacts kSettingFacts[kSettingCount] = {
    {.name = "level",
     .type = ValueType::kLevel,
     .stronger = Stronger::kGreater,
     .least = 0,
     .most = kLevelCount - 1,
     .needs = Level::kLight,
     .file_only = false,
     .help = "the level that everything else starts from"},
    {.name = "floor",
     .type = ValueType::kLevel,
     .stronger = Stronger::kGreater,
     .least = 0,
     .most = kLevelCount - 1,
     .needs = Level::kLight,
     .file_only = true,
     .help = "the least level that the program and the environment may choose"},
    {.name = "disable",
     .type = ValueType::kBoolean,
     .stronger = Stronger::kUnset,
     .least = 0,
     .most = 1,
     .needs = Level::kLight,
     .file_only = true,
     .help = "the program runs on libc's malloc"},
    {.name = "audit",
     .type = ValueType::kBoolean,
     .stronger = Stronger::kUnset,
     .least = 0,
     .most = 1,
     .needs = Level::kLight,
     .file_only = false,
     .help = "every action that is abort becomes report, unless it is set by itself"},
    {.name = "quarantine",
     .type = ValueType::kBytes,
     .stronger = Stronger::kGreater,
     .least = 64 * kKiB,
     .most = kGiB,
     .needs = Level::kStandard,
     .file_only = false,
     .help = "freed slots that one thread holds back from re-use"},
    {.name = "quarantine_check",
     .type = ValueType::kRate,
     .stronger = Stronger::kLessNotZero,
     .least = 0,
     .most = UINT32_MAX,
     .needs = Level::kStandard,
     .file_only = false,
     .help = "slots that leave the quarantine and are looked at for writes after free"},
    {.name = "sample",
     .type = ValueType::kRate,
     .stronger = Stronger::kLessNotZero,
     .least = 0,
     .most = UINT32_MAX,
     .needs = Level::kLight,
     .file_only = false,
     .help = "allocations that get guards of their own and two stack traces"},
    {.name = "run_hold",
     .type = ValueType::kBytes,
     .stronger = Stronger::kGreater,
     .least = 0,
     .most = 64 * kGiB,
     .needs = Level::kLight,
     .file_only = false,
     .help = "freed runs held as address space where any access faults; 0: none"},
    {.name = "run_cache",
     .type = ValueType::kBytes,
     .stronger = Stronger::kLess,
     .least = 0,
     .most = 64 * kGiB,
     .needs = Level::kLight,
     .file_only = false,
     .help = "freed runs that keep their guards for re-use"},
    {.name = "guard_slabs",
     .type = ValueType::kNumber,
     .stronger = Stronger::kLessNotZero,
     .least = 0,
     .most = 64,
     .needs = Level::kStandard,
     .file_only = false,
     .help = "every n-th new slab of a thread has a guard behind it; 0: none"},
    {.name = "placement",
     .type = ValueType::kWindow,
     .stronger = Stronger::kZeroThenGreater,
     .least = 64,
     .most = 64 * kKiB,
     .needs = Level::kLight,
     .file_only = false,
     .help = "how far slots are shuffled: over the whole slab, or within windows of so many bytes"},
    {.name = "lanes",
     .type = ValueType::kNumber,
     .stronger = Stronger::kGreater,
     .least = 1,
     .most = core::Placement::kMaxLanes,
     .needs = Level::kLight,
     .file_only = false,
     .help = "with such a window: slabs that are open at once, a random one for each slot"},
    {.name = "purge_delay",
     .type = ValueType::kNumber,
     .stronger = Stronger::kNeither,
     .least = 0,
     .most = kHourMs,
     .needs = Level::kLight,
     .file_only = false,
     .help = "milliseconds until free memory goes back to the kernel"},
    {.name = "explain_faults",
     .type = ValueType::kBoolean,
     .stronger = Stronger::kNeither,
     .least = 0,
     .most = 1,
     .needs = Level::kLight,
     .file_only = false,
     .help = "a SIGSEGV handler says what a fault on a guard means"},
    {.name = "deepbind",
     .type = ValueType::kBoolean,
     .stronger = Stronger::kUnset,
     .least = 0,
     .most = 1,
     .needs = Level::kLight,
     .file_only = false,
     .help = "dlopen() obeys RTLD_DEEPBIND: what it loads runs on libc's malloc"},
    {.name = "seed",
     .type = ValueType::kNumber,
     .stronger = Stronger::kUnset,
     .least = 0,
     .most = UINT64_MAX,
     .needs = Level::kLight,
     .file_only = false,
     .help = "all random choices follow from this number: for tests, never in production"},
    {.name = "double_free",
     .type = ValueType::kAction,
     .stronger = Stronger::kLess,
     .least = 0,
     .most = kMaxActions,
     .needs = Level::kLight,
     .file_only = false,
     .help = "what happens when a freed pointer is freed, resized or measured"},
    {.name = "invalid_free",
     .type = ValueType::kAction,
     .stronger = Stronger::kLess,
     .least = 0,
     .most = kMaxActions,
     .needs = Level::kLight,
     .file_only = false,
     .help = "what happens when an address in the heap is freed where no allocation starts"},
    {.name = "foreign_pointer",
     .type = ValueType::kAction,
     .stronger = Stronger::kLess,
     .least = 0,
     .most = kMaxActions,
     .needs = Level::kLight,
     .file_only = false,
     .help = "what happens when an address outside the heap is freed"},
    {.name = "mismatch",
     .type = ValueType::kAction,
     .stronger = Stronger::kLess,
     .least = 0,
     .most = kMaxActions,
     .needs = Level::kLight,
     .file_only = false,
     .help = "what happens when an allocation is ended by the wrong call"},
    {.name = "sized_delete",
     .type = ValueType::kAction,
     .stronger = Stronger::kLess,
     .least = 0,
     .most = kMaxActions,
     .needs = Level::kStandard,
     .file_only = false,
     .help = "what happens when an allocation is ended with the wrong size"},
    {.name = "canary",
     .type = ValueType::kAction,
     .stronger = Stronger::kLess,
     .least = 0,
     .most = kMaxActions,
     .needs = Level::kStandard,
     .file_only = false,
     .help = "what happens when bytes behind or in front of a request have changed"},
    {.name = "write_after_free",
     .type = ValueType::kAction,
     .stronger = Stronger::kLess,
     .least = 0,
     .most = kMaxActions,
     .needs = Level::kStandard,
     .file_only = false,
     .help = "what happens when free memory was written to"},
};
static_assert(kSettingFacts[kSettingCount - 1].name == "write_after_free");

bool operator==(const Settings& a, const Settings& b) {
  if (a.given_ != b.given_) return false;
  for (unsigned i = 0; i < kSettingCount; ++i) {
    if ((a.given_ >> i & 1) != 0 && a.values_[i] != b.values_[i]) return false;
  }
  return true;
}

std::string_view TextOf(Complaint complaint) {
  switch (complaint) {
    case Complaint::kUnknownName:
      return "no setting has this name";
    case Complaint::kMissingValue:
      return "the value is missing";
    case Complaint::kMalformedValue:
      return "the value is malformed";
    case Complaint::kOutOfRange:
      return "the value is out of range";
    case Complaint::kDuplicate:
      return "said twice; the last one counts";
    case Complaint::kNotAllowedHere:
      return "only the system's policy files may say this";
    case Complaint::kBadPattern:
      return "a pattern is '*' or starts with '/', and does not end with '\\'";
    case Complaint::kMissingSetting:
      return "a pattern without a setting";
    case Complaint::kControlByte:
      return "a control byte";
    case Complaint::kLineTooLong:
      return "the line is too long";
  }
  return "";
}

bool FindSetting(std::string_view name, Setting* setting) {
  for (unsigned i = 0; i < kSettingCount; ++i) {
    if (kSettingFacts[i].name == name) {
      *setting = static_cast<Setting>(i);
      return true;
    }
  }
  return false;
}

bool ParseLevel(std::string_view text, Level* level) {
  const int index = IndexOf(kLevelNames, text);
  if (index < 0) return false;
  *level = static_cast<Level>(index);
  return true;
}

std::string_view NameOf(Level level) { return kLevelNames[static_cast<unsigned>(level)]; }

bool ParseValue(Setting setting, std::string_view text, uint64_t* value, Complaint* complaint) {
  const SettingFacts& facts = FactsOf(setting);
  if (text.empty()) {
    *complaint = Complaint::kMissingValue;
    return false;
  }
  uint64_t parsed = 0;
  if (facts.type == ValueType::kWindow && text == kUniform) {
    *value = 0;
    return true;
  }
  if (!ParseAsType(facts.type, text, &parsed, complaint)) return false;
  if (parsed < facts.least || parsed > facts.most) {
    *complaint = Complaint::kOutOfRange;
    return false;
  }
  *value = parsed;
  return true;
}

bool ParseSetting(std::string_view text, bool is_policy_file, Setting* setting, uint64_t* value,
                  Complaint* complaint) {
  const size_t equals = text.find('=');
  const bool has_value = equals != std::string_view::npos;
  Setting found;
  if (!FindSetting(has_value ? Part(text, 0, equals) : text, &found)) {
    *complaint = Complaint::kUnknownName;
    return false;
  }
  if (FactsOf(found).file_only && !is_policy_file) {
    *complaint = Complaint::kNotAllowedHere;
    return false;
  }
  uint64_t parsed = 1;  // a bare boolean is on
  if (has_value) {
    if (!ParseValue(found, PartFrom(text, equals + 1), &parsed, complaint)) return false;
  } else if (FactsOf(found).type != ValueType::kBoolean) {
    *complaint = Complaint::kMissingValue;
    return false;
  }
  *setting = found;
  *value = parsed;
  return true;
}

bool ParseSettings(std::string_view text, char separator, bool is_policy_file, Settings* settings,
                   ComplaintSink& sink) {
  bool good = true;
  Settings said;  // in this text
  size_t end = 0;
  for (size_t start = 0; start < text.size(); start = end + 1) {
    end = text.find(separator, start);
    if (end == std::string_view::npos) end = text.size();
    const std::string_view word = Part(text, start, end);
    if (word.empty()) continue;
    const auto column = static_cast<uint32_t>(start + 1);
    Setting setting;
    uint64_t value;
    Complaint complaint;
    if (!ParseSetting(word, is_policy_file, &setting, &value, &complaint)) {
      sink.Complain(complaint, word, 1, column);
      good = false;
      continue;
    }
    if (said.has(setting)) sink.Complain(Complaint::kDuplicate, word, 1, column);
    said.Set(setting, value);
    settings->Set(setting, value);
  }
  return good;
}

void PrintValue(Setting setting, uint64_t value, prim::RawWriter& out) {
  switch (FactsOf(setting).type) {
    case ValueType::kLevel:
      out.Text(value < kLevelCount ? kLevelNames[value] : "?");
      break;
    case ValueType::kAction:
      out.Text(value <= kMaxActions ? kActionNames[value] : "?");
      break;
    case ValueType::kBoolean:
      out.Text(value != 0 ? "on" : "off");
      break;
    case ValueType::kNumber:
      out.Decimal(value);
      break;
    case ValueType::kRate:
      if (value != 0) out.Text("1/");
      out.Decimal(value);
      break;
    case ValueType::kWindow:
      if (value == 0) {
        out.Text(kUniform);
        break;
      }
      [[fallthrough]];
    case ValueType::kBytes:
      PrintBytes(value, out);
      break;
  }
}

void PrintSettings(const Settings& settings, char separator, prim::RawWriter& out) {
  bool first = true;
  for (unsigned i = 0; i < kSettingCount; ++i) {
    const auto setting = static_cast<Setting>(i);
    if (!settings.has(setting)) continue;
    if (!first) out.Char(separator);
    first = false;
    out.Text(FactsOf(setting).name).Char('=');
    PrintValue(setting, settings.Get(setting), out);
  }
}

bool Weakens(Setting setting, uint64_t old_value, uint64_t new_value) {
  switch (FactsOf(setting).stronger) {
    case Stronger::kNeither:
      return false;
    case Stronger::kGreater:
      return new_value < old_value;
    case Stronger::kLess:
      return new_value > old_value;
    case Stronger::kLessNotZero:
      // 0 - 1 wraps to the greatest value.
      return new_value - 1 > old_value - 1;
    case Stronger::kZeroThenGreater:
      return new_value - 1 < old_value - 1;
    case Stronger::kUnset:
      return new_value != old_value && (new_value != 0 || setting == Setting::kSeed);
  }
  return true;
}

}  // namespace hardened::policies
