// Heap<Policy>: malloc and free for one level. The two walks, each in one function, and behind them
// the slow side: first use, refill, runs, remote frees, realloc.
//
// Nothing here sets errno to an error: callers see null and decide. errno is left as it was.
//
// Threads: all functions from any thread. Signals: not from a handler that interrupted one of them,
// but while the heap is being started (start_guard.h).

#ifndef HARDENED_HEAP_H_
#define HARDENED_HEAP_H_

#include <errno.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "hardened/bad_pointer.h"
#include "hardened/canary.h"
#include "hardened/core/heap_registry.h"
#include "hardened/core/heap_state.h"
#include "hardened/core/run.h"
#include "hardened/core/thread_heap.h"
#include "hardened/damage.h"
#include "hardened/entry_point.h"
#include "hardened/features.h"
#include "hardened/guarded_sample.h"
#include "hardened/heap_plugs.h"
#include "hardened/neighbours.h"
#include "hardened/prim/start_guard.h"
#include "hardened/replaced_operators.h"
#include "hardened/sweep.h"
#include "hardened/wipe.h"
#include "hardened/zero_size.h"

namespace hardened {

// An allocation that was found live: what realloc, usable_size and the slow side of free work on.
// Without a slice: there is none, which was reported, and the program goes on.
struct LiveAllocation {
  core::SliceDescriptor* slice;
  core::SlotRecord* record;
  core::LifeWord word;  // as it was found; without a life where there is none
  core::SliceUse use;

  core::RecordValue value() const { return core::RecordIn(word); }
  uint16_t life() const { return core::LifeIn(word); }
  bool found() const { return slice != nullptr; }
  bool is_run() const { return use == core::SliceUse::kRun; }
  bool is_zero_size() const { return use == core::SliceUse::kZeroSize; }

  core::Run& run() const { return *core::Run::OfRecord(record); }
};

// What an allocation does when there is no memory: what Otherwise() returns is its result. It is
// called by the slow side, so that nothing is left to do for a walk that has been there.
struct NullOtherwise {
  static void* Otherwise(size_t /*bytes*/, core::AllocationKind /*kind*/) { return nullptr; }
};

template <class Policy>
requires HardeningPolicy<Policy>
class Heap {
 public:
  static constexpr const Features& kFeatures = Policy::kFeatures;
  using Canary = std::conditional_t<kFeatures.canary, SlotCanary, NoCanary>;

  // Requests from kLeastSlotRequest on, so many of them, have a slot of their own class.
  static constexpr size_t kLeastSlotRequest = kFeatures.zero_size_faults ? 1 : 0;
  static constexpr size_t kSlotRequests =
      core::kMaxSlotSize - Canary::kRoom + 1 - kLeastSlotRequest;
  static constexpr bool IsSlotRequest(size_t bytes) {
    return bytes - kLeastSlotRequest < kSlotRequests;
  }

  // Memory for `bytes`, at least 16-byte aligned. Failure's result when memory is exhausted or the
  // request is beyond PTRDIFF_MAX.
  template <class Failure = NullOtherwise>
  ABSL_ATTRIBUTE_ALWAYS_INLINE static void* Allocate(size_t bytes, core::AllocationKind kind) {
    return AllocateFast<Failure, /*kZeroed=*/false>(bytes, kind);
  }

  // The same, reading as zero whatever the program wrote where it must not: what should be zero is
  // looked at or made so again.
  template <class Failure = NullOtherwise>
  ABSL_ATTRIBUTE_ALWAYS_INLINE static void* AllocateZeroed(size_t bytes) {
    return AllocateFast<Failure, /*kZeroed=*/true>(bytes, core::AllocationKind::kMalloc);
  }

  // Ends the life of the allocation at `pointer`; null is allowed. A pointer that is not the start
  // of a live allocation is reported.
  ABSL_ATTRIBUTE_ALWAYS_INLINE static void Free(void* pointer, EntryPoint entry_point) {
    FreeStated(pointer, kSizeNotStated, entry_point);
  }

  // The same, for a call that states the size; a wrong one is a mismatch.
  ABSL_ATTRIBUTE_ALWAYS_INLINE static void FreeSized(void* pointer, size_t bytes,
                                                     EntryPoint entry_point) {
    FreeStated(pointer, kFeatures.check_stated_size ? bytes : kSizeNotStated, entry_point);
  }

  // The walk of both. Requires: `stated` is kSizeNotStated by the time this is compiled, or a size.
  ABSL_ATTRIBUTE_ALWAYS_INLINE static void FreeStated(void* pointer, size_t stated,
                                                      EntryPoint entry_point) {
    const uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
    const uintptr_t offset = address - core::heap_constants->cage_base;
    if (ABSL_PREDICT_FALSE(offset >= core::heap_constants->cage_bytes)) {
      return FreeSlow(pointer, stated, entry_point);
    }
    core::SliceDescriptor& slice = core::heap_constants->cage_slices[offset >> core::kSliceShift];
    core::HeapFront* heap = core::current_heap;
    const uint32_t index = slice.IndexOf(address);
    const core::ThreadHeap* owner = slice.owner.load(std::memory_order_relaxed);
    // Not ours, or not the start of a slot.
    if (ABSL_PREDICT_FALSE(owner != heap || index >= slice.slot_count)) {
      // Only slabs in use have an owner.
      return owner != nullptr ? FreeElsewhere(pointer, stated, entry_point, slice, index)
                              : FreeSlow(pointer, stated, entry_point);
    }
    core::SlotRecord& record = slice.RecordAt(index, kRecordShift);
    const core::RecordValue value = record.load(std::memory_order_relaxed);
    // Detects: a second free of a slot by anybody, a free of a slot never handed out, a free by the
    //          wrong call.
    // Misses:  a second free after the slot was handed out again.
    // Cost:    one load and one comparison; the record is written anyway.
    if (ABSL_PREDICT_FALSE(!IsPlainlyLive(value, entry_point))) {
      return FreeSlow(pointer, stated, entry_point);
    }
    const core::SizeClass size_class = slice.size_class;
    const size_t size = core::kSlotSizes[size_class];
    if (stated != kSizeNotStated && ABSL_PREDICT_FALSE(size - core::SlackOf(value) != stated)) {
      return FreeSlow(pointer, stated, entry_point);
    }
    if constexpr (kFeatures.canary) {
      if (ABSL_PREDICT_FALSE(!CanaryIntact(address, size, value, record))) {
        return FreeSlow(pointer, stated, entry_point);
      }
    }
    if constexpr (kFeatures.check_neighbours) {
      if (ABSL_PREDICT_FALSE(!NeighboursLookIntact(slice, index, address, size))) {
        return FreeSlow(pointer, stated, entry_point);
      }
    }
    // Before the wipe: a free by another thread that sees wiped memory then also sees why.
    const bool wipe = IsWiped(size);
    record.store(wipe && !kFeatures.sweep ? core::kFreedZeroRecord : core::kFreedRecord,
                 std::memory_order_release);
    if (wipe) {
      if constexpr (kFeatures.sweep) std::atomic_thread_fence(std::memory_order_release);
      // Long wipes are a call, which the walk of the others need not prepare for.
      if (kFeatures.wipe_limit > kWipeInline && size > kWipeInline) {
        return WipeLongAndHold(pointer, record, size_class);
      }
      WipeInline(pointer, size);
      // Not earlier: a sweep would take what is not wiped yet for damage.
      if constexpr (kFeatures.sweep) {
        record.store(core::kFreedZeroRecord, std::memory_order_release);
      }
    }
    Hold(*heap, {pointer, &record}, size_class);
  }

