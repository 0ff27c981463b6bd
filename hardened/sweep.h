// Sweep: the canaries of allocations that are not being freed, and freed slots that should be zero.
//
// A bounded number of slots is looked at in each step, from the slow side of malloc and free; the
// whole heap at exit.
//
// Detects: an overflow or underflow whose victim or source is never freed; a write to a freed slot
//          that is not re-used before the exit.
// Misses:  damage that is undone before the sweep comes by; runs; in a forked child, the slabs of
//          threads that only the parent has; in the home of a heap, those of other threads.
// Cost:    as many slots as a quarantine lets go, rounded up to kSlotsPerStep.
//
// Slabs are held while they are looked at (EmptySlabs::TryHold), so that none goes away under it.
//
// Threads: any. Slots that change while they are looked at are passed over.

#ifndef HARDENED_SWEEP_H_
#define HARDENED_SWEEP_H_

#include <cstdint>

namespace hardened {

inline constexpr uint32_t kSlotsPerStep = 64;

// Looks at the next slots, process-wide. Returns at once while another thread holds the slabs.
void SweepStep();

// Looks at every slot of the heap.
void SweepEverything();

}  // namespace hardened

#endif  // HARDENED_SWEEP_H_
