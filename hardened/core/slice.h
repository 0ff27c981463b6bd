// SliceDescriptor: what one slice (64 KiB of a segment) is used for, as the free walk needs it.
//
// Arenas hold them in a flat array, indexed by (address - arena base) >> 16. All slices of a slab
// carry the same description; of a run only the slice in which its data starts. A few others of its
// span are signposts (kSignpost): their records lead to the run, or to a former one. Memory that
// was never used reads as zero: no owner, no slots.
//
// When a slab or run is given back, owner becomes null and released is set, but the geometry stays
// until the slice is used again: a late second free can still be told from a wild pointer.
//
// Threads: written under the arena lock, or by the owner of the slab, before any pointer into the
// slice is handed out. owner is read by everybody.

#ifndef HARDENED_CORE_SLICE_H_
#define HARDENED_CORE_SLICE_H_

#include <atomic>
#include <bit>
#include <cstdint>

#include "hardened/core/size_class.h"
#include "hardened/core/slot_record.h"

namespace hardened::core {

class ThreadHeap;

// kZeroSize: a slab without an owner whose memory is guarded; its slots are allocations of 0 bytes.
// kSignpost: always released; besides records, the geometry is that of whatever was there before.
enum class SliceUse : uint8_t { kNone = 0, kSlab, kRun, kZeroSize, kSignpost };

struct SliceDescriptor {
  std::atomic<ThreadHeap*> owner;  // of the slab; null for runs and for slices without a slab
  union {
    SlotRecord* records;  // of slot 0; of the run
    uint64_t waiting;     // of a slab without metadata; never an address (EmptySlabs)
  };
  uint32_t base_low;    // low half of the address of slot 0, or of the run's data
  uint32_t inverse;     // ExactDivisor of the slot size; 1 for a run
  uint16_t slot_count;  // 1 for a run
  uint8_t shift;
  SizeClass size_class;
  SliceUse use;
  bool released;  // the geometry above is that of a former slab or run
  uint16_t reserved;

  SlotRecord& RecordAt(uint32_t index, unsigned record_shift) const {
    return *reinterpret_cast<SlotRecord*>(reinterpret_cast<uintptr_t>(records) +
                                          (uintptr_t{index} << record_shift));
  }

  // The index of the slot that starts exactly at `address`; anything >= slot_count when none does.
  // Requires: address lies in this slice.
  uint32_t IndexOf(uintptr_t address) const {
    const uint32_t distance = static_cast<uint32_t>(address) - base_low;
    return std::rotr(distance * inverse, shift);
  }
};
static_assert(sizeof(SliceDescriptor) == 32);

}  // namespace hardened::core

#endif  // HARDENED_CORE_SLICE_H_
