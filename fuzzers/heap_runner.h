// HeapRunner: runs heap programs on Heap<Policy> and checks everything that a program may rely on.
//
// The oracle: every block is aligned, overlaps no other, has the right usable size, reads as zero
// when asked for, and keeps what was written into it, its own pattern over all of its usable bytes,
// until it is freed and through realloc. errno stays. The counters agree with the blocks. After
// Finish() no slice of the heap is in use, at levels that hold no empty slabs and runs back.
//
// The heap is the process's; Finish() gives everything back, so that an input depends little on
// those before it. A failed check ends the process.
//
// Threads: the main thread alone calls; work for the helper thread is handed over.

#ifndef FUZZERS_HEAP_RUNNER_H_
#define FUZZERS_HEAP_RUNNER_H_

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "fuzzers/heap_program.h"
#include "fuzzers/helper_thread.h"
#include "hardened/core/empty_slabs.h"
#include "hardened/core/heap_registry.h"
#include "hardened/core/heap_state.h"
#include "hardened/core/run.h"
#include "hardened/core/thread_heap.h"
#include "hardened/entry_point.h"
#include "hardened/events.h"
#include "hardened/heap.h"
#include "hardened/prim/check.h"
#include "hardened/prim/system_info.h"
#include "hardened/zero_size.h"

namespace hardened::fuzzers {

// A policy without what happens once in thousands of allocations: it would depend on all inputs
// before, so no input would show it again. Levels that sample often keep it.
template <class Policy>
struct Reproducible {
  static constexpr Features kFeatures = [] {
    Features features = Policy::kFeatures;
    if (features.sample_interval > 1000) features.sample_interval = 0;
    return features;
  }();
};

struct Block {
  void* start = nullptr;
  size_t requested = 0;
  size_t usable = 0;  // bytes of pattern
  uint64_t seed = 0;
  core::AllocationKind kind = core::AllocationKind::kMalloc;
  bool live = false;
};

inline constexpr size_t kPatternPage = 4096;

// Calls visit(offset, length) for the parts of a block that carry its pattern: everything up to
// 64 KiB, of larger blocks both ends and some of each slice. Touching every page of large blocks
// would take most of the time.
template <class Visit>
void ForEachPatternRange(size_t bytes, Visit visit) {
  if (bytes <= core::kMaxSlotSize) return visit(0, bytes);
  visit(0, kPatternPage);
  for (size_t at = core::kSliceSize; at + 64 <= bytes; at += core::kSliceSize) visit(at, 64);
  visit(bytes - kPatternPage, kPatternPage);
}

// Whether `bytes` from `start` read as zero; beyond 1 MiB some of each page is looked at.
inline bool ReadsAsZero(const char* start, size_t bytes) {
  constexpr size_t kDense = 1 << 20;
  const size_t dense = std::min(bytes, kDense);
  if (dense > 0 && (start[0] != 0 || std::memcmp(start, start + 1, dense - 1) != 0)) return false;
  for (size_t at = dense; at + 64 <= bytes; at += kPatternPage) {
    if (std::memcmp(start, start + at, 64) != 0) return false;
  }
  return true;
}

// The pattern of a block is a piece of one random text, from a place that its seed names.
class Pattern {
 public:
  static void Fill(const Block& block) {
    ForEachPatternRange(block.usable,
                        [&](size_t offset, size_t length) { FillRange(block, offset, length); });
  }
  static void FillRange(const Block& block, size_t offset, size_t length) {
    std::memcpy(static_cast<char*>(block.start) + offset, At(block.seed, offset), length);
  }

  // Checks the first `kept` bytes of the pattern of `block` at `start`.
  static void Check(const Block& block, const void* start, size_t kept) {
    ForEachPatternRange(block.usable, [&](size_t offset, size_t length) {
      if (offset < kept) CheckRange(block, start, offset, std::min(length, kept - offset));
    });
  }
  static void CheckRange(const Block& block, const void* start, size_t offset, size_t length) {
    const bool content_is_kept =
        std::memcmp(static_cast<const char*>(start) + offset, At(block.seed, offset), length) == 0;
    HARDENED_CHECK(content_is_kept);
  }

 private:
  static constexpr size_t kPlaces = size_t{1} << 20;

  // The text repeats after kPlaces; ranges are at most one slot long. No byte of it is zero.
  static const char* At(uint64_t seed, size_t offset) {
    static const std::string& text = *new std::string([] {
      std::string bytes(kPlaces, '\0');
      uint64_t state = 1;
      for (char& byte : bytes) {
        state = state * 0x5851f42d4c957f2du + 1;
        byte = static_cast<char>(1 + (state >> 32) % 255);
      }
      return bytes + bytes.substr(0, core::kMaxSlotSize);
    }());
    return text.data() + (seed + offset) % kPlaces;
  }
};

template <class Policy>
class HeapRunner {
 public:
  using H = Heap<Policy>;

