// EmptySlabs: slabs without a live slot that wait for their class.
//
// Where classes are isolated a slab's address space never serves anything else, so an empty slab is
// not dissolved. It waits with its metadata until its memory is given back; then the metadata goes
// as well, and the address space alone is left, in a list through the slice descriptors. The next
// thread that needs a slab of the class takes over the one or the other.
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
#include "hardened/core/heap_state.h"
#include "hardened/core/slab.h"
#include "hardened/prim/lock.h"
#include "hardened/prim/replaceable.h"

namespace hardened::core {

class EmptySlabs {
 public:
  // Adds an empty slab that no heap owns or lists. Memory beyond the policy's limit is dropped at
  // once.
  void Put(Slab& slab, uint64_t now_ms, const PurgePolicy& policy) ABSL_LOCKS_EXCLUDED(lock_);
  // Some slab of `size_class`, or null.
  Slab* Take(SizeClass size_class) ABSL_LOCKS_EXCLUDED(lock_);
  // The address space of one, which reads as zero and has its guard; arena is null for none.
  ArenaSpan TakeSpan(SizeClass size_class) ABSL_LOCKS_EXCLUDED(lock_);
  // What TakeSpan() returned, unused.
  void PutSpan(const ArenaSpan& span, SizeClass size_class) ABSL_LOCKS_EXCLUDED(lock_);
  // Drops the memory of slabs that have waited for policy.delay_ms. A bounded number of them unless
  // `force`.
  // Returns: bytes given back.
  size_t Purge(uint64_t now_ms, bool force, const PurgePolicy& policy) ABSL_LOCKS_EXCLUDED(lock_);

  // While it is held, no slab that has an owner loses its metadata: a slab whose owner is seen
  // under it can be read to its end. For looks at slabs of other threads, and short: slabs come and
  // go under the same lock. Returns: false while another thread holds it. `wait`: after a while
  // only.
  bool TryHold(bool wait) ABSL_EXCLUSIVE_TRYLOCK_FUNCTION(true, lock_) {
    return wait ? lock_.AcquireWithPatience() : lock_.TryLock();
  }
  void EndHold() ABSL_UNLOCK_FUNCTION(lock_) { lock_.Release(); }

  prim::Lock& lock() ABSL_LOCK_RETURNED(lock_) { return lock_; }

 private:
  // Gives the memory of a slab back, and with it the slab. Returns: false when the kernel refuses,
  // as it does for locked pages.
  bool Dissolve(Slab& slab) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void AddSpan(SliceDescriptor& first, SizeClass size_class) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void ForgetDirty(Slab& slab) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  prim::Lock lock_;
  std::array<Slab*, kSizeClassCount> heads_ ABSL_GUARDED_BY(lock_){};
  // Descriptors of their first slices; SliceDescriptor::waiting is the complement of the next.
  std::array<SliceDescriptor*, kSizeClassCount> spans_ ABSL_GUARDED_BY(lock_){};
  std::atomic<size_t> dirty_bytes_{0};
};

extern prim::Replaceable<EmptySlabs> empty_slabs;

}  // namespace hardened::core

#endif  // HARDENED_CORE_EMPTY_SLABS_H_