  // Memory for `bytes` aligned to `alignment`, a power of two.
  static void* AllocateAligned(size_t alignment, size_t bytes, core::AllocationKind kind) {
    // Where nobody asks, free() need not tell the two apart.
    if (!kFeatures.exact_size && kind == core::AllocationKind::kAligned) {
      kind = core::AllocationKind::kMalloc;
    }
    if (alignment <= core::kSlotAlignment) return Allocate(bytes, kind);
    const core::SizeClass size_class = AlignedClass(alignment, bytes);
    return size_class < core::kSizeClassCount
               ? TakeSlot<NullOtherwise, Wiped::kAny>(size_class, bytes, kind, false, alignment)
               : AllocateRunFor(bytes, alignment, kind, false);
  }

  // Looks at an allocation before a call ends it that states an alignment; null is allowed.
  // Detects: an alignment other than was asked for.
  // Misses:  at most 16 stated for a slot that would lie in the same class; one time in 8, 32 and
  //          more for such a slot that was aligned to 16 at most.
  // Cost:    one look at the record, and the choice of the class.
  static void CheckStatedAlignment(void* pointer, size_t alignment, EntryPoint entry_point) {
    if constexpr (!kFeatures.check_stated_size) return;
    if (pointer == nullptr) return;
    const LiveAllocation live = Look(reinterpret_cast<uintptr_t>(pointer));
    if (!live.found() ||
        (FactsOf(entry_point).accepts & KindBit(core::KindOf(live.value()))) == 0) {
      return;  // the call itself will say so
    }
    if (alignment < core::kSlotAlignment) alignment = core::kSlotAlignment;
    if (live.is_run()) {
      const size_t asked = size_t{1} << live.run().alignment_shift;
      if (alignment == (asked < core::kSlotAlignment ? core::kSlotAlignment : asked)) return;
    } else if (live.is_zero_size()) {
      if (alignment == core::kSlotAlignment) return;
    } else {
      const bool told = !kFeatures.canary || alignment == core::kSlotAlignment ||
                        (live.life() & kLifeAlignment) == AlignmentCode(alignment);
      if (told && live.slice->size_class == AlignedClass(alignment, SizeOf(live))) return;
    }
    const int saved_errno = errno;
    ReportAlignmentMismatch(pointer, SizeOf(live), alignment, entry_point);
    errno = saved_errno;
  }

  // realloc, except for null `pointer` and zero `bytes`, which the callers handle. On failure null,
  // and the old allocation lives on. Null as well for a bad pointer that the policy lets pass.
  //
  // Slots of the calling thread do not go through Find() and Claim(): as in the free walk, a plain
  // load and a plain store are enough for their owner. Not where a sweep could see half a canary.
  static void* Reallocate(void* pointer, size_t bytes, EntryPoint entry_point) {
    if constexpr (kFeatures.sweep) return ReallocateSlow(pointer, bytes, entry_point);
    const uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
    const SlotInCage slot = FindSlotInCage(address);
    if (slot.record == nullptr || slot.owner != core::current_heap ||
        !IsPlainlyLive(slot.value, entry_point) ||
        !CanaryIntact(address, slot.size, slot.value, *slot.record)) {
      return ReallocateSlow(pointer, bytes, entry_point);
    }
    if (FitsSlot(slot.size, bytes)) {
      slot.record->store(ResizeSlot(address, slot.size, bytes, *slot.record),
                         std::memory_order_release);
      return pointer;
    }
    void* result = Allocate(bytes, core::AllocationKind::kMalloc);
    if (result == nullptr) return nullptr;
    const size_t old_bytes = slot.size - core::SlackOf(slot.value);
    __builtin_memcpy(result, pointer, old_bytes < bytes ? old_bytes : bytes);
    Free(pointer, entry_point);
    return result;
  }

  // Bytes that the program may use at `pointer`; 0 for null, and for a bad pointer that the policy
  // lets pass.
  static size_t UsableSize(void* pointer) {
    if (pointer == nullptr) return 0;
    const uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
    const SlotInCage slot = FindSlotInCage(address);
    if (ABSL_PREDICT_FALSE(slot.record == nullptr || !core::IsLive(slot.value) ||
                           !CanaryIntact(address, slot.size, slot.value, *slot.record))) {
      return UsableSizeSlow(pointer);
    }
    return slot.size - core::SlackOf(slot.value);
  }

 private:
  static constexpr unsigned kRecordShift = kFeatures.core.record_shift;
  // Greater alignments, and everything beyond a slot, become runs.
  static constexpr size_t kMaxSlotAlignedTo = 4096;
  static constexpr size_t kMaxSlotRequest = core::kMaxSlotSize - Canary::kRoom;

  static constexpr size_t kSizeNotStated = SIZE_MAX;

  static constexpr SlotCanary::Words kWords =
      kFeatures.check_neighbours ? SlotCanary::Words::kFirstAndLast : SlotCanary::Words::kFirst;

  // Whether slots of `size` are wiped when they are freed.
  static constexpr bool IsWiped(size_t size) {
    if constexpr (kFeatures.wipe_limit == 0 || kFeatures.wipe_limit >= core::kMaxSlotSize) {
      return kFeatures.wipe_limit != 0;
    }
    return size <= kFeatures.wipe_limit;
  }

  static constexpr core::RecordValue LiveValue(core::SizeClass size_class, size_t bytes,
                                               core::AllocationKind kind) {
    return core::LiveRecord(kind, kFeatures.exact_size ? core::kSlotSizes[size_class] - bytes : 0);
  }

