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

#include "absl/base/attributes.h"
#include "hardened/canary.h"
#include "hardened/core/slice.h"
#include "hardened/prim/racy_look.h"
#include "hardened/wipe.h"

namespace hardened {

// The shift of the records of such slabs, which hold lives.
inline constexpr unsigned kNeighbourRecordShift = 2;
// Both words of a canary, at levels that look at neighbours.
inline constexpr SlotCanary::Words kNeighbourWords = SlotCanary::Words::kFirstAndLast;
// How much of a free neighbour is looked at, in bytes; of 16-byte slots the half.
inline constexpr size_t kNearest = 32;

// Whether the slots on both sides of slot `index`, which starts at `address`, in a slab of
// `slot_size`-byte slots with canaries and records of 4 bytes, look as they should. False as well
// for one that another thread frees at this moment: CheckNeighbours() tells.
// Detects: a changed canary of the left neighbour; bytes that are not zero in the kNearest bytes of
//          a free and wiped neighbour that are nearest.
// Misses:  writes further away; slots larger than the wipe limit; neighbours in another slab.
// Cost:    two records, mostly in the cache line of the slot's own, and one line of each neighbour.
HARDENED_RACY_LOOK bool NeighboursLookIntact(const core::SliceDescriptor& slice, uint32_t index,
                                             uintptr_t address, size_t slot_size) {
  core::SlotRecord* const record = &slice.RecordAt(index, kNeighbourRecordShift);
  const size_t second = slot_size < kNearest ? 0 : sizeof(WipeUnit);
  const auto unit = [](uintptr_t at) ABSL_ATTRIBUTE_ALWAYS_INLINE {
    return *reinterpret_cast<const WipeUnit*>(at);
  };
  // What should be zero.
  WipeUnit nearest = {};
  // Pair with the release stores of who files a slot for its owner, or reallocates it in place.
  if (index + 1 < slice.slot_count &&
      core::IsKnownZero(record[2].load(std::memory_order_acquire))) {
    const uintptr_t right = address + slot_size;
    nearest |= unit(right) | unit(right + second);
  }
  if (index > 0) {
    const core::RecordValue left = record[-2].load(std::memory_order_acquire);
    if (core::IsKnownZero(left)) {
      nearest |= unit(address - sizeof(WipeUnit)) | unit(address - sizeof(WipeUnit) - second);
    } else if (core::IsLive(left)) {
      const uintptr_t start = address - slot_size;
      const uint16_t life = record[-1].load(std::memory_order_relaxed);
      if (!SlotCanary::Intact(kNeighbourWords, start, slot_size, core::SlackOf(left),
                              SlotCanary::Value(start, life))) {
        return false;
      }
    }
  }
  return (nearest[0] | nearest[1]) == 0;
}

// The same with care: reports what is damaged for certain.
void CheckNeighbours(const core::SliceDescriptor& slice, uint32_t index, uintptr_t address,
                     size_t slot_size, const char* found_by);

// Checks the canary of slot `index` if it is live and stays so. Reports damage under `found_by`.
void CheckLiveCanary(const core::SliceDescriptor& slice, uint32_t index, uintptr_t address,
                     size_t slot_size, const char* found_by);

// Checks that slot `index` is still zero if it is free, was wiped, and stays free.
void CheckFreeSlot(const core::SliceDescriptor& slice, uint32_t index, uintptr_t address,
                   size_t slot_size, const char* found_by);

}  // namespace hardened

#endif  // HARDENED_NEIGHBOURS_H_
