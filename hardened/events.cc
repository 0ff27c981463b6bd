#include "hardened/events.h"

#include <array>
#include <atomic>

#include "hardened/heap_plugs.h"

namespace hardened {
namespace {

constinit std::array<std::atomic<uint64_t>, kEventCount> counts{};

}  // namespace

bool EventOf(prim::CorruptionKind kind, Event* event) {
  using prim::CorruptionKind;
  switch (kind) {
    case CorruptionKind::kDoubleFree:
    case CorruptionKind::kStalePointer:
      *event = Event::kDoubleFree;
      return true;
    case CorruptionKind::kInteriorPointer:
    case CorruptionKind::kMisalignedPointer:
    case CorruptionKind::kUnallocatedPointer:
      *event = Event::kInvalidFree;
      return true;
    case CorruptionKind::kForeignPointer:
      *event = Event::kForeignPointer;
      return true;
    case CorruptionKind::kKindMismatch:
      *event = Event::kMismatch;
      return true;
    case CorruptionKind::kSizeMismatch:
      *event = Event::kSizedDelete;
      return true;
    case CorruptionKind::kCanaryClobbered:
    case CorruptionKind::kOverflowingCall:
      *event = Event::kCanary;
      return true;
    case CorruptionKind::kWriteAfterFree:
      *event = Event::kWriteAfterFree;
      return true;
    case CorruptionKind::kBadLink:
    case CorruptionKind::kHeapOverflow:
    case CorruptionKind::kUseAfterFree:
      return false;
  }
  return false;
}

void HandleEvent(const prim::CorruptionReport& report) {
  Event event;
  if (!EventOf(report.kind, &event)) prim::ReportCorruption(report);
  counts[static_cast<unsigned>(event)].fetch_add(1, std::memory_order_relaxed);
  switch (active_features->actions[event]) {
    case EventAction::kAbort:
      prim::ReportCorruption(report);
    case EventAction::kReport:
      return prim::PrintCorruption(report);
    case EventAction::kIgnore:
      return;
  }
}

uint64_t EventCount(Event event) {
  return counts[static_cast<unsigned>(event)].load(std::memory_order_relaxed);
}

}  // namespace hardened
