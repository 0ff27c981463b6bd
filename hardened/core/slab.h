// Slab: the metadata of one slab, a span of slices cut into equal slots of one class.
//
// Layout of its metadata block: Slab | records, 2 or 4 bytes a slot | bitmap, 1 bit a slot.
//
// A set bit is a slot that may be drawn. Slots in a magazine, in a quarantine or live have no bit.
// The records tell the program's view of a slot, the bitmap the allocator's.
//
// Threads: the owning thread only, except where the records are concerned (slot_record.h).

#ifndef HARDENED_CORE_SLAB_H_
#define HARDENED_CORE_SLAB_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "hardened/core/arena.h"
#include "hardened/core/magazine.h"
#include "hardened/core/size_class.h"
#include "hardened/core/slot_record.h"
#include "hardened/prim/check.h"
#include "hardened/prim/random_stream.h"

namespace hardened::core {

// How the slots of a refill are chosen.
struct Placement {
  // Free slots are drawn uniformly from the whole slab when 0. Otherwise they are taken in the
  // order of their addresses and shuffled within windows of this many bytes.
  uint32_t window_bytes = 0;
  // With a window: slots come from this many slabs at once, each in the order of its addresses, and
  // which of them gives the next is random (1: one slab after the other). Objects that follow one
  // another in time stay near in space, and still nobody knows how near. Without a window one slab
  // is as random as many.
  uint32_t lanes = 1;
  static constexpr uint32_t kMaxLanes = 64;
};

class Slab {
 public:
  // Bytes of metadata for a slab of `size_class`.
  static constexpr size_t MetadataBytes(SizeClass size_class, unsigned record_shift);

  // Describes a fresh slab in a zeroed block of MetadataBytes(). `zero`: its memory reads as zero.
  // The block came from `metadata_arena`.
  void Initialise(Arena& arena, Arena& metadata_arena, uint32_t first_slice, SizeClass size_class,
                  unsigned record_shift, bool zero);

  uint32_t free_count() const { return free_count_; }
  uint32_t slot_count() const { return slot_count_; }
  bool empty() const { return free_count_ == slot_count_; }
  // Slots that must be free for it to be sparse: 7 of 8.
  uint16_t sparse_from() const { return static_cast<uint16_t>(slot_count_ - slot_count_ / 8); }
  // Gives back the pages of which all slots may be drawn. Returns: their bytes.
  size_t DropFreePages();
  // At most so much of its memory is in use or was, since the last DropFreePages().
  size_t touched_bytes() const;
  SizeClass size_class() const { return size_class_; }
  uint32_t first_slice() const { return first_slice_; }
  uintptr_t base() const { return base_; }
  // Of its slices.
  size_t span_bytes() const { return SlabSlices(size_class_) * kSliceSize; }
  Arena& arena() const { return *arena_; }
  Arena& metadata_arena() const { return *metadata_arena_; }
  unsigned record_shift() const { return record_shift_; }
  SlotRecord* records() { return reinterpret_cast<SlotRecord*>(this + 1); }
  SlotRecord* RecordAt(uint32_t index) {
    return reinterpret_cast<SlotRecord*>(reinterpret_cast<uintptr_t>(records()) +
                                         (uintptr_t{index} << record_shift_));
  }
  // The index of a record that may or may not be one of this slab's; then it is >= slot_count().
  uint32_t IndexOfRecord(const SlotRecord* record) {
    const uintptr_t distance =
        reinterpret_cast<uintptr_t>(record) - reinterpret_cast<uintptr_t>(records());
    const uintptr_t index = distance >> record_shift_;
    return index < slot_count_ ? static_cast<uint32_t>(index) : UINT32_MAX;
  }
  static Slab* OfRecords(SlotRecord* records) { return reinterpret_cast<Slab*>(records) - 1; }

  // Draws up to `count` free slots into `out`, first drawn first.
  // Returns: how many. Each subset of that size is equally likely when the window is 0.
  uint32_t Draw(const Placement& placement, prim::RandomStream& random, uint32_t count,
                MagazineEntry* out);

  // Makes a slot drawable again. Requires: it is not.
  void Return(uint32_t index) {
    uint64_t& word = bitmap()[index / 64];
    const uint64_t bit = uint64_t{1} << index % 64;
    HARDENED_CHECK(index < slot_count_ && (word & bit) == 0);
    word |= bit;
    ++free_count_;
    if (index / 64 < lowest_word_) lowest_word_ = index / 64;
  }

  // The forks before it was made (HeapState::generation); owned by the thread heap.
  uint32_t generation = 0;
  // Links of the list of its bin; owned by the thread heap.
  Slab* next = nullptr;
  Slab* previous = nullptr;
  bool listed = false;
  // The place of a slab with few live slots among those of its heap, plus one; 0: none.
  uint16_t sparse_place = 0;
  // From this many free slots on, the heap looks again how it files the slab.
  uint16_t notice = 0;
  // What it counts for there.
  uint32_t sparse_bytes = 0;
  // While it waits in EmptySlabs.
  bool dirty = false;
  uint64_t emptied_ms = 0;

 private:
  uint64_t* bitmap() {
    return reinterpret_cast<uint64_t*>(reinterpret_cast<uintptr_t>(records()) +
                                       RoundUpTo(size_t{slot_count_} << record_shift_, 8));
  }
  // While many slots are free: draws over all slots, repeated until they hit a free one.
  void DrawByRejection(prim::RandomStream& random, uint32_t count, MagazineEntry* out);
  // When few are: a shuffle of their list.
  void DrawByShuffle(prim::RandomStream& random, uint32_t count, MagazineEntry* out);
  void DrawInOrder(uint32_t count, MagazineEntry* out);
  MagazineEntry EntryOf(uint32_t index) {
    return {reinterpret_cast<void*>(base_ + uintptr_t{index} * slot_size_), RecordAt(index)};
  }

  Arena* arena_ = nullptr;
  Arena* metadata_arena_ = nullptr;
  uintptr_t base_ = 0;
  uint32_t first_slice_ = 0;
  uint32_t slot_size_ = 0;
  uint32_t slot_count_ = 0;
  uint32_t free_count_ = 0;
  uint32_t lowest_word_ = 0;  // no bit is set in a word below
  uint32_t touched_ = 0;      // slots that may have memory, at most
  SizeClass size_class_ = 0;
  uint8_t record_shift_ = 1;
};

constexpr size_t Slab::MetadataBytes(SizeClass size_class, unsigned record_shift) {
  const size_t slots = SlotsPerSlab(size_class);
  return sizeof(Slab) + RoundUpTo(slots << record_shift, 8) + (slots + 63) / 64 * 8;
}

// Describes the slices of `slab` to the free walk, with `owner`.
void DescribeSlab(Slab& slab, ThreadHeap* owner);

// Marks the slices of `slab`, which has no live slot and no owner, as released, and frees its
// metadata. Who still reads their records then faults.
void FreeSlabMetadata(Slab& slab);

// Changes the owner in the slices of a described slab; other threads may be reading the rest.
void SetSlabOwner(const Slab& slab, ThreadHeap* owner);

}  // namespace hardened::core

#endif  // HARDENED_CORE_SLAB_H_
