// settings_fuzzer: policies/settings.h against a grammar written a second time.
//
// Input: what HARDENED_OPTIONS would hold. It is read four ways: separated by ':' or by spaces, for
// a policy file or not. A newline has no meaning here and is left out, as complaints count lines.

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fuzzers/settings_oracle.h"
#include "hardened/prim/check.h"
#include "policies/settings.h"

namespace hardened::fuzzers {
namespace {

using policies::Settings;

void CheckText(const std::string& text, char separator, bool is_policy_file) {
  Settings expected;
  uint32_t errors = 0;
  uint32_t duplicates = 0;
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::string_view word = rest.substr(0, rest.find(separator));
    rest.remove_prefix(std::min(word.size() + 1, rest.size()));
    if (word.empty()) continue;
    const Meaning meaning = MeaningOf(word, is_policy_file);
    if (!meaning.good) {
      ++errors;
      continue;
    }
    if (expected.has(meaning.setting)) ++duplicates;
    expected.Set(meaning.setting, meaning.value);
  }

  // A copy without a terminator: a sanitizer sees a read past the end.
  const std::vector<char> exact(text.begin(), text.end());
  const std::string_view view(exact.data(), exact.size());
  Settings settings;
  PlaceChecker sink(view);
  const bool good = policies::ParseSettings(view, separator, is_policy_file, &settings, sink);
  HARDENED_CHECK(good == (errors == 0));
  HARDENED_CHECK(sink.errors == errors);
  HARDENED_CHECK(sink.duplicates == duplicates);
  HARDENED_CHECK(settings == expected);
  CheckRoundTrip(settings, separator);
}

}  // namespace
}  // namespace hardened::fuzzers

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string text(reinterpret_cast<const char*>(data), size);
  std::erase(text, '\n');
  for (const char separator : {':', ' '}) {
    for (const bool is_policy_file : {false, true}) {
      hardened::fuzzers::CheckText(text, separator, is_policy_file);
    }
  }
  return 0;
}
