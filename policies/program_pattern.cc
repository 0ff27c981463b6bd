// Patterns of policy files: which programs a rule is about.

#include <cstring>
#include <utility>

#include "policies/policy_file.h"

namespace hardened::policies {
namespace {

// One element of a pattern.
enum class Glob : uint8_t { kLiteral, kAnyByte, kAnyInComponent, kAny };

struct GlobAt {
  Glob glob;
  size_t size;   // in bytes of the pattern
  char literal;  // of kLiteral
};

// The element that starts at `at`.
GlobAt ReadGlob(std::string_view pattern, size_t at) {
  const char c = pattern[at];
  if (c == '?') return {Glob::kAnyByte, 1, c};
  if (c == '*') {
    if (at + 1 < pattern.size() && pattern[at + 1] == '*') return {Glob::kAny, 2, c};
    return {Glob::kAnyInComponent, 1, c};
  }
  if (c == '\\') return {Glob::kLiteral, 2, pattern[at + 1]};
  return {Glob::kLiteral, 1, c};
}

bool MayBeEmpty(Glob glob) { return glob == Glob::kAny || glob == Glob::kAnyInComponent; }

// Whether an element takes this byte.
bool Takes(const GlobAt& element, char byte) {
  switch (element.glob) {
    case Glob::kLiteral:
      return byte == element.literal;
    case Glob::kAnyByte:
    case Glob::kAnyInComponent:
      return byte != '/';
    case Glob::kAny:
      return true;
  }
  return false;
}

// The places in a pattern that the path so far may have led to. A star is at its own place while it
// takes bytes; the place behind it is reached without any.
class Places {
 public:
  explicit Places(std::string_view pattern) : pattern_(pattern) {}

  bool empty() const { return low_ > high_; }
  bool HasEnd() const { return !empty() && high_ == pattern_.size(); }

  void Add(size_t place) {
    while (!Has(place)) {
      words_[place / 64] |= uint64_t{1} << place % 64;
      if (place < low_) low_ = place;
      if (place > high_) high_ = place;
      if (place == pattern_.size()) return;
      const GlobAt element = ReadGlob(pattern_, place);
      if (!MayBeEmpty(element.glob)) return;
      place += element.size;
    }
  }

  // Fills `next`, which is empty, with what follows when the path goes on with `byte`.
  void Follow(char byte, Places& next) const {
    if (empty()) return;
    for (size_t place = low_; place <= high_ && place < pattern_.size(); ++place) {
      if (!Has(place)) continue;
      const GlobAt element = ReadGlob(pattern_, place);
      if (Takes(element, byte)) next.Add(MayBeEmpty(element.glob) ? place : place + element.size);
    }
  }

  void Clear() {
    if (!empty()) std::memset(&words_[low_ / 64], 0, (high_ / 64 - low_ / 64 + 1) * 8);
    low_ = SIZE_MAX;
    high_ = 0;
  }

 private:
  bool Has(size_t place) const { return (words_[place / 64] >> place % 64 & 1) != 0; }

  std::string_view pattern_;
  size_t low_ = SIZE_MAX;
  size_t high_ = 0;
  uint64_t words_[kMaxPolicyLineBytes / 64 + 1] = {};
};

// A wildcard or an escape.
bool IsSpecial(char c) { return c == '?' || c == '*' || c == '\\'; }

}  // namespace

bool IsValidPattern(std::string_view pattern) {
  if (pattern == "*") return true;
  if (pattern.empty() || pattern[0] != '/' || pattern.size() > kMaxPolicyLineBytes) return false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '\\') continue;
    ++i;
    if (i == pattern.size()) return false;
  }
  return true;
}

bool MatchesProgram(std::string_view pattern, std::string_view path) {
  if (!IsValidPattern(pattern)) return false;
  if (pattern == "*") return true;
  // Most rules differ from the path, or equal it, before their first wildcard.
  size_t same = 0;
  while (same < pattern.size() && !IsSpecial(pattern[same])) {
    if (same == path.size() || path[same] != pattern[same]) return false;
    ++same;
  }
  if (same == pattern.size()) return same == path.size();
  pattern.remove_prefix(same);
  path.remove_prefix(same);

  Places first(pattern);
  Places second(pattern);
  Places* now = &first;
  Places* next = &second;
  now->Add(0);
  for (const char byte : path) {
    next->Clear();
    now->Follow(byte, *next);
    std::swap(now, next);
    if (now->empty()) return false;
  }
  return now->HasEnd();
}

}  // namespace hardened::policies