  // True for records that the fast walk may free without a closer look.
  static constexpr bool IsPlainlyLive(core::RecordValue value, EntryPoint entry_point) {
    return IsPlainlyLive(value, FactsOf(entry_point).accepts);
  }
  static constexpr bool IsPlainlyLive(core::RecordValue value, uint8_t accepts) {
    // Without sizes there is one such value for most calls; kinds beyond the first look again.
    if constexpr (!kFeatures.exact_size) return value == std::countr_zero(accepts);
    // Kinds that follow one another are one comparison.
    const unsigned first = static_cast<unsigned>(std::countr_zero(accepts));
    const unsigned kinds = static_cast<unsigned>(std::popcount(accepts));
    const unsigned kind = value & core::kKindMask;
    if (accepts >> first == (1 << kinds) - 1) return kind - first < kinds;
    return (accepts >> kind & 1) != 0;
  }

  // What entry points accept, where they are not known by the time this is compiled.
  static constexpr auto kAccepts = [] {
    std::array<uint8_t, kEntryPointCount> accepts{};
    for (size_t i = 0; i < accepts.size(); ++i) {
      accepts[i] = FactsOf(static_cast<EntryPoint>(i)).accepts;
    }
    return accepts;
  }();

  // An aligned slot says in the last bits of its life how it is aligned: 0 for 32, 7 for 4096.
  static constexpr uint16_t kLifeAlignment = 7;
  static uint16_t AlignmentCode(size_t alignment) {
    return static_cast<uint16_t>(std::countr_zero(alignment) - 5) & kLifeAlignment;
  }
  static uint16_t WithAlignment(uint16_t life, size_t alignment) {
    return static_cast<uint16_t>((life & ~kLifeAlignment) | AlignmentCode(alignment));
  }

  // The class whose slots serve `bytes` so aligned; kSizeClassCount when a run has to.
  static core::SizeClass AlignedClass(size_t alignment, size_t bytes) {
    if (alignment > kMaxSlotAlignedTo || !IsSlotRequest(bytes)) return core::kSizeClassCount;
    // The slots of a class are aligned to every power of two that divides their size.
    size_t size = core::RoundUpTo(bytes + Canary::kRoom, alignment);
    for (; size <= core::kMaxSlotSize; size += alignment) {
      const core::SizeClass size_class = core::SizeClassOf(size);
      if ((core::kSlotSizes[size_class] & (alignment - 1)) == 0) return size_class;
    }
    return core::kSizeClassCount;
  }

  // ---- allocation

  // The walk of both.
  template <class Failure, bool kZeroed>
  ABSL_ATTRIBUTE_ALWAYS_INLINE static void* AllocateFast(size_t bytes, core::AllocationKind kind) {
    if (ABSL_PREDICT_FALSE(!IsSlotRequest(bytes))) {
      return AllocateSlow<Failure>(bytes, kind, kZeroed);
    }
    const size_t size_class = core::SizeClassOf(bytes + Canary::kRoom);
    // A look at a long slot is a call, which the walk of the others need not prepare for.
    if constexpr (kFeatures.wipe_limit > kWipeInline && (kFeatures.check_on_allocate || kZeroed)) {
      if (size_class > core::SizeClassOf(kWipeInline)) {
        return AllocateLong<Failure, kZeroed>(size_class, bytes, kind);
      }
    }
    return TakeSlot<Failure, Wiped::kShort>(size_class, bytes, kind, kZeroed);
  }

  template <class Failure, bool kZeroed>
  ABSL_ATTRIBUTE_NOINLINE static void* AllocateLong(core::SizeClass size_class, size_t bytes,
                                                    core::AllocationKind kind) {
    return TakeSlot<Failure, Wiped::kLong>(size_class, bytes, kind, kZeroed);
  }

  // How long the slots are of which it is known that they are zero.
  enum class Wiped : uint8_t { kShort, kLong, kAny };

  // The walk behind the choice of the class, whose slots are aligned to `alignment`.
  template <class Failure, Wiped kWiped>
  ABSL_ATTRIBUTE_ALWAYS_INLINE static void* TakeSlot(size_t size_class, size_t bytes,
                                                     core::AllocationKind kind, bool zeroed,
                                                     size_t alignment = core::kSlotAlignment) {
    core::HeapFront& heap = *core::current_heap;
    core::Magazine& magazine = heap.magazines[size_class];
    const core::MagazineEntry entry = *magazine.top;
    if (ABSL_PREDICT_FALSE(entry.slot == nullptr)) {
      // Who knows the size finds the class again: fewer registers.
      return alignment == core::kSlotAlignment
                 ? AllocateSlow<Failure>(bytes, kind, zeroed)
                 : OrOtherwise<Failure>(AllocateSlot(size_class, bytes, kind, zeroed, alignment),
                                        bytes, kind);
    }
    if (ABSL_PREDICT_FALSE(--magazine.countdown == 0)) {
      return AllocateSampled<Failure>(size_class, bytes, kind, zeroed, alignment);
    }
    --magazine.top;
    return HandOut<Failure, kWiped>(heap, magazine, entry, size_class, bytes, kind, zeroed,
                                    alignment);
  }

  template <class Failure>
  static void* OrOtherwise(void* result, size_t bytes, core::AllocationKind kind) {
    return result != nullptr ? result : Failure::Otherwise(bytes, kind);
  }

  template <Wiped kWiped>
  ABSL_ATTRIBUTE_ALWAYS_INLINE static bool IsStillZero(const void* slot, size_t size) {
    if (kWiped == Wiped::kShort) return IsZeroInline(slot, size);
    return kWiped == Wiped::kLong ? prim::IsBulkZero(slot, size) : IsZero(slot, size);
  }

