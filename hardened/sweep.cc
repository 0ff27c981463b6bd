#include "hardened/sweep.h"

#include "hardened/core/heap_state.h"
#include "hardened/core/slab.h"
#include "hardened/core/thread_heap.h"
#include "hardened/neighbours.h"
#include "hardened/prim/lock.h"

namespace hardened {
namespace {

// Where the next step goes on.
struct Cursor {
  uint32_t arena = 0;
  uint32_t slice = 0;
  uint32_t slot = 0;
};

constinit prim::Lock cursor_lock;
constinit Cursor cursor;

// Looks at up to `most` slots of the slab whose first slice is at the cursor, or passes a slice
// that starts none. Returns: the slots looked at.
uint32_t VisitSlice(core::Arena& arena, Cursor& at, uint32_t most) {
  const core::SliceDescriptor& slice = arena.slices()[at.slice];
  const uintptr_t base = arena.AddressOf(at.slice);
  const core::ThreadHeap* owner = slice.owner.load(std::memory_order_acquire);
  const bool starts_slab = slice.use == core::SliceUse::kSlab && !slice.released &&
                           owner != nullptr && !owner->orphan() &&
                           slice.base_low == static_cast<uint32_t>(base);
  if (!starts_slab) {
    ++at.slice;
    at.slot = 0;
    return 0;
  }
  const size_t size = core::SlotSize(slice.size_class);
  uint32_t looked = 0;
  for (; looked < most && at.slot < slice.slot_count; ++looked, ++at.slot) {
    CheckLiveCanary(slice, at.slot, base + at.slot * size, size, "sweep");
    CheckFreeSlot(slice, at.slot, base + at.slot * size, size, "sweep");
  }
  if (at.slot >= slice.slot_count) {
    at.slice += core::SlabSlices(slice.size_class);
    at.slot = 0;
  }
  return looked;
}

// Goes on from the cursor until `most` slots or `most` slices were passed.
// Returns: false at the end of the last arena; the cursor is then at the start.
bool Advance(Cursor& at, uint32_t most) {
  for (uint32_t passed = 0; passed < most;) {
    if (at.arena >= core::heap_state.arena_count()) {
      at = {};
      return false;
    }
    core::Arena& arena = core::heap_state.arena(at.arena);
    if (at.slice >= arena.committed_slices()) {
      at = {.arena = at.arena + 1};
      continue;
    }
    const uint32_t looked = VisitSlice(arena, at, most - passed);
    passed += looked > 0 ? looked : 1;
  }
  return true;
}

}  // namespace

void SweepStep() {
  if (!cursor_lock.TryLock()) return;
  Advance(cursor, kSlotsPerStep);
  cursor_lock.Release();
}

void MendSweepInChild() {
  if (!cursor_lock.ForkReset()) cursor = {};
}

void SweepEverything() {
  Cursor at;
  while (Advance(at, UINT32_MAX)) {
  }
}

}  // namespace hardened
