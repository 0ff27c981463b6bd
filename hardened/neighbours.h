// What the slots around an allocation tell when it is freed: an underflow of the victim or an
// overflow of its left neighbour lies in the end of the left slot, an overflow across a whole slot
// in the start of the right one.
//
// Live neighbours may be freed by another thread at the same moment. A record that changes while
// its slot is looked at makes the look worthless; only damage in a slot that stayed the same is
// reported.
//
// Threads: the owner of the slab.

#ifndef HARDENED_NEIGHBOURS_H_
#define HARDENED_NEIGHBOURS_H_

#include <cstddef>
#include <cstdint>

#include "hardened/core/slice.h"

namespace hardened {

// Checks the slots on both sides of slot `index`, which starts at `address`, in a slab of
// `slot_size`-byte slots with canaries and records of 4 bytes.
// Detects: a changed canary of the left neighbour; bytes that are not zero in the 32 bytes of a
// free
//          and wiped neighbour that are nearest.
// Misses:  writes further away; slots larger than the wipe limit; neighbours in another slab.
// Cost:    two records, mostly in the same cache line, and one line of each neighbour.
[[gnu::noinline]] void CheckNeighbours(const core::SliceDescriptor& slice, uint32_t index,
                                       uintptr_t address, size_t slot_size, const char* found_by);

// Checks the canary of slot `index` if it is live and stays so. Reports damage under `found_by`.
void CheckLiveCanary(const core::SliceDescriptor& slice, uint32_t index, uintptr_t address,
                     size_t slot_size, const char* found_by);

// Checks that slot `index` is still zero if it is free, was wiped, and stays free.
void CheckFreeSlot(const core::SliceDescriptor& slice, uint32_t index, uintptr_t address,
                   size_t slot_size, const char* found_by);

}  // namespace hardened

#endif  // HARDENED_NEIGHBOURS_H_
