// The state of the heap of this process: what is fixed at first use, the arenas, and where an
// address is looked up.
//
// Start() runs once, before the first allocation. It seals the constants: base and size of the
// first cage, keys, and the numbers that the level gives to core. More cages follow when the first
// is full; they are found through the segment map.
//
// Threads: any, unless stated.

#ifndef HARDENED_CORE_HEAP_STATE_H_
#define HARDENED_CORE_HEAP_STATE_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/base/thread_annotations.h"
#include "hardened/core/arena.h"
#include "hardened/core/link.h"
#include "hardened/core/segment_map.h"
#include "hardened/core/slab.h"
#include "hardened/core/slice.h"
#include "hardened/prim/lock.h"
#include "hardened/prim/sealed.h"
#include "hardened/prim/stream_store.h"

namespace hardened::core {

// Sockets: what a level does with free slots besides what core does. Slow side only; null: nothing.
struct HeapPlug {
  // A thread takes `heap` over. Returns: false when there is no memory for it.
  bool (*prepare)(ThreadHeap& heap) = nullptr;
  // Slots that other threads freed have come back (ThreadHeap::Receive). Core then forgets them.
  void (*keep)(ThreadHeap& heap, std::span<const uintptr_t> slots) = nullptr;
  // Fills the empty magazine of a class from what is held. Returns: false when there is nothing.
  bool (*refill)(ThreadHeap& heap, SizeClass size_class) = nullptr;
  // A turn of housekeeping.
  void (*groom)(ThreadHeap& heap) = nullptr;
  // A slot that another thread freed goes back to its slab at once; its record is still
  // kPendingRecord, its link is cleared. Returns: false when it is damaged; core then forgets it.
  bool (*settle)(MagazineEntry slot, SizeClass size_class) = nullptr;
  // Everything held goes back to its slab.
  void (*drain)(ThreadHeap& heap) = nullptr;
  // A run with a trace goes back to its arena.
  void (*forget_trace)(void* trace) = nullptr;
  // Adds the slots and bytes that are held.
  void (*count_held)(const ThreadHeap& heap, uint64_t* slots, uint64_t* bytes) = nullptr;
};

// What a level tells core, as numbers.
struct CoreOptions {
  Placement placement = {};
  PurgePolicy purge = {};
  HeapPlug plug = {};
  // A slot's record takes 1 << record_shift bytes: 1, or 2 to leave 16 bits beside each record for
  // a plug.
  uint8_t record_shift = 1;
  // Freed slots that come back from other threads or leave a full magazine: straight into a
  // magazine again, or only through the bitmap of their slab.
  bool collect_into_magazine = true;
  // Runs get guards of random size in front, from the address space that their slices leave.
  bool random_run_guards = false;
  // Slices of address space that every run takes beyond what it needs, guarded, so that its place
  // in them is random (random_run_guards). None where address space or memory is counted, or guards
  // are refused.
  uint8_t run_gap_slices = 0;
  // Freed runs wait in the cache for others of their size, and do not pass a fork (RunCache).
  bool delay_runs = false;
  // The end of a run's data is placed against the guard behind it.
  bool end_aligned_runs = false;
  // Freed runs kept with guards and memory for re-use, for all threads, in bytes.
  size_t run_cache_bytes = 64 << 20;
  // Freed runs held as guarded address space, where any access faults, for all threads, in bytes.
  // The oldest go first. Then none is cached. Every held page is an entry in the page tables, which
  // fork() copies.
  size_t run_hold_bytes = 0;
  // Above a rate of frees only a random share of the runs is held (HoldBudget).
  bool hold_by_rate = false;
  // The slices of a slab never serve another class or a run.
  bool isolate_classes = false;
  // Every n-th new slab of a thread has a guard of one slice behind it; 0: none. Requires
  // isolate_classes.
  uint32_t guard_slab_interval = 0;
  // Random numbers come from `seed` instead of the system, and time passes with what is done, so
  // that a run can be repeated.
  uint64_t seed = 0;
  bool seeded = false;
};

// Fixed at first use, read-only afterwards.
struct HeapConstants {
  uintptr_t cage_base = 0;
  size_t cage_bytes = 0;
  SliceDescriptor* cage_slices = nullptr;
  LinkKeys link_keys;
  CoreOptions options;
  const char* level = "";
};

[[gnu::visibility("hidden")]] extern prim::Sealed<HeapConstants> heap_constants;

// What the child of a fork draws from a stream: other numbers than its parent, or the same ones.
enum class DrawsInChild : uint8_t { kOther, kSame };

// A span and where it came from.
struct ArenaSpan {
  Arena* arena = nullptr;
  uint32_t first = kNoSpan;
  bool zero = false;
};

class alignas(4096) HeapState {
 public:
  // Makes the first arena and seals the constants. `level` names the level in reports.
  // `before_first_use` (may be null) is called last; it may seed streams and fill secret_page().
  // Once in a process.
  // Returns: false when not even a small cage can be had; another call may try again.
  bool Start(const CoreOptions& options, const char* level, bool (*before_first_use)());
  // Where there is a before_first_use: a page in the metadata, between two without access.
  void* secret_page() const { return secret_page_; }
  bool started() const {
    // Pairs with the release store at the end of Start().
    return started_.load(std::memory_order_acquire);
  }

