#include "fuzzers/backing_allocator/options.h"

#include "hardened/prim/environment.h"

namespace hardened::fuzzing {
namespace {

// Cuts `text` at the first `at`. Returns: false when there is none. Without substr(), which throws.
bool Cut(std::string_view text, char at, std::string_view* before, std::string_view* behind) {
  const size_t place = text.find(at);
  if (place == std::string_view::npos) return false;
  *before = {text.data(), place};
  *behind = {text.data() + place + 1, text.size() - place - 1};
  return true;
}

// "N/M", N of M: 1 <= N <= M.
bool ParseRate(std::string_view text, hardened_fuzz_options* options) {
  std::string_view hits_text;
  std::string_view of_text;
  uint64_t hits = 0;
  uint64_t of = 0;
  if (!Cut(text, '/', &hits_text, &of_text) || !prim::ParseUnsigned(hits_text, &hits) ||
      !prim::ParseUnsigned(of_text, &of) || hits == 0 || hits > of) {
    return false;
  }
  options->fail_hits = hits;
  options->fail_of = of;
  return true;
}

}  // namespace

bool ParseWord(std::string_view word, hardened_fuzz_options* options) {
  std::string_view name;
  std::string_view value;
  if (!Cut(word, '=', &name, &value)) return false;
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
    std::string_view word = text;
    std::string_view rest;
    Cut(text, ':', &word, &rest);
    text = rest;
    if (!word.empty() && !ParseWord(word, options)) reject(word);
  }
}

}  // namespace hardened::fuzzing
