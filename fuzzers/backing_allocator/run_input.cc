// hardened_fuzz_run_input(). Compiled with exceptions: a refused allocation may end an input.

#include <exception>
#include <new>

#include "fuzzers/backing_allocator/backing_allocator.h"
#include "fuzzers/backing_allocator/input.h"
#include "hardened/prim/check.h"

namespace hardened::fuzzing {
namespace {

using Target = int (*)(const uint8_t*, size_t);

int RunOnce(const hardened_fuzz_options& options, Target target, const uint8_t* data, size_t size,
            hardened_fuzz_result* result) {
  int returned = 0;
  HARDENED_CHECK(hardened_fuzz_begin_input(&options, data, size) == 0);
  try {
    returned = target(data, size);
  } catch (const std::bad_alloc&) {
    // Nobody refused: the program asked for what nobody has.
    if (!Refused()) std::terminate();
  }
  HARDENED_CHECK(hardened_fuzz_end_input(result) == 0);
  return returned;
}

}  // namespace
}  // namespace hardened::fuzzing

extern "C" [[gnu::visibility("default")]] int hardened_fuzz_run_input(
    const hardened_fuzz_options* options, int (*target)(const uint8_t* data, size_t size),
    const uint8_t* data, size_t size) {
  using namespace hardened::fuzzing;
  hardened_fuzz_result result;
  const int returned = RunOnce(*options, target, data, size, &result);
  if (options->leaks == 0 || result.live_after <= result.live_before) return returned;
  NoteAllocations();
  RunOnce(*options, target, data, size, &result);
  StopNoting();
  if (result.live_after > result.live_before) ReportLeak(result);
  return returned;
}
