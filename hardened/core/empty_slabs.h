// EmptySlabs: slabs without a live slot that wait for their class.
//
// Where classes are isolated a slab's address space never serves anything else, so an empty slab is
// not dissolved: it keeps its metadata, gives its memory back, and is taken over by the next thread
// that needs a slab of the class.
//
// Threads: any; one lock, taken with no other lock held but the registry's.

#ifndef HARDENED_CORE_EMPTY_SLABS_H_
#define HARDENED_CORE_EMPTY_SLABS_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "hardened/core/arena.h"
#include "hardened/core/slab.h"
#include "hardened/prim/lock.h"

namespace hardened::core {

class EmptySlabs {
 public:
  // Adds an empty slab that no heap owns or lists. Memory beyond the policy's limit is dropped at
  // once.
  void Put(Slab& slab, uint64_t now_ms, const PurgePolicy& policy) ABSL_LOCKS_EXCLUDED(lock_);
  // Some slab of `size_class`, or null.
  Slab* Take(SizeClass size_class) ABSL_LOCKS_EXCLUDED(lock_);
  // Drops the memory of slabs that have waited for policy.delay_ms. A bounded number of them unless
  // `force`.
  // Returns: bytes given back.
  size_t Purge(uint64_t now_ms, bool force, const PurgePolicy& policy) ABSL_LOCKS_EXCLUDED(lock_);

  void LockForFork() ABSL_NO_THREAD_SAFETY_ANALYSIS { lock_.Acquire(); }
  void UnlockAfterFork(bool in_child) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    in_child ? lock_.ForkReset() : lock_.Release();
  }

 private:
  size_t Drop(Slab& slab) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  prim::Lock lock_;
  std::array<Slab*, kSizeClassCount> heads_ ABSL_GUARDED_BY(lock_){};  // dirty ones in front
  std::atomic<size_t> dirty_bytes_{0};
};

extern EmptySlabs empty_slabs;

}  // namespace hardened::core

#endif  // HARDENED_CORE_EMPTY_SLABS_H_
