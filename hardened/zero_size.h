// Zero-size allocations with an address of their own that faults on any access.
//
// Slots of 16 bytes in slabs whose whole memory is guarded. They have no owner thread and no
// magazine: a lock and a uniform draw serve the few programs that ask for nothing.
//
// Detects: any read or write through the result of malloc(0).
// Misses:  nothing while guards can be had; without, the slot is ordinary memory of its own class.
// Cost:    a lock for each allocation of zero bytes.
//
// Threads: any.

#ifndef HARDENED_ZERO_SIZE_H_
#define HARDENED_ZERO_SIZE_H_

#include "absl/base/thread_annotations.h"
#include "hardened/core/slab.h"
#include "hardened/prim/lock.h"
#include "hardened/prim/random_stream.h"

namespace hardened {

class ZeroSizeSlots {
 public:
  // A free slot, or one without a slot when memory is exhausted.
  core::MagazineEntry Allocate() ABSL_LOCKS_EXCLUDED(lock_);
  // Takes back a slot whose record is that of a dead slot.
  void Free(core::SliceDescriptor& slice, const core::MagazineEntry& entry)
      ABSL_LOCKS_EXCLUDED(lock_);

  uint64_t live() const { return live_.load(std::memory_order_relaxed); }
  uint64_t allocations() const { return allocations_.load(std::memory_order_relaxed); }

  // In the child of a fork: slots are drawn differently from the parent's.
  void Reseed() ABSL_LOCKS_EXCLUDED(lock_);

  // Around a fork (hardened/fork.h).
  void FreezeForFork() { lock_.Freeze(); }
  void ThawAfterFork() { lock_.Thaw(); }
  // Requires: the child's generation is counted (HeapState::generation).
  void MendInChild();

 private:
  core::Slab* NewSlab() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  prim::Lock lock_;  // before HeapState's locks
  core::Slab* with_free_slots_ ABSL_GUARDED_BY(lock_) = nullptr;
  // Slabs of earlier generations may be half changed: their slots are never drawn again.
  uint32_t first_generation_ ABSL_GUARDED_BY(lock_) = 0;
  prim::RandomStream* random_ ABSL_GUARDED_BY(lock_) = nullptr;  // of the first use
  std::atomic<uint64_t> live_{0};
  std::atomic<uint64_t> allocations_{0};
};

extern ZeroSizeSlots zero_size_slots;

}  // namespace hardened

#endif  // HARDENED_ZERO_SIZE_H_
