// The words of HARDENED_FUZZ.
//
// Threads: pure functions. No allocation.

#ifndef FUZZERS_BACKING_ALLOCATOR_OPTIONS_H_
#define FUZZERS_BACKING_ALLOCATOR_OPTIONS_H_

#include <string_view>

#include "fuzzers/backing_allocator/backing_allocator.h"

namespace hardened::fuzzing {

inline constexpr hardened_fuzz_options kDefaultOptions = {.seed = 1,
                                                          .budget_bytes = 256 << 20,
                                                          .fail_at = 0,
                                                          .fail_above = UINT64_MAX,
                                                          .fail_hits = 0,
                                                          .fail_of = 0,
                                                          .leaks = 1};

// Applies `word`, name=value. Returns: false, and changes nothing, when it is not a word.
bool ParseWord(std::string_view word, hardened_fuzz_options* options);

// Applies the words of `text`, separated by ':'. Those that are none are handed to `reject`.
void ParseOptions(std::string_view text, hardened_fuzz_options* options,
                  void (*reject)(std::string_view word));

}  // namespace hardened::fuzzing

#endif  // FUZZERS_BACKING_ALLOCATOR_OPTIONS_H_
