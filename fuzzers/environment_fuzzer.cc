// environment_fuzzer: prim/environment.h against grammars written a second time.
//
// Input, in lines: a stack block, a name, then the entries of an environment. The name and every
// entry and value are parsed as numbers and booleans, too.
//
// In the first line, a digit is the argument count (H: far too many) and each following byte one
// word: 0 a null, - below the block, + too far above it, else a plausible string.

#include <strings.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "hardened/prim/check.h"
#include "hardened/prim/environment.h"

namespace hardened::fuzzers {
namespace {

// ---- ParseUnsigned, ParseBoolean

// digits [KMG]: the digits without leading zeros, compared as text with the largest that fits.
bool IsUnsigned(const std::string& text, uint64_t* value) {
  static const std::string kSuffixes = "kKmMgG";
  const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  if (digits == 0 || text.size() - digits > 1) return false;
  uint64_t factor = 1;
  std::string largest = "18446744073709551615";
  if (digits < text.size()) {
    const size_t suffix = kSuffixes.find(text[digits]);
    if (suffix == std::string::npos) return false;
    static const uint64_t kFactors[] = {1024, 1048576, 1073741824};
    factor = kFactors[suffix / 2];
    largest = std::to_string(UINT64_MAX / factor);
  }
  std::string number = text.substr(0, digits);
  number.erase(0, std::min(number.find_first_not_of('0'), number.size() - 1));
  if (number.size() > largest.size() || (number.size() == largest.size() && number > largest)) {
    return false;
  }
  *value = std::stoull(number) * factor;
  return true;
}

bool IsBoolean(const std::string& text, bool* value) {
  static const char* const kWords[] = {"0", "1", "off", "on", "false", "true", "no", "yes"};
  for (size_t i = 0; i < std::size(kWords); ++i) {
    if (text.size() == std::strlen(kWords[i]) && strcasecmp(text.c_str(), kWords[i]) == 0) {
      *value = i % 2 == 1;
      return true;
    }
  }
  return false;
}

void CheckParsers(const std::string& text) {
  // A copy without a terminator: a sanitizer sees a read past the end.
  const std::vector<char> exact(text.begin(), text.end());
  const std::string_view view(exact.data(), exact.size());

  for (const uint64_t before : {uint64_t{0}, UINT64_MAX}) {
    uint64_t expected = before;
    uint64_t value = before;
    const bool is_number = IsUnsigned(text, &expected);
    HARDENED_CHECK(prim::ParseUnsigned(view, &value) == is_number);
    HARDENED_CHECK(value == expected);
  }
  for (const bool before : {false, true}) {
    bool expected = before;
    bool value = before;
    const bool is_boolean = IsBoolean(text, &expected);
    HARDENED_CHECK(prim::ParseBoolean(view, &value) == is_boolean);
    HARDENED_CHECK(value == expected);
  }
}

// ---- FindEnvironment

void CheckFind(const std::string& name, const std::vector<std::string>& entries) {
  std::vector<std::unique_ptr<char[]>> strings;  // of exact size
  std::vector<const char*> envp;
  for (const std::string& entry : entries) {
    const size_t size = std::strlen(entry.c_str()) + 1;
    strings.push_back(std::make_unique<char[]>(size));
    std::memcpy(strings.back().get(), entry.c_str(), size);
    envp.push_back(strings.back().get());
  }
  envp.push_back(nullptr);

  const char* expected = nullptr;
  const std::string prefix = name + "=";
  for (size_t i = 0; i + 1 < envp.size() && expected == nullptr; ++i) {
    if (!name.empty() && std::string(envp[i]).compare(0, prefix.size(), prefix) == 0) {
      expected = envp[i] + prefix.size();
    }
  }
  const std::vector<char> exact(name.begin(), name.end());
  const std::string_view found =
      prim::FindEnvironment(std::string_view(exact.data(), exact.size()), envp.data());
  HARDENED_CHECK(found.data() == expected);
  HARDENED_CHECK(found.size() == (expected == nullptr ? 0 : std::strlen(expected)));
  if (expected != nullptr) CheckParsers(expected);
  HARDENED_CHECK(prim::FindEnvironment(name, nullptr).data() == nullptr);
}

// ---- EnvironmentFromStackBlock

enum class Word { kNull, kString, kImplausible };

// What the block at `line` is: `words` of it may be read, and its environment starts at word
// `environment`; 0: it is no block.
struct BlockShape {
  size_t words;
  size_t environment;
};

BlockShape ShapeOf(size_t arguments, const std::vector<Word>& words) {
  const auto at = [&](size_t i) { return i < words.size() ? words[i] : Word::kNull; };
  size_t i = 0;
  for (; i < arguments; ++i) {
    if (at(i) != Word::kString) return {i + 2, 0};
  }
  if (at(i) != Word::kNull) return {i + 2, 0};
  const size_t environment = i + 2;
  for (++i; at(i) == Word::kString; ++i) {
  }
  if (at(i) != Word::kNull) return {i + 2, 0};
  return {i + 2, environment};
}

void CheckStackBlock(const std::string& line) {
  if (line.empty()) return;
  const bool too_many = line[0] == 'H';
  const size_t arguments = static_cast<uint8_t>(line[0] - '0') % 32;
  std::vector<Word> kinds;
  for (const char c : line.substr(1)) {
    kinds.push_back(c == '0'               ? Word::kNull
                    : c == '-' || c == '+' ? Word::kImplausible
                                           : Word::kString);
  }
  const BlockShape shape = too_many ? BlockShape{1, 0} : ShapeOf(arguments, kinds);

  // Exactly the words that may be read.
  const auto words = std::make_unique<uintptr_t[]>(shape.words);
  const auto base = reinterpret_cast<uintptr_t>(words.get());
  constexpr uintptr_t kTooFar = uintptr_t{1} << 30;
  words[0] = too_many ? kTooFar : arguments;
  for (size_t i = 1; i < shape.words; ++i) {
    const char c = i < line.size() ? line[i] : '0';
    words[i] = c == '0'   ? 0
               : c == '-' ? base - 1
               : c == '+' ? base + kTooFar
                          : base + kTooFar - 1 - static_cast<uint8_t>(c);
  }
  const char* const* const expected =
      shape.environment == 0 ? nullptr
                             : reinterpret_cast<const char* const*>(&words[shape.environment]);
  HARDENED_CHECK(prim::EnvironmentFromStackBlock(words.get()) == expected);
  const void* const misaligned = reinterpret_cast<const void*>(base + 4);
  HARDENED_CHECK(prim::EnvironmentFromStackBlock(misaligned) == nullptr);
}

std::vector<std::string> Lines(const uint8_t* data, size_t size) {
  std::vector<std::string> lines(1);
  for (size_t i = 0; i < size; ++i) {
    if (data[i] == '\n') {
      lines.emplace_back();
    } else {
      lines.back().push_back(static_cast<char>(data[i]));
    }
  }
  return lines;
}

}  // namespace
}  // namespace hardened::fuzzers

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hardened::fuzzers;
  std::vector<std::string> lines = Lines(data, size);
  CheckStackBlock(lines[0]);
  lines.erase(lines.begin());
  for (const std::string& line : lines) CheckParsers(line);
  const std::string name = lines.empty() ? "" : lines[0];
  if (!lines.empty()) lines.erase(lines.begin());
  CheckFind(name, lines);
  return 0;
}
