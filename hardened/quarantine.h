// Quarantine: freed slots wait before they can be handed out again.
//
// Two stages for each thread heap, all classes together, bounded in bytes. A free puts its slot at
// the end of a ring, first in first out. When more is held than the budget, slots leave in batches,
// each drawn at random from the block: the oldest third of the ring, at most kBlock slots, cut off
// when the last block is empty. So a slot waits while two thirds of the budget pass by, and after
// that neither the moment nor the order of its return can be told from the frees: which of a group
// of freed slots returns first is as open as the block is long. (Letting slots pass one by one
// through a pool, or out of a sliding window, is not: the first of a group to return is then one of
// the first few dozen freed, as in the birthday problem.)
//
// What leaves was wiped when it was freed, and one in check_interval slots is checked to be still
// zero; where every allocation is checked, only what leaves to a slab.
//
// A slot counts for its weight: at least `least_weight`, which bounds the ring; above that a
// multiple of its size, so that big slots do not push a program's working set out of the cache.
//
// Threads: the owner of the heap.

#ifndef HARDENED_QUARANTINE_H_
#define HARDENED_QUARANTINE_H_

#include <cstddef>
#include <cstdint>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "hardened/core/magazine.h"
#include "hardened/core/thread_heap.h"

namespace hardened {

// How much is held, as numbers of the level.
struct QuarantineLimits {
  size_t bytes = 0;             // weight that one thread holds; 0: no quarantine
  uint32_t least_weight = 0;    // what the smallest slots count for, in bytes
  uint32_t big_factor = 1;      // slots above least_weight count this many times their size
  uint32_t check_interval = 1;  // one in this many slots is checked when it leaves; 0: none

  // Slots that the ring must be able to hold.
  constexpr size_t capacity() const { return least_weight == 0 ? 0 : bytes / least_weight + 1; }
  constexpr uint32_t WeightOf(uint32_t slot_size) const {
    return slot_size <= least_weight ? least_weight : slot_size * big_factor;
  }
};

class Quarantine {
 public:
  // Slots of the second stage.
  static constexpr uint32_t kBlock = 2048;

  // Holds a freed slot. `weight` is that of its size in the limits.
  // Returns: whether slots must leave now; the caller then calls Evict().
  ABSL_ATTRIBUTE_ALWAYS_INLINE bool Add(core::MagazineEntry slot, core::SizeClass size_class,
                                        uint32_t weight) {
    *next_ = Held(slot, size_class);
    ++next_;
    if (ABSL_PREDICT_FALSE(next_ == end_)) next_ = begin_;
    budget_ -= static_cast<int64_t>(weight);
    return ABSL_PREDICT_FALSE(budget_ < 0);
  }

  // Readies an empty quarantine. Slots up to `wipe_limit` bytes are zero when they are added.
  // `checked_later`: slots from a magazine are checked when they are handed out. `limits` must
  // outlive it.
  // Returns: false when there is no memory for the ring.
  bool Initialise(const QuarantineLimits& limits, size_t wipe_limit, bool checked_later);
  bool initialised() const { return begin_ != nullptr; }

  // Lets slots leave until the budget holds again, and some more.
  void Evict(core::ThreadHeap& heap);
  // Lets all slots leave, back into their slabs.
  void Drain(core::ThreadHeap& heap);

  // Goes on as after Initialise(). Requires: nothing is held.
  void Reset();

  // What is held in both stages.
  void CountHeld(uint64_t* slots, uint64_t* bytes) const;

 private:
  // A slot, and its class above the address of its record: what leaves needs no descriptor.
  class Held {
   public:
    Held(core::MagazineEntry slot, core::SizeClass size_class)
        : slot_(slot.slot),
          record_(reinterpret_cast<uintptr_t>(slot.record) | uint64_t{size_class} << kClassShift) {}
    core::MagazineEntry slot() const {
      constexpr uint64_t kAddress = (uint64_t{1} << kClassShift) - 1;
      return {slot_, reinterpret_cast<core::SlotRecord*>(record_ & kAddress)};
    }
    core::SizeClass size_class() const {
      return static_cast<core::SizeClass>(record_ >> kClassShift);
    }

   private:
    static constexpr unsigned kClassShift = 48;
    void* slot_;
    uint64_t record_;
  };
  // So many are drawn at a time.
  static constexpr uint32_t kBatch = 64;

  // Brings the next slots to leave, drawn at random from the block, to its end. Cuts the next block
  // first when it is empty. Requires: none is drawn. Returns: false when nothing is held.
  bool Draw(prim::RandomStream& random);
  // Requires: the block is empty. Returns: false when the ring is, too.
  bool CutBlock();
  // Looks at one in check_interval slots. A damaged one is filed nowhere: somebody still has a
  // pointer to it.
  ABSL_ATTRIBUTE_ALWAYS_INLINE bool IsFitForUse(const core::MagazineEntry& slot,
                                                core::SizeClass size_class) {
    return ABSL_PREDICT_TRUE(--until_check_ != 0) || CheckStillZero(slot.slot, size_class);
  }
  // Returns: false when it is damaged, which was reported.
  bool CheckStillZero(const void* slot, core::SizeClass size_class);
  ABSL_ATTRIBUTE_NOINLINE void FileInSlab(core::ThreadHeap& heap, core::MagazineEntry slot,
                                          core::SizeClass size_class);

  Held* next_;
  Held* end_;
  Held* begin_;
  int64_t budget_;
  Held* oldest_;             // of the ring, behind the block
  Held* block_;              // within the ring's places, not across their end
  const uint32_t* weights_;  // of each class
  const QuarantineLimits* limits_;
  uint64_t until_check_;
  uint32_t wipe_limit_;
  uint32_t block_size_;
  uint32_t drawn_;  // of the block's slots the last ones, in the order from the end
  bool checked_later_;
};

}  // namespace hardened

#endif  // HARDENED_QUARANTINE_H_
