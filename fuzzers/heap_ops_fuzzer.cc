// heap_ops_fuzzer: sequences of correct operations on Heap<Policy> (heap_program.h), with the
// oracle of heap_runner.h. A failure prints the steps as C++ code.

#include <cstdint>
#include <cstdlib>

#include "fuzzers/failure_printer.h"
#include "fuzzers/heap_program.h"
#include "fuzzers/heap_runner.h"
#include FUZZED_POLICY_HEADER

#define HARDENED_STRING_OF(text) #text
#define HARDENED_NAME_OF(macro) HARDENED_STRING_OF(macro)

namespace hardened::fuzzers {
namespace {

using Policy = Reproducible<FUZZED_POLICY>;

// Never destroyed: the heap is used until the process ends.
HeapRunner<Policy>& Runner() {
  static auto& runner = *new HeapRunner<Policy>;
  return runner;
}

}  // namespace
}  // namespace hardened::fuzzers

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hardened::fuzzers;
  // The same places for the same input; before the heap starts.
  [[maybe_unused]] static const int seeded = setenv("HARDENED_SEED", "1", /*overwrite=*/0);
  PrintOnFailure([] { PrintSteps(Runner().steps(), HARDENED_NAME_OF(FUZZED_POLICY)); });
  Runner().Run(ParseHeapProgram({data, size}));
  Runner().Finish();
  return 0;
}