  // Makes a free slot, which came from `magazine`, an allocation of `bytes`.
  // Returns: its memory; that of another one, or Failure's result, when the slot is damaged.
  template <class Failure, Wiped kWiped>
  ABSL_ATTRIBUTE_ALWAYS_INLINE static void* HandOut(core::HeapFront& heap,
                                                    const core::Magazine& magazine,
                                                    const core::MagazineEntry& entry,
                                                    core::SizeClass size_class, size_t bytes,
                                                    core::AllocationKind kind, bool zeroed,
                                                    size_t alignment = core::kSlotAlignment) {
    const size_t size = core::kSlotSizes[size_class];
    if (zeroed || kFeatures.check_on_allocate) {
      // Detects: a write to a slot that was wiped or never used, before it is handed out.
      // Misses:  slots above the wipe limit: where they must be zero they are cleared.
      // Cost:    see IsZero(); calloc pays it everywhere, malloc where Features say so.
      const core::RecordValue before = entry.record->load(std::memory_order_relaxed);
      if (IsWiped(size) && core::IsKnownZero(before)) {
        if (ABSL_PREDICT_FALSE(before == core::kUnusedZeroRecord)) Populate(entry.slot, size);
        if (ABSL_PREDICT_FALSE(!IsStillZero<kWiped>(entry.slot, size))) {
          return AllocateInstead<Failure>(entry.slot, *entry.record, size_class, bytes, kind,
                                          zeroed, alignment);
        }
      } else if (zeroed) {
        // Where nothing is wiped this is the usual path, which makes no call for small slots.
        if (kFeatures.wipe_limit == 0 && size <= kWipeInline) {
          WipeInline(entry.slot, size);
        } else {
          __builtin_memset(entry.slot, 0, bytes);
        }
      }
    }
    if constexpr (kFeatures.sweep) {
      // A sweep that sees the canary then sees as well that the slot is not free and zero any more.
      entry.record->store(core::kFreedRecord, std::memory_order_relaxed);
      std::atomic_thread_fence(std::memory_order_release);
    }
    if constexpr (kFeatures.canary) {
      // Counts down by one for each allocation of the class.
      uint16_t life = NewLife(heap, magazine.countdown);
      if (alignment > core::kSlotAlignment) life = WithAlignment(life, alignment);
      entry.record[1].store(life, std::memory_order_relaxed);
      const uintptr_t address = reinterpret_cast<uintptr_t>(entry.slot);
      const size_t slack = size - bytes;
      SlotCanary::Write(kWords, address, size, slack, SlotCanary::NewestValue(address, life));
    }
    // Pairs with the acquire load of the sweep: a live slot has its canary.
    entry.record->store(LiveValue(size_class, bytes, kind), std::memory_order_release);
    return entry.slot;
  }

  // A free slot that was written to: reported, and never used again.
  template <class Failure>
  ABSL_ATTRIBUTE_NOINLINE static void* AllocateInstead(void* damaged, core::SlotRecord& record,
                                                       core::SizeClass size_class, size_t bytes,
                                                       core::AllocationKind kind, bool zeroed,
                                                       size_t alignment) {
    ReportWriteAfterFree(damaged, core::kSlotSizes[size_class], "malloc");
    record.store(core::kFreedRecord, std::memory_order_relaxed);
    return OrOtherwise<Failure>(AllocateSlot(size_class, bytes, kind, zeroed, alignment), bytes,
                                kind);
  }

  template <class Failure>
  ABSL_ATTRIBUTE_NOINLINE static void* AllocateSlow(size_t bytes, core::AllocationKind kind,
                                                    bool zeroed) {
    void* result;
    if (bytes > kMaxSlotRequest) {
      result = AllocateRunFor(bytes, 1, kind, zeroed);
    } else if (kFeatures.zero_size_faults && bytes == 0) {
      result = AllocateNothing(kind);
    } else {
      result = AllocateSlot(core::SizeClassOf(bytes + Canary::kRoom), bytes, kind, zeroed);
    }
    return OrOtherwise<Failure>(result, bytes, kind);
  }

  ABSL_ATTRIBUTE_NOINLINE static void* AllocateSlot(core::SizeClass size_class, size_t bytes,
                                                    core::AllocationKind kind, bool zeroed,
                                                    size_t alignment = core::kSlotAlignment) {
    const int saved_errno = errno;
    void* result = nullptr;
    if (Started()) {
      const core::HeapForOperation heap;
      if (heap.get() != nullptr) {
        core::Magazine& magazine = heap.get()->magazines[size_class];
        if (magazine.count() > 0 || heap.get()->Refill(size_class) ||
            RefillFromReserves(*heap.get(), size_class)) {
          heap.get()->CountAllocation(size_class, 1);
          const core::MagazineEntry entry = *magazine.top--;
          result = HandOut<NullOtherwise, Wiped::kAny>(*heap.get(), magazine, entry, size_class,
                                                       bytes, kind, zeroed, alignment);
        }
      }
    } else {
      result = prim::AllocateEarly(bytes, alignment);
    }
    errno = saved_errno;
    return result;
  }

  // Memory is exhausted but for what the protections hold.
  static bool RefillFromReserves(core::ThreadHeap& heap, core::SizeClass size_class) {
    const bool released = core::ReleaseReserves();
    if constexpr (kFeatures.quarantine.bytes > 0) PlugsOf(heap).quarantine.Drain(heap);
    return (released || kFeatures.quarantine.bytes > 0) && heap.Refill(size_class);
  }

  // The countdown of the class has run out: this allocation is a sample.
  template <class Failure>
  ABSL_ATTRIBUTE_NOINLINE static void* AllocateSampled(core::SizeClass size_class, size_t bytes,
                                                       core::AllocationKind kind, bool zeroed,
                                                       size_t alignment = core::kSlotAlignment) {
    KeepFramePointer();
    const int saved_errno = errno;
    core::ThreadHeap& heap = *static_cast<core::ThreadHeap*>(core::current_heap);
    heap.CountAllocation(size_class, -1);
    void* result = nullptr;
    // Or this is the first of its class after a fork.
    if (!heap.ReturnStale(size_class)) {
      heap.RestartCountdown(size_class, DrawInterval(heap, active_features->sample_interval));
      if constexpr (kFeatures.canary) RenewLives(heap);
      result = FinishRun(heap, AllocateSample(heap, bytes, alignment), bytes, kind, zeroed);
    }
    errno = saved_errno;
    if (result == nullptr) result = AllocateSlot(size_class, bytes, kind, zeroed, alignment);
    return OrOtherwise<Failure>(result, bytes, kind);
  }

  ABSL_ATTRIBUTE_NOINLINE static void* AllocateRunFor(
      size_t bytes, size_t alignment, core::AllocationKind kind, bool zeroed,
      core::RunPlacement placement = core::RunPlacement::kByLevel) {
    const int saved_errno = errno;
    void* result = nullptr;
    if (Started()) {
      const core::HeapForOperation heap;
      if (heap.get() != nullptr) {
        // An aligned allocation of nothing lies on the guard behind its page.
        if (kFeatures.zero_size_faults && bytes == 0) placement = core::RunPlacement::kEnd;
        core::Run* run = core::AllocateRun(*heap.get(), bytes, alignment, placement);
        if (run == nullptr && bytes <= PTRDIFF_MAX && core::ReleaseReserves()) {
          run = core::AllocateRun(*heap.get(), bytes, alignment, placement);
        }
        result = FinishRun(*heap.get(), run, bytes, kind, zeroed);
      }
    } else {
      result = prim::AllocateEarly(bytes, alignment);
    }
    errno = saved_errno;
    return result;
  }

