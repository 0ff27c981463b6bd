// Heap<Policy>: malloc and free for one level. The two walks, each in one function, and behind them
// the slow side: first use, refill, runs, remote frees, realloc.
//
// Nothing here sets errno to an error: callers see null and decide. errno is left as it was.
//
// Threads: all functions from any thread. Signals: not from a handler that interrupted one of them.

#ifndef HARDENED_HEAP_H_
#define HARDENED_HEAP_H_

#include <errno.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "hardened/bad_pointer.h"
#include "hardened/core/heap_state.h"
#include "hardened/core/run.h"
#include "hardened/core/thread_heap.h"
#include "hardened/features.h"

namespace hardened {

// An allocation as realloc and usable_size look at it: the one slice, record and size to trust.
struct LiveAllocation {
  core::SliceDescriptor* slice;
  core::SlotRecord* record;
  core::RecordValue value;
  uint32_t index;
  bool is_run;
};

template <class Policy>
  requires HardeningPolicy<Policy>
class Heap {
 public:
  static constexpr const Features& kFeatures = Policy::kFeatures;

  // Memory for `bytes`, at least 16-byte aligned. Null when memory is exhausted or the request is
  // beyond PTRDIFF_MAX.
  ABSL_ATTRIBUTE_ALWAYS_INLINE static void* Allocate(size_t bytes, core::AllocationKind kind) {
    if (ABSL_PREDICT_FALSE(bytes > core::kMaxSlotSize)) return AllocateSlow(bytes, kind, false);
    const core::SizeClass size_class = core::SizeClassOf(bytes);
    core::Magazine& magazine = core::current_heap->magazines[size_class];
    const core::MagazineEntry entry = *magazine.top;
    if (ABSL_PREDICT_FALSE(entry.slot == nullptr)) return AllocateSlow(bytes, kind, false);
    --magazine.top;
    ++magazine.allocations;
    entry.record->store(LiveValue(size_class, bytes, kind), std::memory_order_relaxed);
    return entry.slot;
  }

  // The same, reading as zero. Memory that is known to be zero is not touched.
  ABSL_ATTRIBUTE_ALWAYS_INLINE static void* AllocateZeroed(size_t bytes) {
    if (ABSL_PREDICT_FALSE(bytes > core::kMaxSlotSize)) {
      return AllocateSlow(bytes, core::AllocationKind::kMalloc, true);
    }
    const core::SizeClass size_class = core::SizeClassOf(bytes);
    core::Magazine& magazine = core::current_heap->magazines[size_class];
    const core::MagazineEntry entry = *magazine.top;
    if (ABSL_PREDICT_FALSE(entry.slot == nullptr)) {
      return AllocateSlow(bytes, core::AllocationKind::kMalloc, true);
    }
    --magazine.top;
    ++magazine.allocations;
    const bool zero = core::IsKnownZero(entry.record->load(std::memory_order_relaxed));
    entry.record->store(LiveValue(size_class, bytes, core::AllocationKind::kMalloc),
                        std::memory_order_relaxed);
    return zero ? entry.slot : __builtin_memset(entry.slot, 0, bytes);
  }

  // Ends the life of the allocation at `pointer`; null is allowed. A pointer that is not the start
  // of a live allocation is reported under the name of the entry point, `found_by`.
  ABSL_ATTRIBUTE_ALWAYS_INLINE static void Free(void* pointer, core::AllocationKind kind,
                                                const char* found_by) {
    const uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
    const uintptr_t offset = address - core::heap_constants->cage_base;
    if (ABSL_PREDICT_FALSE(offset >= core::heap_constants->cage_bytes)) {
      return FreeSlow(pointer, found_by);
    }
    core::SliceDescriptor& slice = core::heap_constants->cage_slices[offset >> core::kSliceShift];
    core::HeapFront* heap = core::current_heap;
    const uint32_t index = slice.IndexOf(address);
    // Not ours, or not the start of a slot.
    if (ABSL_PREDICT_FALSE(slice.owner.load(std::memory_order_relaxed) != heap ||
                           index >= slice.slot_count)) {
      return FreeSlow(pointer, found_by);
    }
    core::SlotRecord& record = slice.records[index];
    // Detects: a second free of a slot by anybody, a free of a slot never handed out.
    // Misses:  a second free after the slot was handed out again.
    // Cost:    one load and one comparison; the record is written anyway.
    if (ABSL_PREDICT_FALSE(!IsPlainlyLive(record.load(std::memory_order_relaxed), kind))) {
      return FreeSlow(pointer, found_by);
    }
    record.store(core::kFreedRecord, std::memory_order_relaxed);
    core::Magazine& magazine = heap->magazines[slice.size_class];
    if (ABSL_PREDICT_FALSE(magazine.top == magazine.limit)) {
      return FlushAndPush(magazine, {pointer, &record}, slice.size_class);
    }
    *++magazine.top = {pointer, &record};
  }

