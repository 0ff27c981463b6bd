#include "fuzzers/backing_allocator/options.h"

#include "hardened/prim/environment.h"

namespace hardened::fuzzing {
namespace {

// "N/M", N of M: 1 <= N <= M.
bool ParseRate(std::string_view text, hardened_fuzz_options* options) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return false;
  uint64_t hits = 0;
  uint64_t of = 0;
  if (!prim::ParseUnsigned(text.substr(0, slash), &hits) ||
      !prim::ParseUnsigned(text.substr(slash + 1), &of) || hits == 0 || hits > of) {
    return false;
  }
  options->fail_hits = hits;
  options->fail_of = of;
  return true;
}

}  // namespace

bool ParseWord(std::string_view word, hardened_fuzz_options* options) {
  const size_t equals = word.find('=');
  if (equals == std::string_view::npos) return false;
  const std::string_view name = word.substr(0, equals);
  const std::string_view value = word.substr(equals + 1);
  if (name == "fail_rate") return ParseRate(value, options);
  if (name == "leaks") {
    bool leaks = false;
    if (!prim::ParseBoolean(value, &leaks)) return false;
    options->leaks = leaks;
    return true;
  }
  const struct {
    std::string_view name;
    uint64_t* value;
  } numbers[] = {{"seed", &options->seed},
                 {"budget", &options->budget_bytes},
                 {"fail_at", &options->fail_at},
                 {"fail_above", &options->fail_above}};
  for (const auto& number : numbers) {
    if (name == number.name) return prim::ParseUnsigned(value, number.value);
  }
  return false;
}

void ParseOptions(std::string_view text, hardened_fuzz_options* options,
                  void (*reject)(std::string_view word)) {
  while (!text.empty()) {
    const size_t colon = text.find(':');
    const std::string_view word = text.substr(0, colon);
    text = colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);
    if (!word.empty() && !ParseWord(word, options)) reject(word);
  }
}

}  // namespace hardened::fuzzing