  // Makes a run (null: null) an allocation of `bytes`.
  static void* FinishRun(core::ThreadHeap& heap, core::Run* run, size_t bytes,
                         core::AllocationKind kind, bool zeroed) {
    if (run == nullptr) return nullptr;
    if (zeroed) core::ClearRun(*run, bytes);
    if constexpr (kFeatures.canary) {
      run->beside_record.store(NewLife(heap, heap.random().Next16()), std::memory_order_relaxed);
      WriteRunCanary(*run);
    } else {
      // Another life than the last of this run; the first is random (Claim).
      run->beside_record.store(
          static_cast<uint16_t>(run->beside_record.load(std::memory_order_relaxed) + 1),
          std::memory_order_relaxed);
    }
    run->record.store(core::LiveRecord(kind, 0), std::memory_order_release);
    return reinterpret_cast<void*>(run->data);
  }

  // Gives the calling function a frame pointer, so that stacks can be walked through it.
  ABSL_ATTRIBUTE_ALWAYS_INLINE static void KeepFramePointer() {
    asm volatile("" : : "r"(__builtin_frame_address(0)));
  }

  static void* AllocateNothing(core::AllocationKind kind) {
    const int saved_errno = errno;
    void* result = nullptr;
    if (Started()) {
      const core::MagazineEntry entry = zero_size_slots.Allocate();
      result = entry.slot;
      if (result != nullptr) {
        if constexpr (kRecordShift == 2) {
          entry.record[1].store(static_cast<uint16_t>(LifeOf(*entry.record) + 1),
                                std::memory_order_relaxed);
        }
        entry.record->store(core::LiveRecord(kind, 0), std::memory_order_relaxed);
      }
    } else {
      result = prim::AllocateEarly(0, core::kSlotAlignment);
    }
    errno = saved_errno;
    return result;
  }

  // False without memory, and for a thread that is starting the heap: AllocateEarly() serves that.
  static bool Started() { return core::heap_state.started() || StartHeap(kFeatures); }

  // ---- canaries

  static uint16_t LifeOf(core::SlotRecord& record) {
    return (&record)[1].load(std::memory_order_relaxed);
  }

  // For fast paths. False as well for what was allocated before a fork, by the parent.
  ABSL_ATTRIBUTE_ALWAYS_INLINE static bool CanaryIntact(uintptr_t address, size_t size,
                                                        core::RecordValue value,
                                                        core::SlotRecord& record) {
    if constexpr (!kFeatures.canary) return true;
    return SlotCanary::Intact(kWords, address, size, core::SlackOf(value),
                              SlotCanary::NewestValue(address, LifeOf(record)));
  }

  // The slack of a run ends with its pages; of a long one the first 16 bytes count as slack.
  static size_t RunSlack(const core::Run& run) {
    const size_t slack = run.capacity() - run.requested;
    return slack < kRunCanary ? slack : kRunCanary;
  }
  static constexpr size_t kRunCanary = 16;

  static void WriteRunCanary(core::Run& run) {
    const uint64_t value =
        SlotCanary::Value(run.data, run.beside_record.load(std::memory_order_relaxed));
    if (run.data != run.pages) SlotCanary::WriteInFront(run.data, value);
    const size_t slack = RunSlack(run);
    if (slack == 0) return;
    SlotCanary::WriteTail(run.data + run.requested + slack, slack, value);
  }

  // Reports when the canary of a live allocation is damaged.
  // Returns: whether it is intact.
  static bool CheckCanary(void* pointer, const LiveAllocation& live, EntryPoint entry_point) {
    if constexpr (kFeatures.canary) {
      if (live.is_zero_size()) return true;
      const uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
      size_t slack = core::SlackOf(live.value());
      size_t size = core::kSlotSizes[live.slice->size_class];
      if (live.is_run()) {
        slack = RunSlack(live.run());
        size = live.run().requested + slack;
      }
      const uint64_t value = SlotCanary::Value(address, live.life());
      // Data that does not start its page, because it ends against a guard, has bytes in front that
      // nothing may write.
      const bool front_intact = !live.is_run() || live.run().data == live.run().pages ||
                                SlotCanary::IntactInFront(address, value);
      const bool end_intact =
          slack == 0 || (live.is_run() ? SlotCanary::TailIntact(address + size, slack, value)
                                       : SlotCanary::Intact(kWords, address, size, slack, value) ||
                                             SlotCanary::IntactByAnyKey(kWords, address, size,
                                                                        slack, live.life()));
      if (front_intact && end_intact) return true;
      // Freed in this very moment by another thread, which wiped it?
      const core::RecordValue now = live.record->load(std::memory_order_acquire);
      if (now != live.value() && now != core::kPendingRecord) {
        ReportBadPointer(pointer, UseOf(entry_point), FactsOf(entry_point).name);
        return false;
      }
      const uintptr_t damage =
          front_intact
              ? SlotCanary::FirstDamage(live.is_run() ? SlotCanary::Words::kFirstAndLast : kWords,
                                        address, size, slack, value)
              : address - 1;
      ReportCanary(address, damage, size - slack, FactsOf(entry_point).name);
      return false;
    }
    return true;
  }

  // ---- free, slow side

  ABSL_ATTRIBUTE_NOINLINE static void FlushAndPush(core::Magazine& magazine,
                                                   core::MagazineEntry entry,
                                                   core::SizeClass size_class) noexcept {
    const int saved_errno = errno;
    static_cast<core::ThreadHeap*>(core::current_heap)->Flush(size_class);
    errno = saved_errno;
    *++magazine.top = entry;
  }

  // Files a slot of the calling thread whose record says what it is.
  ABSL_ATTRIBUTE_ALWAYS_INLINE static void Hold(core::HeapFront& heap, core::MagazineEntry entry,
                                                core::SizeClass size_class) {
    core::Magazine& magazine = heap.magazines[size_class];
    if constexpr (kFeatures.quarantine.bytes > 0) {
      core::MagazineEntry* const hold = magazine.hold;
      if (ABSL_PREDICT_FALSE(hold == magazine.hold_end)) return HoldInNext(entry, size_class);
      *hold = entry;
      magazine.hold = hold + 1;
    } else {
      if (ABSL_PREDICT_FALSE(magazine.top == magazine.limit)) {
        return FlushAndPush(magazine, entry, size_class);
      }
      *++magazine.top = entry;
    }
  }

  ABSL_ATTRIBUTE_NOINLINE static void WipeLongAndHold(void* pointer, core::SlotRecord& record,
                                                      core::SizeClass size_class) noexcept {
    prim::ZeroBulk(pointer, core::kSlotSizes[size_class]);
    if constexpr (kFeatures.sweep) {
      record.store(core::kFreedZeroRecord, std::memory_order_release);
    }
    Hold(*core::current_heap, {pointer, &record}, size_class);
  }