  // Memory for `bytes` aligned to `alignment`, a power of two.
  static void* AllocateAligned(size_t alignment, size_t bytes, core::AllocationKind kind) {
    if (alignment <= core::kSlotAlignment) return Allocate(bytes, kind);
    if (alignment <= kMaxSlotAlignedTo && bytes <= core::kMaxSlotSize) {
      // The slots of a class are aligned to every power of two that divides their size.
      size_t size = core::RoundUpTo(bytes == 0 ? 1 : bytes, alignment);
      while (size <= core::kMaxSlotSize) {
        const core::SizeClass size_class = core::SizeClassOf(size);
        if (core::SlotSize(size_class) % alignment == 0) {
          return AllocateSlot(size_class, bytes, kind, false);
        }
        size += alignment;
      }
    }
    return AllocateRunFor(bytes, alignment, kind, false);
  }

  // realloc, except for null `pointer` and zero `bytes`, which the callers handle. On failure null,
  // and the old allocation lives on.
  static void* Reallocate(void* pointer, size_t bytes, const char* found_by) {
    const int saved_errno = errno;
    const LiveAllocation live = Find(pointer, found_by);
    void* result = ResizeInPlace(pointer, live, bytes) ? pointer : nullptr;
    if (result == nullptr) result = MoveTo(pointer, live, bytes, found_by);
    errno = saved_errno;
    return result;
  }

  // Bytes that the program may use at `pointer`; 0 for null.
  static size_t UsableSize(void* pointer, const char* found_by) {
    if (pointer == nullptr) return 0;
    return SizeOf(Find(pointer, found_by));
  }

 private:
  // Greater alignments, and everything beyond a slot, become runs.
  static constexpr size_t kMaxSlotAlignedTo = 4096;

  static constexpr core::RecordValue LiveValue(core::SizeClass size_class, size_t bytes,
                                               core::AllocationKind kind) {
    if constexpr (kFeatures.exact_size) {
      return core::LiveRecord(kind, kSlotSizes[size_class] - bytes);
    }
    return core::LiveRecord(kind, 0);
  }

  static constexpr auto kSlotSizes = [] {
    std::array<uint32_t, core::kSizeClassCount> sizes{};
    for (unsigned c = 0; c < sizes.size(); ++c) {
      sizes[c] = static_cast<uint32_t>(core::SlotSize(static_cast<core::SizeClass>(c)));
    }
    return sizes;
  }();

  // True for records that the fast walk may free without a closer look.
  static bool IsPlainlyLive(core::RecordValue value, core::AllocationKind kind) {
    if constexpr (kFeatures.exact_size) {
      return (value & core::kKindMask) == static_cast<core::RecordValue>(kind);
    }
    return value == core::LiveRecord(kind, 0);
  }

  // ---- allocation, slow side

  ABSL_ATTRIBUTE_NOINLINE static void* AllocateSlow(size_t bytes, core::AllocationKind kind,
                                                    bool zeroed) {
    if (bytes > core::kMaxSlotSize) return AllocateRunFor(bytes, 1, kind, zeroed);
    return AllocateSlot(core::SizeClassOf(bytes), bytes, kind, zeroed);
  }

