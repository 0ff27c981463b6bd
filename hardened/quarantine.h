// Quarantine: freed slots wait before they can be handed out again.
//
// A ring of slots for each thread heap, all classes together, bounded in bytes. A free adds its
// slot; when the ring is over its budget, slots leave it in batches, each drawn at random from the
// oldest kWindow of the ring, so that neither the moment nor the order of re-use can be told from
// the frees. What leaves was wiped when it was freed and is checked to be still zero.
//
// Small slots count for more than their size (`least_weight`), which bounds the ring; the least
// distance between a free and the re-use of the slot is then budget / weight - kWindow frees.
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
  size_t bytes = 0;         // for each thread; 0: none
  size_t least_weight = 0;  // bytes that the smallest slot counts for; a power of two

  constexpr size_t capacity() const { return least_weight == 0 ? 0 : bytes / least_weight + 1; }
};

class Quarantine {
 public:
  // The oldest slots among which the next to leave is drawn.
  static constexpr uint32_t kWindow = 1024;

  // Holds a slot whose record is kQuarantinedRecord. `weight` is the larger of its size and
  // least_weight.
  // Returns: whether slots must leave now; the caller then calls Evict().
  ABSL_ATTRIBUTE_ALWAYS_INLINE bool Add(void* slot, core::SlotRecord* record,
                                        core::SizeClass size_class, size_t weight) {
    *next_ = {reinterpret_cast<uintptr_t>(slot) | uint64_t{size_class} << kClassShift, record};
    next_ = next_ + 1 == end_ ? begin_ : next_ + 1;
    budget_ -= static_cast<int64_t>(weight);
    return ABSL_PREDICT_FALSE(budget_ < 0);
  }

  // Readies an empty quarantine. Returns: false when there is no memory for the ring.
  // Slots up to `wipe_limit` bytes are zero when they are added.
  bool Initialise(const QuarantineLimits& limits, size_t wipe_limit);
  bool initialised() const { return begin_ != nullptr; }

  // Lets slots leave until the ring is within its budget again, and some more.
  void Evict(core::ThreadHeap& heap);
  // Lets all slots leave, back into their slabs.
  void Drain(core::ThreadHeap& heap);

  uint64_t slots() const { return count(); }
  uint64_t bytes() const;

 private:
  static constexpr unsigned kClassShift = 56;
  struct Entry {
    uint64_t slot_and_class;
    core::SlotRecord* record;
  };
  // How many leave at a time.
  static constexpr uint32_t kBatch = 32;

  uint64_t count() const {
    const int64_t distance = next_ - oldest_;
    return static_cast<uint64_t>(distance >= 0 ? distance : distance + (end_ - begin_));
  }
  // Makes a slot an ordinary free one, after a look whether it is still zero.
  void Release(const core::MagazineEntry& slot, size_t size) const;
  Entry TakeOne(core::ThreadHeap& heap, uint64_t available);
  void Leave(core::ThreadHeap& heap, uint64_t batch, bool into_magazines);

  Entry* next_;
  Entry* begin_;
  Entry* end_;
  int64_t budget_;
  Entry* oldest_;
  uint32_t least_weight_;
  uint32_t wipe_limit_;
};

}  // namespace hardened

#endif  // HARDENED_QUARANTINE_H_
