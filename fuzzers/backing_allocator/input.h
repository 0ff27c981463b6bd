// What running an input needs besides beginning and ending it.

#ifndef FUZZERS_BACKING_ALLOCATOR_INPUT_H_
#define FUZZERS_BACKING_ALLOCATOR_INPUT_H_

#include "fuzzers/backing_allocator/backing_allocator.h"

namespace hardened::fuzzing {

// Whether an allocation of the current or last input was refused.
bool Refused();

// From now on stacks of allocations are kept, for ReportLeak(). Called before an input begins whose
// end may be a leak.
void NoteAllocations();
void StopNoting();

// Reports what the last input left and ends the process.
[[noreturn]] void ReportLeak(const hardened_fuzz_result& result);

}  // namespace hardened::fuzzing

#endif  // FUZZERS_BACKING_ALLOCATOR_INPUT_H_