  // What a program may ask for at once, in all and in one operation; the rest is left out.
  static constexpr size_t kMaxLiveBytes = size_t{40} << 20;
  static constexpr size_t kMaxBytesInAll = size_t{80} << 20;
  static constexpr size_t kMaxBytesOfOperation = size_t{1} << 20;

  HeapRunner() : blocks_(kSlots) { steps_.reserve(1 << 16); }

  // Runs every operation. The blocks live on.
  void Run(std::span<const Operation> program) {
    counters_at_start_ = Counters();
    bytes_in_all_ = 0;
    for (const Operation& operation : program) Run(operation);
  }

  // Frees all blocks, ends the helper thread and gives all memory back.
  void Finish() {
    for (uint32_t slot = 0; slot < kSlots; ++slot) {
      if (blocks_[slot].live) Do(OperationKind::kFree, slot % 3 == 0 && helper_used_, slot, 1, 0);
    }
    CheckCounters();
    helper_.End();
    helper_used_ = false;
    ReleaseEverything();
    steps_.clear();
    dead_.clear();
  }

  std::span<const Block> blocks() const { return blocks_; }
  // Pointers that were freed, oldest first; some may be starts of live blocks again.
  std::span<void* const> dead() const { return dead_; }
  std::span<const Step> steps() const { return steps_; }

  // The live block that starts at `start`; null when none does.
  const Block* LiveAt(const void* start) const {
    const auto found = live_.find(reinterpret_cast<uintptr_t>(start));
    return found == live_.end() ? nullptr : &blocks_[found->second];
  }

 private:
  struct HeapCounters {
    uint64_t live_slots = 0;
    uint64_t live_runs = 0;
    uint64_t live_bytes = 0;
    friend bool operator==(const HeapCounters&, const HeapCounters&) = default;
  };

  static HeapCounters Counters() {
    if (!core::heap_state.started()) return {};
    const core::ThreadHeap::Tally tally = core::heap_registry.Total();
    return {
        .live_slots = tally.taken_slots - tally.remote_sent_slots + zero_size_slots.live(),
        .live_runs = tally.live_runs,
        .live_bytes = tally.taken_bytes - tally.remote_sent_bytes + tally.live_run_bytes,
    };
  }

  void Run(const Operation& operation) {
    switch (operation.kind) {
      case OperationKind::kEndHelper:
        Note(operation.kind, false, 0, 1, 0);
        helper_.End();
        helper_used_ = false;
        return;
      case OperationKind::kTrim:
        Note(operation.kind, false, 0, 1, 0);
        Trim();
        return;
      case OperationKind::kCheckCounters:
        Note(operation.kind, false, 0, 1, 0);
        CheckCounters();
        return;
      default:
        break;
    }
    const auto all = [&] {
      const size_t most = kMaxBytesOfOperation / std::max<size_t>(operation.bytes, 1) + 1;
      for (uint32_t i = 0; i < operation.count && i < most; ++i) {
        DoHere(operation.kind, operation.on_helper, (operation.slot + i) % kSlots,
               operation.alignment, operation.bytes);
      }
    };
    OnThread(operation.on_helper, all);
  }

  template <class Task>
  void OnThread(bool on_helper, Task task) {
    if (!on_helper) return task();
    helper_used_ = true;
    helper_.Run(task);
  }

  void Do(OperationKind kind, bool on_helper, uint32_t slot, size_t alignment, size_t bytes) {
    OnThread(on_helper, [&] { DoHere(kind, on_helper, slot, alignment, bytes); });
  }

  void Note(OperationKind kind, bool on_helper, uint32_t slot, size_t alignment, size_t bytes) {
    steps_.push_back({kind, on_helper, slot, alignment, bytes});
  }