  // The class has no block in the quarantine, or a full one.
  ABSL_ATTRIBUTE_NOINLINE static void HoldInNext(core::MagazineEntry entry,
                                                 core::SizeClass size_class) noexcept {
    Quarantine& quarantine = PlugsOf(*core::current_heap).quarantine;
    if (!quarantine.AddToMixed(entry, size_class)) HoldInNew(entry, size_class);
  }

  ABSL_ATTRIBUTE_NOINLINE static void HoldInNew(core::MagazineEntry entry,
                                                core::SizeClass size_class) noexcept {
    const int saved_errno = errno;
    core::ThreadHeap& heap = *static_cast<core::ThreadHeap*>(core::current_heap);
    [[maybe_unused]] const uint32_t ripe = PlugsOf(heap).quarantine.Add(heap, entry, size_class);
    if constexpr (kFeatures.sweep) {
      for (uint32_t slots = 0; slots < ripe; slots += kSlotsPerStep) SweepStep();
    }
    errno = saved_errno;
  }

  // A free in a slab that is not one of an own slot: the walk of a plain one of another thread's
  // slot. `index` is what the slice says of the pointer.
  ABSL_ATTRIBUTE_NOINLINE static void FreeElsewhere(void* pointer, size_t stated,
                                                    EntryPoint entry_point,
                                                    core::SliceDescriptor& slice,
                                                    uint32_t index) noexcept {
    core::ThreadHeap* const owner = slice.owner.load(std::memory_order_relaxed);
    core::HeapFront* const heap = core::current_heap;
    if (ABSL_PREDICT_FALSE(index >= slice.slot_count || !core::IsThreadHeap(heap))) {
      return FreeSlow(pointer, stated, entry_point);
    }
    core::SlotRecord& record = slice.RecordAt(index, kRecordShift);
    const core::LifeWord word = WordAt(record, core::SliceUse::kSlab);
    const core::RecordValue value = core::RecordIn(word);
    const size_t size = core::kSlotSizes[slice.size_class];
    if (ABSL_PREDICT_FALSE(!IsPlainlyLive(value, kAccepts[static_cast<size_t>(entry_point)]) ||
                           (stated != kSizeNotStated && size - core::SlackOf(value) != stated))) {
      return FreeSlow(pointer, stated, entry_point);
    }
    if (ABSL_PREDICT_FALSE(!TryClaim(record, word, core::SliceUse::kSlab))) {
      return ReportLostRace(pointer, entry_point);
    }
    // Long wipes are a call.
    constexpr bool kWipesLong = kFeatures.wipe_limit > kWipeInline;
    if (ABSL_PREDICT_FALSE(
            (kWipesLong && size > kWipeInline) ||
            !CanaryIntact(reinterpret_cast<uintptr_t>(pointer), size, value, record))) {
      return EndElsewhere(pointer, &slice, &record, word, entry_point);
    }
    if (IsWiped(size)) WipeInline(pointer, size);
    core::ThreadHeap& sender = *static_cast<core::ThreadHeap*>(heap);
    if (!sender.AppendRemote(owner, pointer, size)) Send(owner, pointer, slice.size_class);
  }

  // What is left of FreeElsewhere() when more is to be done than it does, of a claimed allocation.
  ABSL_ATTRIBUTE_NOINLINE static void EndElsewhere(void* pointer, core::SliceDescriptor* slice,
                                                   core::SlotRecord* record, core::LifeWord word,
                                                   EntryPoint entry_point) noexcept {
    const int saved_errno = errno;
    const LiveAllocation live = {slice, record, word, core::SliceUse::kSlab};
    End(pointer, live, CheckCanary(pointer, live, entry_point));
    errno = saved_errno;
  }
  ABSL_ATTRIBUTE_NOINLINE static void ReportLostRace(void* pointer,
                                                     EntryPoint entry_point) noexcept {
    const int saved_errno = errno;
    ReportBadPointer(pointer, UseOf(entry_point), FactsOf(entry_point).name);
    errno = saved_errno;
  }
  ABSL_ATTRIBUTE_NOINLINE static void Send(core::ThreadHeap* owner, void* pointer,
                                           core::SizeClass size_class) noexcept {
    const int saved_errno = errno;
    static_cast<core::ThreadHeap*>(core::current_heap)->SendRemote(owner, pointer, size_class);
    errno = saved_errno;
  }

  // Every free that is not a plain one: null, other cages, runs, and all that is to be reported.
  ABSL_ATTRIBUTE_NOINLINE static void FreeSlow(void* pointer, size_t stated,
                                               EntryPoint entry_point) noexcept {
    if (IsPlainDelete(entry_point) &&
        plain_operators.load(std::memory_order_relaxed) != Operators::kOurs &&
        EndByDefault(pointer, entry_point)) {
      return;
    }
    if (pointer == nullptr) return;
    KeepFramePointer();
    const int saved_errno = errno;
    const LiveAllocation live = Find(pointer, entry_point);
    if (live.found()) {
      CheckKind(pointer, live, entry_point);
      if (stated != kSizeNotStated && SizeOf(live) != stated) {
        ReportSizeMismatch(pointer, SizeOf(live), stated, entry_point);
      }
      if (Claim(pointer, live, entry_point)) {
        const bool intact = CheckCanary(pointer, live, entry_point);
        if (intact) CheckNeighboursOf(pointer, live, entry_point);
        End(pointer, live, intact);
      }
    }
    errno = saved_errno;
  }

  // Of an own slot.
  static void CheckNeighboursOf(void* pointer, const LiveAllocation& live, EntryPoint entry_point) {
    if constexpr (kFeatures.check_neighbours) {
      if (live.slice->owner.load(std::memory_order_relaxed) != core::current_heap) return;
      const uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
      CheckNeighbours(*live.slice, live.slice->IndexOf(address), address,
                      core::kSlotSizes[live.slice->size_class], FactsOf(entry_point).name);
    }
  }

  // Ends the life of a claimed allocation. A damaged one is never used again.
  static void End(void* pointer, const LiveAllocation& live, bool intact) {
    if (intact) return Release(pointer, live);
    live.record->store(core::kFreedRecord, std::memory_order_relaxed);
  }

