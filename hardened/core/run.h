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
// eight sizes to each doubling; what a run leaves of its span is guard.
//
// Where the level holds freed runs, any access to them faults. The last ones of up to 512 KiB are
// only hidden and keep their memory; they become guards, without memory, when others have followed
// or time has passed, and the oldest of these go into the cache. Guards cost a page fault for each
// page of the next allocation: above a rate of frees the hidden ones go there at once, to be
// cleared when they are handed out, and only a random share is hidden at all.
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

// What is in the data of a run that is not live.
enum class RunContents : uint8_t {
  kOld,           // whatever it held before
  kShouldBeZero,  // zero, unless something wrote to it that must not
  kZero,          // zero: nothing could write to it up to now
};

// How the data of a run that is not live is kept from access.
enum class RunHold : uint8_t {
  kNone,
  kHidden,   // with its memory and contents
  kGuarded,  // without
};

struct Run {
  SlotRecord record;         // first: descriptors point here
  SlotRecord beside_record;  // its life, changed by a plug each time it is handed out
  bool front_guarded;
  bool tail_guarded;
  RunHold hold;  // of one in HeldRuns, or in the cache since it left them
  bool lost;     // its pages are gone: the span is never used again
  bool moved;    // its pages came by MovePages: Renew() them before others use them
  RunContents contents;
  uint8_t alignment_shift;  // log2 of the alignment asked for
  uint32_t generation;      // HeapState::generation() when it came into the cache
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

// Gives the run back to its arena, and what belongs to it to the metadata. `now_ms` is a coarse
// clock.
void ReleaseRun(Run& run, uint64_t now_ms);

// Undoes the guard of the data of a run that is held. Returns: false when it is still there.
bool Unhold(Run& run);

// Where the data of a run lies in its pages.
enum class RunPlacement : uint8_t {
  kByLevel,  // as CoreOptions say
  kGrown,    // as the level says up to 1 MiB; longer runs start their page, so that they can move
  kStart,    // against the guard in front
  kEnd,      // against the guard behind, as far as the alignment allows
};

// Makes a run of at least `bytes` aligned to `alignment` (a power of two). Its record is dead, its
// descriptor in place. With kStart or kEnd the run is fresh and never one from the cache.
// Returns: null when memory is exhausted.
Run* AllocateRun(ThreadHeap& heap, size_t bytes, size_t alignment,
                 RunPlacement placement = RunPlacement::kByLevel);

// A run for a guarded sample, placed against one of its guards: where a page is enough one of
// GuardedPlaces, whose trace may be that of the sample before it. Null when memory is exhausted.
Run* AllocateSampleRun(ThreadHeap& heap, size_t bytes, size_t alignment, RunPlacement placement);

// Gives back a run that the caller has claimed (its record is kFreedRecord). It is held as guarded
// address space while no more than `hold_bytes` of its kind are, 0: not at all. Runs with a trace
// are a kind of their own.
void FreeRun(Run& run, size_t hold_bytes);

// Makes the first `bytes` of a run's data read as zero before it is handed out, whatever stray
// writes did to it. Pages that should be zero or are many are dropped, so that they are not
// touched; others are cleared. Costs nothing for a run whose data was guarded up to now.
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

// A list of freed runs by Run::next, first in first out.
struct RunQueue {
  void Append(Run& run);
  // Requires: it is not empty.
  Run* TakeOldest();

  Run* oldest = nullptr;
  Run* newest = nullptr;
  size_t bytes = 0;
  uint32_t count = 0;
};

// Freed runs that are held: any access faults, and the range is not used again until it is the
// oldest and a limit is reached. First in, first out.
class HeldRuns {
 public:
  // Hides the data of a freed run, which keeps its memory. The oldest of the hidden ones become
  // guards while there are too many; where that is more than HoldBudget admits, they leave.
  // Returns: false when it cannot be hidden; the run is then the caller's again.
  bool Hide(Run& run, size_t limit_bytes, uint64_t now_ms) ABSL_LOCKS_EXCLUDED(lock_);
  // Guards the data of a freed run and holds it without memory; lets the oldest go, into the cache
  // or to their arenas, while there are too many.
  // Returns: false when the guard was refused; the run is then the caller's again.
  bool Hold(Run& run, size_t limit_bytes, uint64_t now_ms) ABSL_LOCKS_EXCLUDED(lock_);

  // Takes their memory from runs that were hidden more than `delay_ms` ago.
  void Age(uint64_t now_ms, uint64_t delay_ms) ABSL_LOCKS_EXCLUDED(lock_);

