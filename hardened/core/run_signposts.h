// Signposts: the way from any address within a run to the run.
//
// Only the slice in which the data of a run starts describes it. A span that starts at slice a has
// signposts at a rounded up to each power of two, log2 of its length. Clearing the lowest bits of
// a slice's index, one after the other, meets one of them before it leaves the span. They stay
// behind when the run goes: what a signpost names is believed when the run itself says the same.
//
// Threads: set by whoever makes or extends the run; looked up by any thread, without a lock.

#ifndef HARDENED_CORE_RUN_SIGNPOSTS_H_
#define HARDENED_CORE_RUN_SIGNPOSTS_H_

#include <cstdint>

#include "hardened/core/run.h"

namespace hardened::core {

// After the span of `run` was taken or extended. What is known about the former use of its slices
// stays.
void SetSignposts(Run& run);

// The live run whose pages hold `address`, or end there; null when there is none.
const Run* LiveRunAt(uintptr_t address);

}  // namespace hardened::core

#endif  // HARDENED_CORE_RUN_SIGNPOSTS_H_