  ABSL_ATTRIBUTE_NOINLINE static void* AllocateSlot(core::SizeClass size_class, size_t bytes,
                                                    core::AllocationKind kind, bool zeroed) {
    core::Magazine* magazine = &core::current_heap->magazines[size_class];
    if (magazine->top == magazine->bottom) {
      const int saved_errno = errno;
      core::ThreadHeap* heap = StartedHeap();
      const bool filled = heap != nullptr && heap->Refill(size_class);
      errno = saved_errno;
      if (!filled) return nullptr;
      magazine = &heap->magazines[size_class];
    }
    const core::MagazineEntry entry = *magazine->top--;
    ++magazine->allocations;
    const bool clear =
        zeroed && !core::IsKnownZero(entry.record->load(std::memory_order_relaxed));
    entry.record->store(LiveValue(size_class, bytes, kind), std::memory_order_relaxed);
    return clear ? __builtin_memset(entry.slot, 0, bytes) : entry.slot;
  }

  ABSL_ATTRIBUTE_NOINLINE static void* AllocateRunFor(size_t bytes, size_t alignment,
                                                      core::AllocationKind kind, bool zeroed) {
    const int saved_errno = errno;
    core::ThreadHeap* heap = StartedHeap();
    bool zero = false;
    core::Run* run =
        heap == nullptr ? nullptr : core::AllocateRun(*heap, bytes, alignment, &zero);
    void* result = nullptr;
    if (run != nullptr) {
      result = reinterpret_cast<void*>(run->data);
      if (zeroed && !zero) core::ClearRun(*run, bytes);
      run->record.store(core::LiveRecord(kind, 0), std::memory_order_relaxed);
    }
    errno = saved_errno;
    return result;
  }

  static core::ThreadHeap* StartedHeap() {
    if (!core::heap_state.started() && !core::heap_state.Start(kFeatures.core, kFeatures.name)) {
      return nullptr;
    }
    return core::CurrentHeapOrNew();
  }

  // ---- free, slow side

  ABSL_ATTRIBUTE_NOINLINE static void FlushAndPush(core::Magazine& magazine,
                                                   core::MagazineEntry entry,
                                                   core::SizeClass size_class) {
    const int saved_errno = errno;
    static_cast<core::ThreadHeap*>(core::current_heap)->Flush(size_class);
    errno = saved_errno;
    *++magazine.top = entry;
  }

  // Every free that is not a plain one: null, other cages, runs, slots of other threads, and all
  // that is to be reported.
  ABSL_ATTRIBUTE_NOINLINE static void FreeSlow(void* pointer, const char* found_by) {
    if (pointer == nullptr) return;
    const int saved_errno = errno;
    Release(pointer, Find(pointer, found_by), found_by, PointerUse::kFree);
    errno = saved_errno;
  }

  // Ends the life of `live`, which was seen live.
  static void Release(void* pointer, const LiveAllocation& live, const char* found_by,
                      PointerUse use) {
    core::RecordValue expected = live.value;
    if (live.is_run) {
      // Detects: a double free of a run, from any two threads.
      // Misses:  one after the run's address was handed out again.
      // Cost:    one atomic operation, beside which a run's other costs vanish.
      if (!live.record->compare_exchange_strong(expected, core::kFreedRecord,
                                                std::memory_order_relaxed)) {
        ReportBadPointer(pointer, use, found_by);
      }
      core::FreeRun(*core::Run::OfRecord(live.record));
      return;
    }
    core::ThreadHeap* owner = live.slice->owner.load(std::memory_order_relaxed);
    if (owner == core::current_heap) {
      live.record->store(core::kFreedRecord, std::memory_order_relaxed);
      core::Magazine& magazine = owner->magazines[live.slice->size_class];
      if (magazine.top == magazine.limit) owner->Flush(live.slice->size_class);
      *++magazine.top = {pointer, live.record};
      return;
    }
    // Detects: a double free across threads, at the call, unless both race; then slot_record.h.
    // Misses:  one after the slot was handed out again.
    // Cost:    one atomic operation a remote free.
    if (!live.record->compare_exchange_strong(expected, core::kPendingRecord,
                                              std::memory_order_relaxed)) {
      ReportBadPointer(pointer, use, found_by);
    }
    core::ThreadHeap* sender = core::CurrentHeapOrNew();
    // Without memory for a heap the slot stays pending for ever: lost, but never handed out twice.
    if (sender != nullptr) sender->SendRemote(owner, pointer, live.slice->size_class);
  }

