// The planted unchecked failure shows when allocations fail.

#include "fuzzers/backing_allocator/backing_allocator.h"

extern "C" const char hardened_fuzz_default_options[] = "fail_rate=1/16";
