// GuardedPlaces: runs of one page between two guards, for guarded samples, whose guards stay.
//
// Each guard takes a system call to make and another to take away. So the places of samples are
// made some at a time, and a run that leaves HeldRuns comes back here with the guards at both ends
// and that of its page, without memory. The next one is any of them, at random; the guard of its
// page is taken away together with those of others. A call makes or takes away all guards of a
// batch where the kernel has one for it (PageSource::InstallGuards()).
//
// What was here before a fork is not given to the child, whose parent knows it (RunCache).
//
// Threads: any. The lock is taken with no other lock held, and no other is taken under it.

#ifndef HARDENED_CORE_GUARDED_PLACES_H_
#define HARDENED_CORE_GUARDED_PLACES_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "hardened/core/run.h"
#include "hardened/prim/lock.h"
#include "hardened/prim/random_stream.h"
#include "hardened/prim/replaceable.h"

namespace hardened::core {

class GuardedPlaces {
 public:
  // How many places are made at once, and how many have the guards of their pages taken away.
  static constexpr uint32_t kBatch = 16;
  static constexpr uint32_t kMost = 64;

  // A random place, whose page is accessible. Null when there is none, and when guards would have
  // to be taken away of fewer than `least`.
  Run* Take(prim::RandomStream& random, uint32_t least) ABSL_LOCKS_EXCLUDED(lock_);
  // Returns: false when the run is no such place, or when there are enough.
  bool Put(Run& run) ABSL_LOCKS_EXCLUDED(lock_);
  // How many to make now: few for a process with few samples.
  uint32_t NextBatch() ABSL_LOCKS_EXCLUDED(lock_);
  // Gives all back to their arenas. Returns: their bytes.
  size_t ReleaseAll(uint64_t now_ms) ABSL_LOCKS_EXCLUDED(lock_);

  prim::Lock& lock() ABSL_LOCK_RETURNED(lock_) { return lock_; }

 private:
  // Takes the guards away of the pages of a batch. Requires: none is open, but there are some.
  bool Open(prim::RandomStream& random) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  prim::Lock lock_;
  uint32_t count_ ABSL_GUARDED_BY(lock_) = 0;
  uint32_t open_ ABSL_GUARDED_BY(lock_) = 0;  // the first of them: whose page has no guard
  uint32_t batch_ ABSL_GUARDED_BY(lock_) = 0;
  std::array<Run*, kMost> places_ ABSL_GUARDED_BY(lock_){};
};

extern prim::Replaceable<GuardedPlaces> guarded_places;

}  // namespace hardened::core

#endif  // HARDENED_CORE_GUARDED_PLACES_H_