  // One step, by the calling thread.
  void DoHere(OperationKind kind, bool on_helper, uint32_t slot, size_t alignment, size_t bytes) {
    const bool live = blocks_[slot].live;
    const bool allocates =
        kind == OperationKind::kAllocate || kind == OperationKind::kAllocateNew ||
        kind == OperationKind::kAllocateZeroed || kind == OperationKind::kAllocateAligned;
    if (!allocates && !live) return;
    const bool impossible = bytes > size_t{1} << 47;
    if ((allocates || kind == OperationKind::kReallocate) && !impossible &&
        (live_bytes_ + bytes + alignment > kMaxLiveBytes || bytes_in_all_ > kMaxBytesInAll)) {
      return;
    }
    if (allocates && live) DoHere(OperationKind::kFree, on_helper, slot, 1, 0);
    const bool is_new = live && blocks_[slot].kind == core::AllocationKind::kNew;
    if (kind == OperationKind::kReallocate && is_new) kind = OperationKind::kInspect;
    // realloc to 0 is a free, the entry points' business.
    if (kind == OperationKind::kReallocate && bytes == 0) kind = OperationKind::kFree;
    Note(kind, on_helper, slot, alignment, bytes);
    constexpr int kErrnoBefore = 4242;
    errno = kErrnoBefore;
    if (allocates) {
      Allocate(kind, slot, alignment, bytes);
    } else if (kind == OperationKind::kReallocate) {
      Reallocate(slot, bytes);
    } else if (kind == OperationKind::kFree) {
      Free(slot);
    } else {
      Inspect(slot);
    }
    HARDENED_CHECK(errno == kErrnoBefore);
  }

  void Allocate(OperationKind kind, uint32_t slot, size_t alignment, size_t bytes) {
    Block& block = blocks_[slot];
    block.kind = kind == OperationKind::kAllocateNew       ? core::AllocationKind::kNew
                 : kind == OperationKind::kAllocateAligned ? core::AllocationKind::kAligned
                                                           : core::AllocationKind::kMalloc;
    void* start = nullptr;
    if (kind == OperationKind::kAllocateZeroed) {
      start = H::AllocateZeroed(bytes);
    } else if (kind == OperationKind::kAllocateAligned) {
      start = H::AllocateAligned(alignment, bytes, block.kind);
    } else {
      start = H::Allocate(bytes, block.kind);
    }
    if (bytes > size_t{1} << 47) {
      HARDENED_CHECK(start == nullptr);
      return;
    }
    HARDENED_CHECK(start != nullptr);
    const uintptr_t mask = std::max(alignment, core::kSlotAlignment) - 1;
    const bool is_aligned = (reinterpret_cast<uintptr_t>(start) & mask) == 0;
    HARDENED_CHECK(is_aligned);
    if (kind == OperationKind::kAllocateZeroed) {
      HARDENED_CHECK(ReadsAsZero(static_cast<const char*>(start), bytes));
    }
    Enter(slot, start, bytes);
    const size_t most = bytes <= core::kMaxSlotSize ? bytes + std::max<size_t>(16, bytes / 8)
                                                    : bytes + prim::PageSize();
    if (alignment <= core::kSlotAlignment) HARDENED_CHECK(block.usable <= most);
    Pattern::Fill(block);
  }

  void Reallocate(uint32_t slot, size_t bytes) {
    Block& block = blocks_[slot];
    Pattern::Check(block, block.start, block.usable);
    // The page before the new end, too: a shrink must not take it.
    const size_t kept = std::min(block.usable, bytes);
    const size_t kept_page = std::min(kept, kPatternPage);
    Pattern::FillRange(block, kept - kept_page, kept_page);
    void* start = H::Reallocate(block.start, bytes, EntryPoint::kRealloc);
    if (bytes > size_t{1} << 47) {
      HARDENED_CHECK(start == nullptr);
      Pattern::Check(block, block.start, block.usable);
      return;
    }
    HARDENED_CHECK(start != nullptr);
    const bool is_aligned = reinterpret_cast<uintptr_t>(start) % core::kSlotAlignment == 0;
    HARDENED_CHECK(is_aligned);
    Pattern::Check(block, start, kept);
    Pattern::CheckRange(block, start, kept - kept_page, kept_page);
    block.kind = core::AllocationKind::kMalloc;  // whatever it was before
    void* const old = block.start;
    Leave(slot);
    if (start != old) dead_.push_back(old);
    Enter(slot, start, bytes);
    Pattern::Fill(block);
  }

  void Free(uint32_t slot) {
    Block& block = blocks_[slot];
    Pattern::Check(block, block.start, block.usable);
    Leave(slot);
    dead_.push_back(block.start);
    FreeOrFreeSized(block, /*sized=*/slot % 2 != 0);
  }

  // Ends the life of a block by the call that fits it.
  static void FreeOrFreeSized(const Block& block, bool sized) {
    EntryPoint entry_point = EntryPoint::kFree;
    if (block.kind == core::AllocationKind::kNew) {
      entry_point = EntryPoint::kDelete;
    } else if (sized) {
      entry_point = block.kind == core::AllocationKind::kMalloc ? EntryPoint::kFreeSized
                                                                : EntryPoint::kFreeAlignedSized;
    }
    sized ? H::FreeSized(block.start, block.requested, entry_point)
          : H::Free(block.start, entry_point);
  }

