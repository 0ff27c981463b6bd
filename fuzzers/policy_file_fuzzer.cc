// policy_file_fuzzer: policies/policy_file.h against a second parser, and a matcher that tries
// everything.
//
// Input, in lines: the path of a program, then a policy file. Every pattern of the file is also
// matched with the path by itself.

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fuzzers/settings_oracle.h"
#include "hardened/prim/check.h"
#include "policies/policy_file.h"

namespace hardened::fuzzers {
namespace {

using policies::Setting;
using policies::Settings;

// ---- Patterns

bool IsPattern(const std::string& text) {
  if (text == "*") return true;
  if (text.empty() || text[0] != '/') return false;
  // An odd number of backslashes at the end: the last one has nothing to escape.
  return (text.size() - 1 - text.find_last_not_of('\\')) % 2 == 0;
}

// Stars beyond this make trying everything too slow.
constexpr long kMaxStars = 5;

bool MatchesSlowly(std::string_view pattern, std::string_view path) {
  if (pattern.empty()) return path.empty();
  if (pattern[0] == '*') {
    const bool any = pattern.starts_with("**");
    if (MatchesSlowly(pattern.substr(any ? 2 : 1), path)) return true;
    return !path.empty() && (any || path[0] != '/') && MatchesSlowly(pattern, path.substr(1));
  }
  if (path.empty()) return false;
  if (pattern[0] == '?') return path[0] != '/' && MatchesSlowly(pattern.substr(1), path.substr(1));
  if (pattern[0] == '\\') pattern.remove_prefix(1);
  return pattern[0] == path[0] && MatchesSlowly(pattern.substr(1), path.substr(1));
}

bool Matches(const std::string& pattern, const std::string& path) {
  const std::vector<char> exact(pattern.begin(), pattern.end());
  const std::string_view view(exact.data(), exact.size());
  const bool is_pattern = IsPattern(pattern) && pattern.size() <= policies::kMaxPolicyLineBytes;
  HARDENED_CHECK(policies::IsValidPattern(view) == is_pattern);
  const bool matches = policies::MatchesProgram(view, path);
  if (!is_pattern || pattern == "*") {
    HARDENED_CHECK(matches == is_pattern);
  } else if (std::count(pattern.begin(), pattern.end(), '*') <= kMaxStars && path.size() <= 64 &&
             pattern.size() <= 64) {
    HARDENED_CHECK(matches == MatchesSlowly(pattern, path));
  }
  return matches;
}

// ---- Lines

bool IsControl(char c) { return c != '\t' && ((c >= 0 && c < ' ') || c == '\x7f'); }

bool HasControl(const std::string& text) {
  return std::any_of(text.begin(), text.end(), IsControl);
}

struct Expected {
  Settings settings;
  uint32_t errors = 0;
  uint32_t duplicates = 0;
  uint32_t applied = 0;
};

// The words of a line up to a comment; a backslash in the first one makes the next byte literal.
std::vector<std::string> Words(const std::string& line, std::string* comment) {
  std::vector<std::string> words;
  bool inside = false;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (c == ' ' || c == '\t') {
      inside = false;
      continue;
    }
    if (!inside) {
      if (c == '#') {
        *comment = line.substr(i);
        break;
      }
      words.emplace_back();
      inside = true;
    }
    words.back() += c;
    if (c == '\\' && words.size() == 1 && i + 1 < line.size()) words.back() += line[++i];
  }
  return words;
}

void ReadLine(std::string line, const std::string& program, Expected* expected) {
  if (line.size() > policies::kMaxPolicyLineBytes) {
    ++expected->errors;
    return;
  }
  if (!line.empty() && line.back() == '\r') {
    ++expected->errors;
    line.pop_back();
  }
  std::string comment;
  const std::vector<std::string> words = Words(line, &comment);
  if (HasControl(comment)) ++expected->errors;
  if (words.empty()) return;
  const std::string& pattern = words[0];
  const bool good = !HasControl(pattern) && IsPattern(pattern);
  const bool matches = Matches(pattern, program) && good;
  if (!good) ++expected->errors;
  if (words.size() == 1) ++expected->errors;
  std::vector<Setting> said;
  for (size_t i = 1; i < words.size(); ++i) {
    const Meaning meaning = HasControl(words[i]) ? Meaning() : MeaningOf(words[i], true);
    if (!meaning.good) {
      ++expected->errors;
      continue;
    }
    if (std::find(said.begin(), said.end(), meaning.setting) != said.end()) ++expected->duplicates;
    said.push_back(meaning.setting);
    if (!matches) continue;
    expected->settings.Set(meaning.setting, meaning.value);
    ++expected->applied;
  }
}

class RuleCounter : public policies::RuleSink {
 public:
  void Apply(Setting setting, uint64_t value, uint32_t line) override {
    HARDENED_CHECK(line >= last_line_);
    last_line_ = line;
    last.Set(setting, value);
    ++count;
  }
  Settings last;
  uint32_t count = 0;

 private:
  uint32_t last_line_ = 1;
};

void CheckFile(const std::string& program, const std::string& text) {
  Expected expected;
  for (size_t start = 0; start < text.size();) {
    const size_t end = std::min(text.find('\n', start), text.size());
    ReadLine(text.substr(start, end - start), program, &expected);
    start = end + 1;
  }

  const std::vector<char> exact(text.begin(), text.end());
  const std::string_view view(exact.data(), exact.size());
  Settings settings;
  PlaceChecker sink(view);
  RuleCounter rules;
  const bool good = policies::ParsePolicyText(view, program, &settings, sink, &rules);
  HARDENED_CHECK(good == (expected.errors == 0));
  HARDENED_CHECK(sink.errors == expected.errors);
  HARDENED_CHECK(sink.duplicates == expected.duplicates);
  HARDENED_CHECK(settings == expected.settings);
  HARDENED_CHECK(rules.last == settings);
  HARDENED_CHECK(rules.count == expected.applied);
  CheckRoundTrip(settings, ' ');

  Settings without_rules;
  policies::ParsePolicyText(view, program, &without_rules, sink, nullptr);
  HARDENED_CHECK(without_rules == settings);
}

}  // namespace
}  // namespace hardened::fuzzers

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const size_t end = text.find('\n');
  if (end == std::string::npos) return 0;
  hardened::fuzzers::CheckFile(text.substr(0, end), text.substr(end + 1));
  return 0;
}
