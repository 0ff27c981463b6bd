#include "hardened/bad_pointer.h"

#include "hardened/core/heap_state.h"
#include "hardened/core/run.h"
#include "hardened/core/slab.h"
#include "hardened/core/thread_heap.h"
#include "hardened/events.h"

namespace hardened {
namespace {

using prim::CorruptionKind;
using prim::CorruptionReport;

CorruptionKind DeadKind(PointerUse use) {
  return use == PointerUse::kFree ? CorruptionKind::kDoubleFree : CorruptionKind::kStalePointer;
}

void ExplainSlot(const core::SliceDescriptor& slice, PointerUse use, CorruptionReport& report) {
  core::Slab& slab = *core::Slab::OfRecords(slice.records);
  const size_t size = core::SlotSize(slice.size_class);
  const size_t index = (report.address - slab.base()) / size;
  if (index >= slice.slot_count) return;
  report.in_slab = true;
  report.slot_index = static_cast<uint32_t>(index);
  report.slot_size = size;
  report.slot_start = slab.base() + index * size;
  const core::ThreadHeap* owner = slice.owner.load(std::memory_order_relaxed);
  if (owner != nullptr) report.owner_thread = owner->thread_id();
  const core::RecordValue record =
      slice.RecordAt(static_cast<uint32_t>(index), core::heap_constants->options.record_shift)
          .load(std::memory_order_relaxed);
  const bool exact = report.offset() == 0;
  if (core::IsLive(record)) {
    if (core::SlackOf(record) != 0) report.requested_size = size - core::SlackOf(record);
    if (report.kind != CorruptionKind::kMisalignedPointer) {
      report.kind = CorruptionKind::kInteriorPointer;
    }
  } else if (exact && !core::NeverHandedOut(record)) {
    report.kind = DeadKind(use);
  }
}

void ExplainRun(const core::Run& run, PointerUse use, CorruptionReport& report) {
  // An aligned allocation of nothing lies behind its pages.
  const bool in_pages = report.address - run.pages < run.page_bytes;
  if (!in_pages && report.address != run.data) return;
  report.in_run = true;
  report.slot_start = run.data;
  report.slot_size = run.page_bytes;
  report.owner_thread = run.thread_id;
  if (core::IsLive(run.record.load(std::memory_order_relaxed))) {
    report.requested_size = run.requested;
    if (report.kind != CorruptionKind::kMisalignedPointer) {
      report.kind = CorruptionKind::kInteriorPointer;
    }
  } else if (report.offset() == 0) {
    report.kind = DeadKind(use);
  }
}

}  // namespace

const core::Run* FindRun(uintptr_t address) {
  core::Arena* arena = core::heap_state.FindArena(address);
  if (arena == nullptr) return nullptr;
  // A run describes only the slice in which its data starts: find it from the start of its span.
  const uint32_t first = arena->FindUsedSpan(arena->SliceIndex(address));
  if (first == core::kNoSpan) return nullptr;
  for (uint32_t i = first; i < arena->grown_slices(); ++i) {
    const core::SliceDescriptor& slice = arena->slices()[i];
    if (slice.use == core::SliceUse::kSlab && !slice.released) return nullptr;
    if (slice.use != core::SliceUse::kRun || slice.released) continue;
    const core::Run* run = core::Run::OfRecord(slice.records);
    return run->first_slice == first ? run : nullptr;
  }
  return nullptr;
}

CorruptionReport ExplainBadPointer(uintptr_t address, PointerUse use, const char* found_by) {
  CorruptionReport report{.kind = CorruptionKind::kForeignPointer,
                          .address = address,
                          .found_by = found_by,
                          .level = core::heap_constants->level};
  core::Arena* arena = core::heap_state.FindArena(address);
  if (arena == nullptr) return report;
  report.kind = address % core::kSlotAlignment != 0 ? CorruptionKind::kMisalignedPointer
                                                    : CorruptionKind::kUnallocatedPointer;
  const core::SliceDescriptor& slice = arena->SliceAt(address);
  if ((slice.use == core::SliceUse::kSlab || slice.use == core::SliceUse::kZeroSize) &&
      !slice.released) {
    ExplainSlot(slice, use, report);
    return report;
  }
  if (arena->FindUsedSpan(arena->SliceIndex(address)) != core::kNoSpan) {
    const core::Run* run = FindRun(address);
    if (run != nullptr) {
      ExplainRun(*run, use, report);
      return report;
    }
  }
  // Given back to the arena, or waiting for its class (EmptySlabs); the geometry of the last slab
  // or run is still there.
  if (slice.released && slice.IndexOf(address) < slice.slot_count) report.kind = DeadKind(use);
  return report;
}

CorruptionReport DescribeAddress(uintptr_t address, const char* found_by) {
  return ExplainBadPointer(address, PointerUse::kUse, found_by);
}

void ReportBadPointer(const void* pointer, PointerUse use, const char* found_by,
                      const void* caller) {
  CorruptionReport report = ExplainBadPointer(reinterpret_cast<uintptr_t>(pointer), use, found_by);
  report.caller = reinterpret_cast<uintptr_t>(caller);
  HandleEvent(report);
}

}  // namespace hardened