  void Inspect(uint32_t slot) {
    const Block& block = blocks_[slot];
    HARDENED_CHECK(H::UsableSize(block.start) == block.usable);
    Pattern::Check(block, block.start, block.usable);
  }

  // The block of `slot` lives at `start` from here on.
  void Enter(uint32_t slot, void* start, size_t bytes) {
    Block& block = blocks_[slot];
    block.start = start;
    block.requested = bytes;
    block.usable = H::UsableSize(start);
    if constexpr (Policy::kFeatures.exact_size) {
      HARDENED_CHECK(block.usable == block.requested);
    } else {
      HARDENED_CHECK(block.usable >= block.requested);
    }
    block.seed = ++seeds_ * 0xbf58476d1ce4e5b9u;
    block.live = true;
    live_bytes_ += block.usable;
    bytes_in_all_ += block.usable;
    const uintptr_t address = reinterpret_cast<uintptr_t>(start);
    const auto [entry, is_new] = live_.emplace(address, slot);
    HARDENED_CHECK(is_new);
    if (entry != live_.begin()) {
      const Block& before = blocks_[std::prev(entry)->second];
      const bool overlaps_block_before =
          reinterpret_cast<uintptr_t>(before.start) + before.usable > address;
      HARDENED_CHECK(!overlaps_block_before);
    }
    if (std::next(entry) != live_.end()) {
      const bool overlaps_block_behind = address + block.usable > std::next(entry)->first;
      HARDENED_CHECK(!overlaps_block_behind);
    }
  }

  void Leave(uint32_t slot) {
    Block& block = blocks_[slot];
    live_.erase(reinterpret_cast<uintptr_t>(block.start));
    live_bytes_ -= block.usable;
    block.live = false;
  }

  // As malloc_trim() in shim/statistics.cc.
  static void Trim() {
    if (!core::heap_state.started()) return;
    const uint64_t now = prim::CoarseMilliseconds();
    core::run_cache->Purge(now, 0);
    if (core::HasHeap()) {
      static_cast<core::ThreadHeap*>(core::current_heap)->ReleaseEverything(/*keep_one=*/false);
    }
    core::heap_registry.ReclaimAll();
    core::heap_state.Purge(now, /*force=*/true);
    core::empty_slabs->Purge(now, /*force=*/true, core::heap_constants->options.purge);
  }

  void CheckCounters() {
    const HeapCounters counters = Counters();
    const uint64_t live_at_start = counters_at_start_.live_slots + counters_at_start_.live_runs;
    HARDENED_CHECK(counters.live_slots + counters.live_runs == live_at_start + live_.size());
    const uint64_t live_bytes = counters.live_bytes - counters_at_start_.live_bytes;
    HARDENED_CHECK(live_bytes >= live_bytes_);
    if (live_.empty()) HARDENED_CHECK(counters == counters_at_start_);
    if (!core::heap_state.started()) return;
    core::heap_state.FindArena(core::heap_constants->cage_base)->ValidateForTest();
  }

  // Gives back what the main thread and heaps without a thread hold. What they send each other in
  // doing so arrives a round later.
  static void ReleaseEverything() {
    if (!core::heap_state.started()) return;
    for (int round = 0; round < 3; ++round) Trim();
    const core::ArenaCounters arena = core::heap_state.Counters();
    // Isolated slabs wait for their class for ever, and held runs for their turn.
    constexpr const core::CoreOptions& kOptions = Policy::kFeatures.core;
    if (!kOptions.isolate_classes && kOptions.run_hold_bytes == 0) {
      HARDENED_CHECK(arena.used_bytes == 0);
    }
    HARDENED_CHECK(arena.dirty_bytes == 0);
    HARDENED_CHECK((EventCount(Event::kMismatch) + EventCount(Event::kSizedDelete)) == 0);
  }

  std::vector<Block> blocks_;
  std::map<uintptr_t, uint32_t> live_;  // start -> slot
  size_t live_bytes_ = 0;
  size_t bytes_in_all_ = 0;
  uint64_t seeds_ = 0;
  std::vector<void*> dead_;
  std::vector<Step> steps_;
  HeapCounters counters_at_start_;
  HelperThread helper_;
  bool helper_used_ = false;
};

}  // namespace hardened::fuzzers

#endif  // FUZZERS_HEAP_RUNNER_H_
