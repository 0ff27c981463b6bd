#include "fuzzers/settings_oracle.h"

#include <strings.h>

#include <algorithm>
#include <initializer_list>
#include <iterator>
#include <string>

#include "hardened/prim/check.h"
#include "hardened/prim/raw_writer.h"

namespace hardened::fuzzers {
namespace {

using policies::Setting;

// An integer that may be too large for 64 bits.
using Wide = unsigned __int128;
constexpr Wide kTooLarge = Wide{1} << 100;

// The number that `text` is. Returns: false for anything but digits.
bool Number(std::string_view text, Wide* value) {
  if (text.empty()) return false;
  *value = 0;
  for (const char c : text) {
    const size_t digit = std::string_view("0123456789").find(c);
    if (digit == std::string_view::npos) return false;
    *value = std::min(*value * 10 + digit, kTooLarge);
  }
  return true;
}

bool Bytes(std::string_view text, Wide* value) {
  unsigned shift = 0;
  const size_t suffix = text.empty() ? 6 : std::string_view("KkMmGg").find(text.back());
  if (suffix < 6) {
    shift = (static_cast<unsigned>(suffix) / 2 + 1) * 10;
    text.remove_suffix(1);
  }
  if (!Number(text, value)) return false;
  *value <<= *value < (Wide{1} << 64) ? shift : 0;
  return true;
}

bool Word(std::string_view text, std::initializer_list<std::string_view> words, bool any_case,
          Wide* value) {
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string_view word = words.begin()[i];
    if (text.size() != word.size()) continue;
    if (any_case ? strncasecmp(text.data(), word.data(), word.size()) != 0 : text != word) continue;
    *value = i;
    return true;
  }
  return false;
}

bool Boolean(std::string_view text, Wide* value) {
  if (!Word(text, {"0", "1", "off", "on", "false", "true", "no", "yes"}, true, value)) return false;
  *value %= 2;
  return true;
}

bool Rate(std::string_view text, Wide* value) {
  if (text == "0") {
    *value = 0;
    return true;
  }
  return text.starts_with("1/") && Number(text.substr(2), value) && *value > 0;
}

bool LevelName(std::string_view text, Wide* value) {
  return Word(text, {"light", "standard", "strict", "paranoid"}, false, value);
}

bool Action(std::string_view text, Wide* value) {
  return Word(text, {"abort", "report", "ignore"}, false, value);
}

struct Rule {
  const char* name;
  bool (*parse)(std::string_view text, Wide* value);
  Wide least;
  Wide most;
};

constexpr Wide kMax32 = 4294967295u;
constexpr Wide k64G = Wide{64} << 30;

bool Plain(std::string_view text, Wide* value) { return Number(text, value); }
bool Sized(std::string_view text, Wide* value) { return Bytes(text, value); }

// Indexed by Setting.
constexpr Rule kRules[] = {
    {"level", LevelName, 0, 3},
    {"floor", LevelName, 0, 3},
    {"disable", Boolean, 0, 1},
    {"audit", Boolean, 0, 1},
    {"quarantine", Sized, 65536, Wide{1} << 30},
    {"quarantine_check", Rate, 0, kMax32},
    {"sample", Rate, 0, kMax32},
    {"run_hold", Sized, 0, k64G},
    {"run_cache", Sized, 0, k64G},
    {"guard_slabs", Plain, 0, 64},
    {"placement", Sized, 64, 65536},
    {"lanes", Plain, 1, 64},
    {"purge_delay", Plain, 0, 3600000},
    {"explain_faults", Boolean, 0, 1},
    {"deepbind", Boolean, 0, 1},
    {"seed", Plain, 0, UINT64_MAX},
    {"double_free", Action, 0, 2},
    {"invalid_free", Action, 0, 2},
    {"foreign_pointer", Action, 0, 2},
    {"mismatch", Action, 0, 2},
    {"sized_delete", Action, 0, 2},
    {"canary", Action, 0, 2},
    {"write_after_free", Action, 0, 2},
};
static_assert(std::size(kRules) == policies::kSettingCount);

std::string Print(const policies::Settings& settings, char separator) {
  char buffer[2048];
  prim::RawWriter out(buffer);
  policies::PrintSettings(settings, separator, out);
  HARDENED_CHECK(!out.truncated());
  return std::string(out.view());
}

}  // namespace

Meaning MeaningOf(std::string_view word, bool is_policy_file) {
  const size_t equals = word.find('=');
  const std::string_view name = word.substr(0, equals);
  for (size_t i = 0; i < std::size(kRules); ++i) {
    const Rule& rule = kRules[i];
    if (name != rule.name) continue;
    if (!is_policy_file && (name == "floor" || name == "disable")) return {};
    Wide value = 1;
    const bool bare = equals == std::string_view::npos;
    if (bare && rule.parse != Boolean) return {};
    const std::string_view text = bare ? "on" : word.substr(equals + 1);
    if (name == "placement" && text == "uniform") {
      value = 0;
    } else if (!rule.parse(text, &value) || value < rule.least || value > rule.most) {
      return {};
    }
    return {true, static_cast<Setting>(i), static_cast<uint64_t>(value)};
  }
  return {};
}

void CheckRoundTrip(const policies::Settings& settings, char separator) {
  const std::string text = Print(settings, separator);
  policies::Settings again;
  PlaceChecker sink(text);
  HARDENED_CHECK(policies::ParseSettings(text, separator, /*is_policy_file=*/true, &again, sink));
  HARDENED_CHECK(sink.errors == 0 && sink.duplicates == 0);
  HARDENED_CHECK(again == settings);
  HARDENED_CHECK(Print(again, separator) == text);
}

void PlaceChecker::Complain(policies::Complaint complaint, std::string_view word, uint32_t line,
                            uint32_t column) {
  ++(complaint == policies::Complaint::kDuplicate ? duplicates : errors);
  HARDENED_CHECK(!word.empty());
  HARDENED_CHECK(word.data() >= text_.data());
  HARDENED_CHECK(word.data() + word.size() <= text_.data() + text_.size());
  const std::string_view before(text_.data(), static_cast<size_t>(word.data() - text_.data()));
  HARDENED_CHECK(line == 1 + std::count(before.begin(), before.end(), '\n'));
  const size_t newline = before.rfind('\n');
  const size_t line_start = newline == std::string_view::npos ? 0 : newline + 1;
  HARDENED_CHECK(column == before.size() - line_start + 1);
  HARDENED_CHECK(word.find('\n') == std::string_view::npos);
  HARDENED_CHECK(!policies::TextOf(complaint).empty());
}

}  // namespace hardened::fuzzers
