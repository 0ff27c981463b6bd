// Makes each call of LLVMFuzzerTestOneInput an input. The linker hands all calls of it to
// __wrap_... (--wrap); the target's own is __real_...

#include "fuzzers/backing_allocator/backing_allocator.h"

extern "C" {

int __real_LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

int __wrap_LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
int __wrap_LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  hardened_fuzz_options options;
  hardened_fuzz_get_options(&options);
  return hardened_fuzz_run_input(&options, &__real_LLVMFuzzerTestOneInput, data, size);
}

}  // extern "C"