  // ---- looking at live allocations

  // The live allocation that starts at `pointer`; reports and aborts when there is none.
  static LiveAllocation Find(void* pointer, const char* found_by) {
    const uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
    core::SliceDescriptor* slice = core::heap_state.FindSlice(address);
    if (slice != nullptr && slice->use != core::SliceUse::kNone && !slice->released) {
      const uint32_t index = slice->IndexOf(address);
      if (index < slice->slot_count) {
        core::SlotRecord& record = slice->records[index];
        const core::RecordValue value = record.load(std::memory_order_relaxed);
        if (core::IsLive(value)) {
          return {slice, &record, value, index, slice->use == core::SliceUse::kRun};
        }
      }
    }
    ReportBadPointer(pointer, FreesMemory(found_by) ? PointerUse::kFree : PointerUse::kUse,
                     found_by);
  }

  // Entry points that end a life call a second use a double free, the others a stale pointer.
  static bool FreesMemory(const char* found_by) {
    return found_by[0] == 'f' || found_by[0] == 'o';  // free..., operator delete
  }

  static size_t SizeOf(const LiveAllocation& live) {
    if (live.is_run) {
      const core::Run& run = *core::Run::OfRecord(live.record);
      return kFeatures.exact_size ? run.requested : run.capacity();
    }
    return kSlotSizes[live.slice->size_class] - core::SlackOf(live.value);
  }

  // ---- realloc

  static bool ResizeInPlace(void* pointer, const LiveAllocation& live, size_t bytes) {
    if (live.is_run) {
      core::Run& run = *core::Run::OfRecord(live.record);
      // A run that shrinks below half of itself moves, so that address space is not wasted.
      if (bytes <= core::kMaxSlotSize || bytes < run.page_bytes / 2) return false;
      return core::ResizeRun(run, bytes);
    }
    const size_t slot_size = kSlotSizes[live.slice->size_class];
    if (bytes > slot_size || bytes < slot_size / 2) return false;
    if constexpr (kFeatures.exact_size) {
      if (slot_size - bytes > core::kMaxSlack) return false;
      const core::RecordValue resized =
          core::LiveRecord(core::KindOf(live.value), slot_size - bytes);
      core::RecordValue expected = live.value;
      if (live.slice->owner.load(std::memory_order_relaxed) == core::current_heap) {
        live.record->store(resized, std::memory_order_relaxed);
      } else if (!live.record->compare_exchange_strong(expected, resized,
                                                       std::memory_order_relaxed)) {
        ReportBadPointer(pointer, PointerUse::kUse, "realloc");
      }
    }
    return true;
  }

  ABSL_ATTRIBUTE_NOINLINE static void* MoveTo(void* pointer, const LiveAllocation& live,
                                              size_t bytes, const char* found_by) {
    const core::AllocationKind kind = core::AllocationKind::kMalloc;
    void* result = bytes <= core::kMaxSlotSize ? Allocate(bytes, kind)
                                               : AllocateRunFor(bytes, 1, kind, false);
    if (result == nullptr) return nullptr;
    const size_t old_size = SizeOf(live);
    const size_t copied = old_size < bytes ? old_size : bytes;
    bool moved = false;
    if (live.is_run && bytes > core::kMaxSlotSize) {
      core::SliceDescriptor* slice =
          core::heap_state.FindSlice(reinterpret_cast<uintptr_t>(result));
      moved = core::MoveRunContents(*core::Run::OfRecord(live.record),
                                    *core::Run::OfRecord(slice->records), copied);
    }
    if (!moved) __builtin_memcpy(result, pointer, copied);
    Release(pointer, live, found_by, PointerUse::kUse);
    return result;
  }
};

}  // namespace hardened

#endif  // HARDENED_HEAP_H_
