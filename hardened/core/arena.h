// Arena: a source of segments, and the owner of all state of their slices.
//
// An arena has two places in the address space, at unrelated random addresses. The first is the
// heap itself: slices of 64 KiB. The second is metadata, out of core dumps:
//
//   page | [pages apart | page] | bits of slices | spans | slice descriptors | block store | page
//
// Nothing is mapped there but what is in use: the kernel, RLIMIT_AS and emulators see no more than
// that, and a limit that is set later holds. Where addresses cannot be chosen (some sanitizers,
// small address spaces) both places are reserved instead.
//
// The descriptors are readable over their whole length from the start (untouched they are the
// kernel's zero page), so the free walk may look up any address of the heap.
//
// The arena grows in whole segments, which settles what their slices are for; the memory of a slice
// is committed when it is handed out, and a little ahead (7 to 15 slices): what was never handed
// out cannot be accessed.
//
// The slices of an arena are partitioned into spans, free or used. Free neighbours of one purpose
// are always merged; the purpose is settled when the arena grows. A set dirty bit is a slice that
// is free and may hold old contents; a free slice without it reads as zero. Dirty slices go back to
// the OS when they exceed a limit or have been dirty for a while; a pass is bounded. Where memory
// is rationed free slices are uncommitted instead: only that takes them off the account.
//
// Threads: lock() guards everything but the descriptors (slice.h).

#ifndef HARDENED_CORE_ARENA_H_
#define HARDENED_CORE_ARENA_H_

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/base/thread_annotations.h"
#include "hardened/core/block_store.h"
#include "hardened/core/geometry.h"
#include "hardened/core/reuse_allowance.h"
#include "hardened/core/slice.h"
#include "hardened/core/span_index.h"
#include "hardened/prim/lock.h"
#include "hardened/prim/page_source.h"
#include "hardened/prim/random_stream.h"
#include "hardened/prim/system_info.h"

namespace hardened::core {

// When free memory goes back to the OS.
struct PurgePolicy {
  size_t dirty_limit_bytes = 8 << 20;  // more dirty free memory than this is purged at once
  // Besides what was freed in spans of more than 1 MiB: this, or a share of what is in use.
  size_t large_limit_bytes = 32 << 20;
  // Besides, as far as the program takes memory again that was purged (ReuseAllowance): this, or
  // half of what is in use.
  size_t reuse_limit_bytes = 32 << 20;
  uint64_t delay_ms = 250;       // dirty for longer than this: purged at the next chance
  uint32_t calls_per_pass = 64;  // bound of one pass
};

struct ArenaCounters {
  size_t grown_bytes = 0;      // heap segments
  size_t committed_bytes = 0;  // of these
  size_t used_bytes = 0;       // in used spans
  size_t dirty_bytes = 0;      // free, not yet purged
  size_t metadata_bytes = 0;   // committed metadata
};

// Pages in the place of an arena's metadata, between two pages without access.
struct ApartPages {
  size_t bytes = 0;
  void* start = nullptr;
};

class Arena {
 public:
  constexpr Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Finds places for `heap_bytes` (a multiple of the segment size) and the metadata for it.
  // Returns: false when the address space does not allow it; the arena is then unusable.
  // `block_bytes_per_slice` is how much room for blocks of metadata comes with each slice.
  bool Create(prim::PageSource& pages, size_t heap_bytes, size_t block_bytes_per_slice,
              prim::RandomStream& random, std::span<Arena* const> others = {},
              std::span<ApartPages> apart = {}) {
    return Create(pages, heap_bytes, block_bytes_per_slice, random, RandomHint(random), others,
                  apart);
  }
  // The same with the heap at `hint`, where that is free. The places of `others` are not, whatever
  // is mapped there. Commits `apart` besides.
  bool Create(prim::PageSource& pages, size_t heap_bytes, size_t block_bytes_per_slice,
              prim::RandomStream& random, uintptr_t hint, std::span<Arena* const> others = {},
              std::span<ApartPages> apart = {}) ABSL_LOCKS_EXCLUDED(lock_);
  // Commits the whole heap as one free span, so that no later request sees the arena grow.
  // Requires: nothing was allocated. Returns: false when the kernel refuses.
  bool CommitAll() ABSL_LOCKS_EXCLUDED(lock_);
  // Undoes Create(). Requires: nothing was allocated.
  void Destroy();

