#include "hardened/core/run_signposts.h"

#include "hardened/core/heap_state.h"

namespace hardened::core {
namespace {

bool IsDescribedBy(const SliceDescriptor& slice, const Run& run) {
  return slice.use == SliceUse::kRun && !slice.released && slice.records == &run.record;
}

}  // namespace

void SetSignposts(Run& run) {
  const uint64_t end = uint64_t{run.first_slice} + run.slices;
  for (uint64_t step = 1; step < end; step *= 2) {
    const uint64_t index = RoundUpTo(run.first_slice, step);
    if (index >= end) return;
    SliceDescriptor& slice = run.arena->slices()[index];
    if (IsDescribedBy(slice, run)) continue;
    slice.records = &run.record;
    slice.use = SliceUse::kSignpost;
    slice.released = true;
  }
}

const Run* LiveRunAt(uintptr_t address) {
  const Arena* arena = heap_state.FindArena(address);
  if (arena == nullptr) return nullptr;
  for (uint32_t index = arena->SliceIndex(address);; index &= index - 1) {
    const SliceDescriptor& slice = arena->slices()[index];
    // On the way lie slices that are none of the run's and may be changing: null, or the metadata
    // of anything. That is never unmapped, but used again.
    SlotRecord* records = slice.records;
    if ((slice.use == SliceUse::kRun || slice.use == SliceUse::kSignpost) && records != nullptr) {
      const Run* run = Run::OfRecord(records);
      const uintptr_t data = run->data;
      // Pairs with the release store that makes a run live: then all it says is its own.
      if (arena->Contains(data) && IsDescribedBy(arena->SliceAt(data), *run) &&
          IsLive(run->record.load(std::memory_order_acquire)) &&
          address - run->pages <= run->page_bytes) {
        return run;
      }
    }
    if (index == 0) return nullptr;
  }
}

}  // namespace hardened::core