  // A span from the first arena that has one; reserves a further cage when none has room. See
  // Arena::AllocateSpan(). arena is null when memory is exhausted.
  ArenaSpan AllocateSpan(SpanPurpose purpose, uint32_t slices, uint32_t alignment = 1,
                         uint32_t lead = 0);

  // A further arena of `bytes` (a multiple of the segment size), committed as a whole, whose spans
  // only the thread heaps get that have it as their home; at `hint` where that is free.
  // Returns: null when there is no memory or address space for it.
  Arena* MakeHomeArena(size_t bytes, uintptr_t hint) ABSL_LOCKS_EXCLUDED(arenas_lock_);

  // Metadata from any arena, a further one if need be. Null when memory is exhausted; *source (may
  // be null) tells whose it is.
  void* AllocateMetadata(size_t bytes, Arena** source = nullptr);

  // The descriptor of the slice that holds `address`; null when it is not memory of this heap.
  SliceDescriptor* FindSlice(uintptr_t address) const {
    const uintptr_t offset = address - heap_constants->cage_base;
    if (offset < heap_constants->cage_bytes) {
      return &heap_constants->cage_slices[offset >> kSliceShift];
    }
    Arena* arena = FindArena(address);
    return arena == nullptr ? nullptr : &arena->SliceAt(address);
  }
  Arena* FindArena(uintptr_t address) const;

  // Arenas so far, for walks over the whole heap.
  uint32_t arena_count() const { return arena_count_.load(std::memory_order_acquire); }
  Arena& arena(uint32_t index) const { return *arenas_[index]; }

  // Gives back what has been dirty for too long.
  size_t Purge(uint64_t now_ms, bool force);

  ArenaCounters Counters();

  // Seeds a random stream from the process's entropy, or from CoreOptions::seed.
  void SeedStream(prim::RandomStream& random) ABSL_LOCKS_EXCLUDED(arenas_lock_);

  // Forks that this process goes back to, as far as they were noticed: what was chosen in an
  // earlier generation is known to another process.
  uint32_t generation() const { return generation_.load(std::memory_order_relaxed); }
  void NextGeneration() { generation_.fetch_add(1, std::memory_order_relaxed); }
  // A seeded stream, for ever. Null when memory is exhausted.
  prim::RandomStream* NewStream(DrawsInChild in_child) ABSL_LOCKS_EXCLUDED(arenas_lock_);

  // Around a fork (hardened/fork.h): every lock of this object and its arenas.
  void FreezeForFork() ABSL_NO_THREAD_SAFETY_ANALYSIS;
  void ThawAfterFork() ABSL_NO_THREAD_SAFETY_ANALYSIS;
  void MendInChild() ABSL_NO_THREAD_SAFETY_ANALYSIS;

 private:
  static constexpr uint32_t kMaxArenas = 256;

  std::span<Arena* const> Arenas() const {
    return {arenas_.data(), arena_count_.load(std::memory_order_relaxed)};
  }
  static void DrawKey(prim::RandomStream& random,
                      std::span<std::byte, prim::RandomStream::kKeyBytes> out);
  // Files `arena`, which is the spare one, and makes another.
  void AddSpareArena(Arena& arena, uint32_t count) ABSL_EXCLUSIVE_LOCKS_REQUIRED(arenas_lock_);
  void MakeSpareArena(Arena& source) ABSL_EXCLUSIVE_LOCKS_REQUIRED(arenas_lock_);
  bool MakeFirstArena(const CoreOptions& options, size_t secret_bytes)
      ABSL_LOCKS_EXCLUDED(arenas_lock_);
  // Adds an arena of at least `least_bytes`, unless there are more than `seen` already.
  // Returns: whether there is one to try that the caller has not seen.
  bool AddArena(size_t least_bytes, bool for_metadata, uint32_t seen)
      ABSL_LOCKS_EXCLUDED(arenas_lock_);
  bool CreateArena(Arena& arena, size_t bytes, size_t least_bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(arenas_lock_);

  std::atomic<bool> started_{false};
  Arena first_arena_;
  void* secret_page_ = nullptr;
  prim::Lock arenas_lock_;  // before any Arena::lock()
  prim::StreamStore stream_store_ ABSL_GUARDED_BY(arenas_lock_);
  // The process stream; null before the start.
  prim::RandomStream* random_ ABSL_GUARDED_BY(arenas_lock_) = nullptr;
  // For the child of a fork in a sandbox; zero otherwise.
  std::byte fork_key_[prim::RandomStream::kKeyBytes] ABSL_GUARDED_BY(arenas_lock_) = {};
  uint64_t streams_ ABSL_GUARDED_BY(arenas_lock_) = 0;
  std::atomic<uint32_t> generation_{0};
  std::atomic<uint32_t> arena_count_{0};
  std::array<Arena*, kMaxArenas> arenas_{};
  // The next arena's object. Made when the last arena was, while there was metadata for it.
  Arena* spare_arena_ ABSL_GUARDED_BY(arenas_lock_) = nullptr;
  SegmentMap segment_map_;
};

[[gnu::visibility("hidden")]] extern HeapState heap_state;

}  // namespace hardened::core

#endif  // HARDENED_CORE_HEAP_STATE_H_
