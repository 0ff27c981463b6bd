#include "hardened/sweep.h"

#include <algorithm>

#include "hardened/core/empty_slabs.h"
#include "hardened/core/heap_state.h"
#include "hardened/core/slab.h"
#include "hardened/core/thread_heap.h"
#include "hardened/neighbours.h"

namespace hardened {
namespace {

// Of slots looked at in one hold of the slabs: as long as another thread may have to wait.
constexpr size_t kBytesPerHold = 256 << 10;

// Where the next step goes on.
struct Cursor {
  uint32_t arena = 0;
  uint32_t slice = 0;
  uint32_t slot = 0;
};

// Read and written while the slabs are held.
constinit Cursor cursor;

// Whether a slab starts at the cursor that stays as it is while the slabs are held. Slabs in the
// home of a heap are dissolved without a word by the thread that uses it.
bool StartsSlab(const core::Arena& arena, const core::SliceDescriptor& slice, const Cursor& at) {
  // Pairs with the release store in SetSlabOwner(): the description is read after it.
  const core::ThreadHeap* owner = slice.owner.load(std::memory_order_acquire);
  return owner != nullptr && !owner->orphan() && (!arena.home() || owner == core::current_heap) &&
         slice.base_low == static_cast<uint32_t>(arena.AddressOf(at.slice));
}

// Looks at up to `most` slots of the slab whose first slice is at the cursor, or passes a slice
// that starts none. Requires: the slabs are held. Returns: the slots looked at.
uint32_t VisitSlice(core::Arena& arena, Cursor& at, uint32_t most) {
  const core::SliceDescriptor& slice = arena.slices()[at.slice];
  if (!StartsSlab(arena, slice, at)) {
    ++at.slice;
    at.slot = 0;
    return 0;
  }
  const uintptr_t base = arena.AddressOf(at.slice);
  const size_t size = core::SlotSize(slice.size_class);
  const uint32_t at_once = std::min(most, static_cast<uint32_t>(kBytesPerHold / size));
  uint32_t looked = 0;
  for (; looked < at_once && at.slot < slice.slot_count; ++looked, ++at.slot) {
    CheckLiveCanary(slice, at.slot, base + at.slot * size, size, "sweep");
    CheckFreeSlot(slice, at.slot, base + at.slot * size, size, "sweep");
  }
  if (at.slot >= slice.slot_count) {
    at.slice += core::SlabSlices(slice.size_class);
    at.slot = 0;
  }
  return looked;
}

// Goes on from the cursor, and stops when `*passed` slots and slices are `most`, or behind one
// slab. Requires: the slabs are held. Returns: false at the end of the last arena; the cursor is
// then at the start.
bool Advance(Cursor& at, uint32_t most, uint32_t* passed) {
  while (*passed < most) {
    if (at.arena >= core::heap_state.arena_count()) {
      at = {};
      return false;
    }
    core::Arena& arena = core::heap_state.arena(at.arena);
    if (at.slice >= arena.grown_slices()) {
      at = {.arena = at.arena + 1};
      continue;
    }
    const uint32_t looked = VisitSlice(arena, at, most - *passed);
    *passed += looked > 0 ? looked : 1;
    if (looked > 0) break;
  }
  return true;
}

}  // namespace

void SweepStep() {
  bool more = true;
  for (uint32_t passed = 0; more && passed < kSlotsPerStep;) {
    if (!core::empty_slabs->TryHold(/*wait=*/false)) return;
    more = Advance(cursor, kSlotsPerStep, &passed);
    core::empty_slabs->EndHold();
  }
}

void SweepEverything() {
  Cursor at;
  for (bool more = true; more;) {
    // Not for ever: exit() may have been called by a signal handler that interrupted a holder.
    if (!core::empty_slabs->TryHold(/*wait=*/true)) return;
    uint32_t passed = 0;
    more = Advance(at, UINT32_MAX, &passed);
    core::empty_slabs->EndHold();
  }
}

}  // namespace hardened