  // Takes a span of `slices`. The address of slice `lead` of the span is aligned to `alignment`
  // slices, a power of two.
  // Returns: its first slice; kNoSpan when there is no room for it; kRefusedSpan when the kernel
  // refuses the memory. *zero tells whether all of it reads as zero.
  uint32_t AllocateSpan(uint32_t slices, uint32_t alignment, uint32_t lead, bool* zero,
                        SpanPurpose purpose = SpanPurpose::kSlabs) ABSL_LOCKS_EXCLUDED(lock_);
  // Gives the used span back. `dirty`: it may hold contents. `now_ms` is a coarse clock.
  void FreeSpan(uint32_t first, bool dirty, uint64_t now_ms) ABSL_LOCKS_EXCLUDED(lock_);
  // Lengthens the used span at `first` to `slices` if what follows it is free.
  bool ExtendSpan(uint32_t first, uint32_t slices, bool* zero) ABSL_LOCKS_EXCLUDED(lock_);
  // Shortens the used span at `first`, giving its end back.
  void TrimSpan(uint32_t first, uint32_t slices, bool dirty, uint64_t now_ms)
      ABSL_LOCKS_EXCLUDED(lock_);
  // The first used span at or behind `slice`, where a span must start; for walks over what is in
  // use. Returns: its first slice, or kNoSpan; *behind is where the span after it starts.
  uint32_t NextUsedSpan(uint32_t slice, uint32_t* behind) ABSL_LOCKS_EXCLUDED(lock_);
  // The used span that contains `slice`, by walking the partition: for reports only.
  // Returns: its first slice, or kNoSpan.
  uint32_t FindUsedSpan(uint32_t slice) const ABSL_NO_THREAD_SAFETY_ANALYSIS;

  // A zeroed block of metadata, 64-byte aligned. Null when there is none left.
  void* AllocateMetadata(size_t bytes) ABSL_LOCKS_EXCLUDED(lock_) {
    if (abandoned()) return nullptr;
    const prim::LockGuard guard(lock_);
    return blocks_.Allocate(bytes);
  }
  // Gives a block back; the same size must be given.
  void FreeMetadata(void* block, size_t bytes) ABSL_LOCKS_EXCLUDED(lock_) {
    if (abandoned()) return;
    const prim::LockGuard guard(lock_);
    blocks_.Free(block, bytes);
  }

  // Gives the memory of slices in a used span back: they read as zero. Until MakeUsable() they may
  // not be accessed. Returns: false when the kernel refuses.
  bool DropUsed(uint32_t first, uint32_t slices) ABSL_LOCKS_EXCLUDED(lock_);
  // Returns: false when the kernel refuses the memory.
  bool MakeUsable(uint32_t first, uint32_t slices) ABSL_LOCKS_EXCLUDED(lock_);

  // Purges what has been dirty for too long (`force`: everything). Bounded unless forced.
  // Returns: bytes given back.
  size_t Purge(uint64_t now_ms, bool force) ABSL_LOCKS_EXCLUDED(lock_);

  // Drops all dirty memory and files the free spans in the order of their addresses: which spans
  // the next requests get, and what these hold, then depends only on the spans in use.
  void Normalise() ABSL_LOCKS_EXCLUDED(lock_);

  // The home of some thread heaps: no other heap takes spans here.
  void set_home() { home_ = true; }
  bool home() const { return home_; }

  // What lock() guards was being changed when this process was forked, by a thread that is not in
  // it. Nothing is allocated here or given back any more; what is in use stays good.
  void Abandon() { abandoned_.store(true, std::memory_order_relaxed); }
  bool abandoned() const { return abandoned_.load(std::memory_order_relaxed); }

  void set_purge_policy(const PurgePolicy& policy) { purge_policy_ = policy; }

  bool OwnsMetadata(const void* block) const {
    return reinterpret_cast<uintptr_t>(block) - metadata_ < metadata_bytes_;
  }
  bool Contains(uintptr_t address) const { return address - base_ < heap_bytes_; }
  uintptr_t base() const { return base_; }
  size_t heap_bytes() const { return heap_bytes_; }
  SliceDescriptor* slices() const { return slices_; }
  SliceDescriptor& SliceAt(uintptr_t address) const {
    return slices_[(address - base_) >> kSliceShift];
  }
  uint32_t SliceIndex(uintptr_t address) const {
    return static_cast<uint32_t>((address - base_) >> kSliceShift);
  }
  uintptr_t AddressOf(uint32_t slice) const { return base_ + (uintptr_t{slice} << kSliceShift); }
  // Slices that may be in use are below this.
  uint32_t grown_slices() const { return grown_slices_.load(std::memory_order_acquire); }
  // Slices of used spans that have no memory: more of them, or fewer.
  void NoteEmpty(int64_t slices) {
    empty_slices_.fetch_add(static_cast<uint32_t>(slices), std::memory_order_relaxed);
  }
  // Slices in use that may have memory, about.
  uint32_t UsedSlices() const {
    const uint32_t used = used_slices_.load(std::memory_order_relaxed);
    return used - std::min(used, empty_slices_.load(std::memory_order_relaxed));
  }
  // Slices of free memory that may stay beyond the limits because they would be taken again.
  size_t MostReuse() const {
    return pages_->rationed()
               ? 0
               : std::max(size_t{UsedSlices()} / 2, purge_policy_.reuse_limit_bytes >> kSliceShift);
  }
  prim::PageSource& pages() const { return *pages_; }
  prim::Lock& lock() ABSL_LOCK_RETURNED(lock_) { return lock_; }
  ArenaCounters Counters() ABSL_LOCKS_EXCLUDED(lock_);

  // Walks the whole partition and checks it: lengths add up, no two free neighbours, every free
  // span is in its list, dirty bits only in free spans. Aborts on the first fault.
  void ValidateForTest() ABSL_LOCKS_EXCLUDED(lock_);

