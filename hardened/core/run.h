// Run: a large allocation: whole pages of its own slices, with a guard at both ends.
//
//   slices  | guard (>= 1 page) | data: committed pages | guard (>= 1 page) |
//
// The data starts anywhere in the first slices of its span, so the space that a run leaves of its
// slices becomes guard, and its place within them can be random. One Run in the metadata and one
// slice descriptor, that of the slice in which the data starts, describe it. From any other address
// in it the way leads over signposts (run_signposts.h).
//
// Freed runs are kept for a while with their guards, for the next request of about their size:
// giving a run back costs system calls and page faults on the way back. Above 1 MiB spans come in
// eight sizes to each doubling; what a run leaves of its span is guard. Where the level
// holds freed runs, they come here from there, without memory.
//
// A run has no owner. Its record is claimed by compare-and-swap, so a double free is seen at the
// call from any thread.
//
// Threads: a run belongs to whoever allocated it, until it is claimed for freeing. The cache has a
// lock of its own.

#ifndef HARDENED_CORE_RUN_H_
#define HARDENED_CORE_RUN_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "hardened/core/arena.h"
#include "hardened/core/slot_record.h"
#include "hardened/prim/lock.h"
#include "hardened/prim/replaceable.h"

namespace hardened::core {

struct Run {
  SlotRecord record;         // first: descriptors point here
  SlotRecord beside_record;  // for a plug, as beside the records of slots
  bool front_guarded;
  bool tail_guarded;
  bool held;   // in HeldRuns: its data is guarded
  bool lost;   // its pages are gone: the span is never used again
  bool zero;   // its data reads as zero
  bool moved;  // its pages came by MovePages: Renew() them before others use them
  uint32_t first_slice;
  uint32_t slices;
  Arena* arena;
  Arena* metadata_arena;
  uintptr_t pages;     // first data page
  size_t page_bytes;   // of the data pages
  uintptr_t data;      // what the program holds; >= pages
  size_t requested;    // bytes asked for
  uint64_t thread_id;  // of the thread that allocated it
  uint64_t freed_ms;
  void* trace;  // of a plug: what is known about a sampled allocation
  Run* next;    // in the cache

  static Run* OfRecord(SlotRecord* record) { return reinterpret_cast<Run*>(record); }
  // Bytes from data to the guard behind it.
  size_t capacity() const { return pages + page_bytes - data; }
};

// Where the data of a run lies in its pages.
enum class RunPlacement : uint8_t {
  kByLevel,  // as CoreOptions say
  kStart,    // against the guard in front
  kEnd,      // against the guard behind, as far as the alignment allows
};

// Makes a run of at least `bytes` aligned to `alignment` (a power of two). Its record is dead, its
// descriptor in place. *zero tells whether the data reads as zero. With a placement of its own the
// run is fresh and never one from the cache.
// Returns: null when memory is exhausted.
Run* AllocateRun(ThreadHeap& heap, size_t bytes, size_t alignment, bool* zero,
                 RunPlacement placement = RunPlacement::kByLevel);

// Gives back a run that the caller has claimed (its record is kFreedRecord). It is held as guarded
// address space while no more than `hold_bytes` of its kind are, 0: not at all. Runs with a trace
// are a kind of their own.
void FreeRun(Run& run, size_t hold_bytes);

// Makes the first `bytes` of data read as zero: by dropping the pages of a big run, so that they
// are not touched, by clearing those of a small one.
void ClearRun(Run& run, size_t bytes);

// Changes the size of a live run in place.
// Returns: whether it could be done; nothing has changed when not.
bool ResizeRun(Run& run, size_t bytes);

enum class MoveResult : uint8_t {
  kMoved,
  kCopy,  // nothing has changed; the caller must copy
  kLost,  // the pages of the target are gone; the caller must free it untouched
};

// Moves the first `bytes` of data from one run to another without copying where the pages line up.
MoveResult MoveRunContents(Run& from, Run& to, size_t bytes);

// Freed runs that are held as address space without memory: any access faults, and the range is not
// used again until it is the oldest and the level's limit is reached. First in, first out.
class HeldRuns {
 public:
  // Guards the data of a freed run and holds it; lets the oldest go, into the cache or to their
  // arenas, while there are too many.
  // Returns: false when the guard was refused; the run is then the caller's again.
  bool Hold(Run& run, size_t limit_bytes, uint64_t now_ms) ABSL_LOCKS_EXCLUDED(lock_);

  // Lets all go. Returns: their bytes.
  size_t ReleaseAll(uint64_t now_ms) ABSL_LOCKS_EXCLUDED(lock_);

  size_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
  prim::Lock& lock() ABSL_LOCK_RETURNED(lock_) { return lock_; }

 private:
  prim::Lock lock_;  // taken with no other lock held, and none is taken under it
  std::atomic<size_t> bytes_{0};
  Run* oldest_ ABSL_GUARDED_BY(lock_) = nullptr;
  Run* newest_ ABSL_GUARDED_BY(lock_) = nullptr;
};

extern prim::Replaceable<HeldRuns> held_runs;
// Those with a trace: other runs do not push them out, nor the other way round.
extern prim::Replaceable<HeldRuns> held_traced_runs;

// Lets the runs of both go. Returns: their bytes.
size_t ReleaseHeldRuns(uint64_t now_ms);

// For a request that found no memory: gives back all runs that are held or cached, and what the
// arenas keep. Returns: whether there was anything.
bool ReleaseReserves();

// Two stages: for each hash of a span's size one run that is exchanged without a lock, and lists
// behind it.
class RunCache {
 public:
  // A cached run with a span of `slices`, or null.
  Run* Take(uint32_t slices) ABSL_LOCKS_EXCLUDED(lock_);
  // The smallest in the lists with a span of `slices` up to `most`, or null.
  Run* TakeBestFit(uint32_t slices, uint32_t most) ABSL_LOCKS_EXCLUDED(lock_);
  // Returns: false when the run does not belong into the cache.
  bool Put(Run& run, uint64_t now_ms) ABSL_LOCKS_EXCLUDED(lock_);
  // Gives runs back that were freed more than `delay_ms` ago.
  // Returns: their bytes.
  size_t Purge(uint64_t now_ms, uint64_t delay_ms) ABSL_LOCKS_EXCLUDED(lock_);

  prim::Lock& lock() ABSL_LOCK_RETURNED(lock_) { return lock_; }

 private:
  static constexpr size_t kBuckets = 64;
  static constexpr size_t kFirst = 16;

  Run* Unlink(Run** link) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // Returns: false when there is no room for it.
  bool PutBehind(Run& run) ABSL_LOCKS_EXCLUDED(lock_);
  // Into the first stage; the run that was there goes behind, or back to its arena.
  void PutFirst(Run& run);

  // The first stage: runs of up to 1/32 of the cache's bytes, so that it holds half at most.
  std::array<std::atomic<Run*>, kFirst> first_{};
  prim::Lock lock_;               // taken with no other lock held, and none is taken under it
  std::atomic<size_t> bytes_{0};  // in the buckets
  std::array<Run*, kBuckets> buckets_ ABSL_GUARDED_BY(lock_){};
};

extern prim::Replaceable<RunCache> run_cache;

}  // namespace hardened::core

#endif  // HARDENED_CORE_RUN_H_