  // Lets all go. Returns: their bytes.
  size_t ReleaseAll(uint64_t now_ms) ABSL_LOCKS_EXCLUDED(lock_);

  prim::Lock& lock() ABSL_LOCK_RETURNED(lock_) { return lock_; }

 private:
  // Adds a guarded run.
  void Keep(Run& run, size_t limit_bytes, uint64_t now_ms) ABSL_LOCKS_EXCLUDED(lock_);

  prim::Lock lock_;  // taken with no other lock held, and none is taken under it
  RunQueue guarded_ ABSL_GUARDED_BY(lock_);
  RunQueue hidden_ ABSL_GUARDED_BY(lock_);
};

extern prim::Replaceable<HeldRuns> held_runs;
// Those with a trace: other runs do not push them out, nor the other way round.
extern prim::Replaceable<HeldRuns> held_traced_runs;

// Lets the runs of both go, and the places that wait for samples. Returns: their bytes.
size_t ReleaseHeldRuns(uint64_t now_ms);

// For a request that found no memory: gives back all runs that are held or cached, and what the
// arenas keep. Returns: whether there was anything.
bool ReleaseReserves();

// Two stages: for each hash of a span's size a few runs that are exchanged without a lock, and
// lists behind it.
//
// With CoreOptions::delay_runs a freed run waits. The first stage gives a run only while all its
// places for that hash are taken, and which of them is random; of larger runs the one that came
// last is not given. What came before a fork is not given to the child: its parent and its siblings
// know which run would be the next.
class RunCache {
 public:
  // A cached run with a span of `slices`, or null.
  Run* Take(uint32_t slices, prim::RandomStream& random) ABSL_LOCKS_EXCLUDED(lock_);
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
  static constexpr unsigned kPlaces = 4;  // a power of two

  // A run of the first stage with the length of its span, so that others need not be looked at.
  class Entry {
   public:
    constexpr Entry() = default;
    explicit Entry(Run& run)
        : word_(reinterpret_cast<uintptr_t>(&run) | uint64_t{run.slices} << kSlicesShift) {}
    bool empty() const { return word_ == 0; }
    Run* run() const { return reinterpret_cast<Run*>(word_ & ((uint64_t{1} << kSlicesShift) - 1)); }
    bool Fits(uint32_t slices) const { return word_ >> kSlicesShift == slices; }

   private:
    static constexpr unsigned kSlicesShift = 48;
    uint64_t word_ = 0;
  };
  static_assert(std::atomic<Entry>::is_always_lock_free);
  // Of runs of one hash.
  struct Places {
    Entry Look(unsigned at) const { return runs[at].load(std::memory_order_relaxed); }
    bool AllTaken() const {
      static_assert(kPlaces == 4);
      return !Look(0).empty() && !Look(1).empty() && !Look(2).empty() && !Look(3).empty();
    }

    // Where all are taken, one goes. Returns: that one.
    Entry PutIntoFree(Entry entry);

    std::array<std::atomic<Entry>, kPlaces> runs{};
    std::atomic<uint8_t> free_place{0};  // probably: the one that was taken last
  };

  Run* TakeFirst(uint32_t slices, prim::RandomStream& random);
  Run* TakeBehind(uint32_t slices) ABSL_LOCKS_EXCLUDED(lock_);
  // Whether a run of the lists may be given.
  bool MayLeave(const Run& run) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  Run* Unlink(Run** link) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // Returns: false when there is no room for it.
  bool PutBehind(Run& run) ABSL_LOCKS_EXCLUDED(lock_);
  // Into the first stage; where all places are taken, the run in one of them goes behind, or back
  // to its arena.
  void PutFirst(Run& run);
  // Into the lists, or back to its arena.
  void GoBehind(Run& run);

  // The first stage: runs so small that it holds half the cache's bytes at most.
  std::array<Places, kFirst> first_{};
  prim::Lock lock_;               // taken with no other lock held, and none is taken under it
  std::atomic<size_t> bytes_{0};  // in the buckets
  std::array<Run*, kBuckets> buckets_ ABSL_GUARDED_BY(lock_){};
  Run* newest_ ABSL_GUARDED_BY(lock_) = nullptr;  // of the buckets; null: it has gone
};

extern prim::Replaceable<RunCache> run_cache;

}  // namespace hardened::core

#endif  // HARDENED_CORE_RUN_H_