 private:
  struct Room {
    uintptr_t start;
    prim::PageState state;
  };
  static uintptr_t RandomHint(prim::RandomStream& random);
  // At `hint` or another random place, in no place of this arena and `others`, where claim(room)
  // succeeds, which maps something there. start is 0 when there is none.
  template <class Claim>
  Room FindRoom(size_t bytes, size_t alignment, prim::RandomStream& random, uintptr_t hint,
                std::span<Arena* const> others, Claim claim) const;
  bool CreateMetadata(size_t slice_count, size_t block_bytes_per_slice, prim::RandomStream& random,
                      std::span<Arena* const> others, std::span<ApartPages> apart)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // Whether the range overlaps one of the arena's places.
  bool Occupies(uintptr_t start, size_t bytes) const {
    const auto overlaps = [=](uintptr_t place, size_t length) {
      return start < place + length && place < start + bytes;
    };
    return overlaps(base_, heap_bytes_) || overlaps(metadata_, metadata_bytes_);
  }
  void ReleaseRooms(std::span<const ApartPages> apart = {}) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void ReleaseCommitted() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  enum class Growth : uint8_t { kGrown, kNoRoom, kRefused };
  Growth Grow(uint32_t slices, SpanPurpose purpose) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // Commits what is not committed of the slices, and a little behind, but not from `limit` on.
  prim::Commitment Commit(uint32_t first, uint32_t slices, uint32_t limit)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void NoteCommitted(uint32_t first, uint32_t slices) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // Returns: bytes uncommitted.
  size_t Uncommit(uint32_t first, uint32_t slices) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // Unless too little is committed for limits to matter.
  void LookAtLimits() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // Of free spans, where memory is rationed.
  size_t UncommitFree() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // Of slices that are handed out: their memory is used again, or made anew. `committed` of them
  // were committed before. Returns: whether all of them read as zero.
  bool TakeDirty(uint32_t first, uint32_t slices, uint32_t committed)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  uint32_t CommittedOf(uint32_t first, uint32_t slices) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // Gives memory back when too much of it is dirty.
  void KeepDirtyLimit() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // Merges the free span with its free neighbours and files it.
  void InsertFree(uint32_t first, uint32_t length, SpanPurpose purpose)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // Returns: by how many the number of dirty slices changed.
  int32_t SetDirty(uint32_t first, uint32_t length, bool dirty)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void Release(uint32_t first, uint32_t length, bool dirty, uint64_t now_ms)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  size_t PurgeLocked(size_t keep_slices, uint32_t calls) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  uintptr_t base_ = 0;
  size_t heap_bytes_ = 0;
  prim::PageState before_ = prim::PageState::kUnmapped;  // of the heap's slices
  uintptr_t metadata_ = 0;
  size_t metadata_bytes_ = 0;
  SliceDescriptor* slices_ = nullptr;
  prim::PageSource* pages_ = nullptr;
  PurgePolicy purge_policy_;
  bool home_ = false;
  std::atomic<bool> abandoned_{false};

  alignas(prim::kNoSharing) prim::Lock lock_;
  std::atomic<uint32_t> grown_slices_{0};  // written under lock_
  uint32_t committed_slices_ ABSL_GUARDED_BY(lock_) = 0;
  uint32_t absent_slices_ ABSL_GUARDED_BY(lock_) = 0;  // in used spans, not committed
  uint32_t kept_slices_ ABSL_GUARDED_BY(lock_) = 0;    // idle after the last UncommitFree()
  // Committed and free.
  uint32_t IdleSlices() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    return committed_slices_ + absent_slices_ - used_slices_;
  }
  std::atomic<uint32_t> used_slices_{0};   // written under lock_
  std::atomic<uint32_t> empty_slices_{0};  // of these
  uint32_t dirty_slices_ ABSL_GUARDED_BY(lock_) = 0;
  uint32_t large_dirty_slices_ ABSL_GUARDED_BY(lock_) = 0;  // of these, from large spans, at most
  uint32_t purge_cursor_ ABSL_GUARDED_BY(lock_) = 0;
  uint64_t dirty_since_ms_ ABSL_GUARDED_BY(lock_) = 0;
  ReuseAllowance reuse_ ABSL_GUARDED_BY(lock_);  // in slices
  Span* spans_ ABSL_GUARDED_BY(lock_) = nullptr;
  // Bits of slices.
  uint64_t* dirty_ ABSL_GUARDED_BY(lock_) = nullptr;
  uint64_t* committed_ ABSL_GUARDED_BY(lock_) = nullptr;
  CommittedRange bits_range_ ABSL_GUARDED_BY(lock_);
  CommittedRange span_range_ ABSL_GUARDED_BY(lock_);
  CommittedRange slice_range_ ABSL_GUARDED_BY(lock_);
  BlockStore blocks_ ABSL_GUARDED_BY(lock_);
  SpanIndex& IndexOf(SpanPurpose purpose) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    return indexes_[static_cast<size_t>(purpose)];
  }
  std::array<SpanIndex, kSpanPurposes> indexes_ ABSL_GUARDED_BY(lock_);
};

}  // namespace hardened::core

#endif  // HARDENED_CORE_ARENA_H_