  static void CheckKind(void* pointer, const LiveAllocation& live, EntryPoint entry_point) {
    const core::AllocationKind kind = core::KindOf(live.value());
    uint8_t accepts = FactsOf(entry_point).accepts;
    // AllocateAligned() does not keep the two apart there.
    if (!kFeatures.exact_size && (accepts & KindBit(core::AllocationKind::kAligned)) != 0) {
      accepts |= KindBit(core::AllocationKind::kMalloc);
    }
    if ((accepts & KindBit(kind)) != 0) return;
    if (MixesMallocAndNew(kind, entry_point) && MallocAndNewMayMix()) return;
    ReportKindMismatch(pointer, kind, entry_point);
  }

  // Takes `live` out of everybody else's hands: of two calls at once only one goes on.
  // Detects: a double free across threads, or of a run, at the call, unless both race as
  //          slot_record.h says. Also when the slot or run was handed out again since Find(), where
  //          there is a life.
  // Misses:  one whose Find() was after that.
  // Cost:    one atomic operation, on the slow side only.
  // Returns: false when somebody else was first, which was reported.
  static bool Claim(void* pointer, const LiveAllocation& live, EntryPoint entry_point) {
    if (TryClaim(*live.record, live.word, live.use)) return true;
    ReportBadPointer(pointer, UseOf(entry_point), FactsOf(entry_point).name);
    return false;
  }

  // The same without the report.
  ABSL_ATTRIBUTE_ALWAYS_INLINE static bool TryClaim(core::SlotRecord& record, core::LifeWord word,
                                                    core::SliceUse use) {
    core::RecordValue expected = core::RecordIn(word);
    return HasLife(use) ? core::ClaimWithLife(record, word)
                        : record.compare_exchange_strong(expected, core::kPendingRecord,
                                                         std::memory_order_relaxed);
  }

  // Ends the life of a claimed allocation whose canary was checked.
  ABSL_ATTRIBUTE_ALWAYS_INLINE static void Release(void* pointer, const LiveAllocation& live) {
    if (!live.is_run()) return ReleaseSlot(pointer, *live.slice, *live.record);
    live.record->store(core::kFreedRecord, std::memory_order_relaxed);
    core::Run& run = live.run();
    const bool sampled = run.trace != nullptr;
    if (sampled) NoteSampleFreed(run);
    core::FreeRun(run, sampled ? SampleHoldBytes() : core::heap_constants->options.run_hold_bytes);
  }

  ABSL_ATTRIBUTE_NOINLINE static void ReleaseSlot(void* pointer, core::SliceDescriptor& slice,
                                                  core::SlotRecord& record) {
    if (slice.use == core::SliceUse::kZeroSize) {
      record.store(core::kFreedRecord, std::memory_order_relaxed);
      zero_size_slots.Free(slice, {pointer, &record});
      return;
    }
    core::ThreadHeap* owner = slice.owner.load(std::memory_order_relaxed);
    const core::SizeClass size_class = slice.size_class;
    Wipe(pointer, size_class);
    if (owner == core::current_heap) {
      KeepOrPush(*owner, {pointer, &record}, size_class);
      return;
    }
    core::ThreadHeap* sender = core::ThreadIsExiting() ? nullptr : core::CurrentHeapOrNew();
    if (sender != nullptr) {
      sender->SendRemote(owner, pointer, size_class);
    } else {
      core::ThreadHeap::SendRemoteAlone(owner, pointer, size_class);
    }
  }

  static void Wipe(void* pointer, core::SizeClass size_class) {
    if constexpr (kFeatures.wipe_limit > 0) {
      const size_t size = core::kSlotSizes[size_class];
      if (size <= kFeatures.wipe_limit) WipeSlot(pointer, size);
    }
  }

  // Files a slot of this heap that nobody owns any more and that was wiped.
  static void KeepOrPush(core::ThreadHeap& heap, const core::MagazineEntry& entry,
                         core::SizeClass size_class) {
    if constexpr (kFeatures.quarantine.bytes > 0) {
      KeepInQuarantine(heap, entry, size_class);
    } else {
      entry.record->store(core::kFreedRecord, std::memory_order_relaxed);
      core::Magazine& magazine = heap.magazines[size_class];
      if (magazine.top == magazine.limit) heap.Flush(size_class);
      *++magazine.top = entry;
    }
  }

  // ---- looking at live allocations

  // A slot of the first cage, in any state; record is null when no slot starts at the address.
  struct SlotInCage {
    core::SlotRecord* record = nullptr;
    core::RecordValue value = 0;
    size_t size = 0;
    const core::HeapFront* owner = nullptr;
  };

  ABSL_ATTRIBUTE_ALWAYS_INLINE static SlotInCage FindSlotInCage(uintptr_t address) {
    const uintptr_t offset = address - core::heap_constants->cage_base;
    if (ABSL_PREDICT_FALSE(offset >= core::heap_constants->cage_bytes)) return {};
    const core::SliceDescriptor& slice =
        core::heap_constants->cage_slices[offset >> core::kSliceShift];
    const core::ThreadHeap* owner = slice.owner.load(std::memory_order_relaxed);
    const uint32_t index = slice.IndexOf(address);
    // Only slabs in use have an owner.
    if (ABSL_PREDICT_FALSE(owner == nullptr || index >= slice.slot_count)) return {};
    core::SlotRecord& record = slice.RecordAt(index, kRecordShift);
    return {&record, record.load(std::memory_order_relaxed), core::kSlotSizes[slice.size_class],
            owner};
  }

  static PointerUse UseOf(EntryPoint entry_point) {
    return FactsOf(entry_point).frees ? PointerUse::kFree : PointerUse::kUse;
  }

  static constexpr bool HasLife(core::SliceUse use) {
    return kRecordShift == 2 || use == core::SliceUse::kRun;
  }

  // The live allocation that starts at `pointer`; reports when there is none. None either, without
  // a report, where the pointer is an early one (start_guard.h).
  ABSL_ATTRIBUTE_ALWAYS_INLINE static LiveAllocation Find(void* pointer, EntryPoint entry_point) {
    const LiveAllocation live = Look(reinterpret_cast<uintptr_t>(pointer));
    if (!live.found()) [[unlikely]]
      ReportUnlessEarly(pointer, entry_point);
    return live;
  }

  ABSL_ATTRIBUTE_NOINLINE static void ReportUnlessEarly(void* pointer, EntryPoint entry_point) {
    if (prim::IsEarly(pointer)) return;
    ReportBadPointer(pointer, UseOf(entry_point), FactsOf(entry_point).name);
  }

  // The live allocation that starts at `address`, if there is one.
  ABSL_ATTRIBUTE_ALWAYS_INLINE static LiveAllocation Look(uintptr_t address) {
    core::SliceDescriptor* slice = core::heap_state.FindSlice(address);
    if (slice != nullptr && slice->use != core::SliceUse::kNone && !slice->released) {
      const uint32_t index = slice->IndexOf(address);
      if (index < slice->slot_count) {
        core::SlotRecord& record = slice->RecordAt(index, kRecordShift);
        const core::SliceUse use = slice->use;
        const core::LifeWord word = WordAt(record, use);
        if (core::IsLive(core::RecordIn(word))) {
          return {slice, &record, word, use};
        }
      }
    }
    return {};
  }

