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
  size_t least_weight = 0;      // what the smallest slots count for, in bytes
  uint32_t big_factor = 1;      // slots above least_weight count this many times their size
  uint32_t check_interval = 1;  // one in this many slots is checked when it leaves; 0: none

  // Slots that the ring must be able to hold.
  constexpr size_t capacity() const { return least_weight == 0 ? 0 : bytes / least_weight + 1; }
  constexpr size_t WeightOf(size_t slot_size) const {
    return slot_size <= least_weight ? least_weight : slot_size * big_factor;
  }
};

class Quarantine {
 public:
  // Slots of the second stage.
  static constexpr uint32_t kBlock = 2048;

  // Holds a freed slot. `weight` is that of its size in the limits.
  // Returns: whether slots must leave now; the caller then calls Evict().
  ABSL_ATTRIBUTE_ALWAYS_INLINE bool Add(void* slot, core::SizeClass size_class, size_t weight) {
    *next_ = reinterpret_cast<uintptr_t>(slot) | Held{size_class} << kClassShift;
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
  // A slot: its address, and above that its class.
  using Held = uint64_t;
  static constexpr unsigned kClassShift = 48;
  // At most so many leave at a time.
  static constexpr uint32_t kBatch = 64;

  static uintptr_t AddressOf(Held held) { return held & ((Held{1} << kClassShift) - 1); }
  static core::SizeClass ClassOf(Held held) {
    return static_cast<core::SizeClass>(held >> kClassShift);
  }
  // Lets at most `most` slots leave, until `budget` is left: into magazines that have room if
  // `into_magazines`, else into their slabs.
  // Returns: how many.
  uint32_t Leave(core::ThreadHeap& heap, uint32_t most, int64_t budget, bool into_magazines);
  // Requires: the block is empty. Returns: false when the ring is, too.
  bool CutBlock();
  // Returns: false when it is damaged, which was reported.
  bool CheckStillZero(const void* slot, size_t size) const;

  Held* next_;
  Held* end_;
  Held* begin_;
  int64_t budget_;
  Held* oldest_;  // of the ring, behind the block
  Held* block_;   // within the ring's places, not across their end
  const QuarantineLimits* limits_;
  uint32_t wipe_limit_;
  uint32_t until_check_;
  uint32_t block_size_;
  bool checked_later_;
};

}  // namespace hardened

#endif  // HARDENED_QUARANTINE_H_