  // A record as it is, without a life where there is none.
  ABSL_ATTRIBUTE_ALWAYS_INLINE static core::LifeWord WordAt(const core::SlotRecord& record,
                                                            core::SliceUse use) {
    return HasLife(use) ? core::LoadWithLife(record)
                        : core::WordOf(record.load(std::memory_order_relaxed), 0);
  }

  ABSL_ATTRIBUTE_NOINLINE static size_t UsableSizeSlow(void* pointer) {
    if (prim::IsEarly(pointer)) return prim::EarlySize(pointer);
    const LiveAllocation live = Find(pointer, EntryPoint::kUsableSize);
    if (!live.found()) return 0;
    CheckCanary(pointer, live, EntryPoint::kUsableSize);
    return SizeOf(live);
  }

  static size_t SizeOf(const LiveAllocation& live) {
    if (live.is_zero_size()) return 0;
    if (live.is_run()) {
      return kFeatures.exact_size ? live.run().requested : live.run().capacity();
    }
    return core::kSlotSizes[live.slice->size_class] - core::SlackOf(live.value());
  }

  // ---- realloc

  // Of slots of other threads, of runs, of nothing, and of all that is to be reported.
  ABSL_ATTRIBUTE_NOINLINE static void* ReallocateSlow(void* pointer, size_t bytes,
                                                      EntryPoint entry_point) {
    if (prim::IsEarly(pointer)) return MoveEarly(pointer, bytes);
    const int saved_errno = errno;
    const LiveAllocation live = Find(pointer, entry_point);
    void* result = nullptr;
    if (live.found()) {
      CheckKind(pointer, live, entry_point);
      // Claimed while it changes: a free by another thread is a double free, and no neighbour's
      // check sees half of a canary.
      if (Claim(pointer, live, entry_point)) {
        const bool intact = CheckCanary(pointer, live, entry_point);
        result = intact && ResizeInPlace(pointer, live, bytes)
                     ? pointer
                     : MoveTo(pointer, live, bytes, intact);
      }
    }
    errno = saved_errno;
    return result;
  }

  static void* MoveEarly(void* pointer, size_t bytes) {
    void* result = Allocate(bytes, core::AllocationKind::kMalloc);
    const size_t old_bytes = prim::EarlySize(pointer);
    if (result != nullptr) {
      __builtin_memcpy(result, pointer, old_bytes < bytes ? old_bytes : bytes);
    }
    return result;
  }

  // Whether an allocation of `bytes` may stay in a slot of `size` bytes: not when it shrinks below
  // half of it.
  static bool FitsSlot(size_t size, size_t bytes) {
    return bytes <= size - Canary::kRoom && bytes >= size / 2 &&
           (!kFeatures.exact_size || size - bytes <= core::kMaxSlack);
  }
  // Writes the canary of a slot that now holds `bytes`.
  // Returns: its record.
  static core::RecordValue ResizeSlot(uintptr_t address, size_t size, size_t bytes,
                                      [[maybe_unused]] core::SlotRecord& record) {
    const size_t slack = kFeatures.exact_size ? size - bytes : 0;
    if constexpr (kFeatures.canary) {
      SlotCanary::Write(kWords, address, size, slack, SlotCanary::Value(address, LifeOf(record)));
    }
    // What realloc returns was allocated by realloc, whatever it was before.
    return core::LiveRecord(core::AllocationKind::kMalloc, slack);
  }

  // Both on a claimed allocation whose canary was checked.
  static bool ResizeInPlace(void* pointer, const LiveAllocation& live, size_t bytes) {
    if (live.is_zero_size()) return false;
    core::RecordValue resized = core::LiveRecord(core::AllocationKind::kMalloc, 0);
    if (live.is_run()) {
      // A run that shrinks below half of itself moves, so that address space is not wasted.
      if (bytes <= kMaxSlotRequest || bytes < live.run().page_bytes / 2) return false;
      if (!core::ResizeRun(live.run(), bytes)) return false;
      if constexpr (kFeatures.canary) WriteRunCanary(live.run());
    } else {
      const size_t size = core::kSlotSizes[live.slice->size_class];
      if (!FitsSlot(size, bytes)) return false;
      resized = ResizeSlot(reinterpret_cast<uintptr_t>(pointer), size, bytes, *live.record);
    }
    // Pairs with the acquire load of a neighbour's check.
    live.record->store(resized, std::memory_order_release);
    return true;
  }

  ABSL_ATTRIBUTE_NOINLINE static void* MoveTo(void* pointer, const LiveAllocation& live,
                                              size_t bytes, bool intact) {
    const core::AllocationKind kind = core::AllocationKind::kMalloc;
    void* result =
        live.is_run() && bytes > kMaxSlotRequest
            ? AllocateRunFor(bytes, 1, kind, /*zeroed=*/false, core::RunPlacement::kGrown)
            : Allocate(bytes, kind);
    if (result == nullptr || !CopyTo(result, pointer, live, bytes)) {
      live.record->store(live.value(), std::memory_order_release);
      return nullptr;
    }
    if (intact) CheckNeighboursOf(pointer, live, EntryPoint::kRealloc);
    End(pointer, live, intact);
    return result;
  }

  // Fills the new allocation `to` of `bytes` from the old one.
  // Returns: false when that failed; `to` is then freed.
  static bool CopyTo(void* to, void* from, const LiveAllocation& live, size_t bytes) {
    const size_t old_size = SizeOf(live);
    const size_t copied = old_size < bytes ? old_size : bytes;
    if (live.is_run() && bytes > kMaxSlotRequest) {
      const core::SliceDescriptor* slice =
          core::heap_state.FindSlice(reinterpret_cast<uintptr_t>(to));
      core::Run& run = *core::Run::OfRecord(slice->records);
      switch (core::MoveRunContents(live.run(), run, copied)) {
        case core::MoveResult::kMoved:
          if constexpr (kFeatures.canary) WriteRunCanary(run);
          return true;
        case core::MoveResult::kLost:
          run.record.store(core::kFreedRecord, std::memory_order_relaxed);
          core::FreeRun(run, 0);
          return false;
        case core::MoveResult::kCopy:
          break;
      }
    }
    __builtin_memcpy(to, from, copied);
    return true;
  }
};

}  // namespace hardened

#endif  // HARDENED_HEAP_H_
