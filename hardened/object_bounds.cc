#include "hardened/object_bounds.h"

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "hardened/bad_pointer.h"
#include "hardened/core/heap_state.h"
#include "hardened/core/run_signposts.h"
#include "hardened/events.h"
#include "hardened/heap_plugs.h"
#include "hardened/prim/raw_writer.h"

namespace hardened {
namespace {

// An address within a live allocation.
struct Place {
  bool found = false;
  size_t size = 0;    // of the allocation
  size_t offset = 0;  // in it; in front of a run's data beyond every size

  size_t room() const {
    if (!found) return kNoBound;
    return offset < size ? size - offset : 0;
  }
};

// Requires: the slice is that of a slab, of zero-size slots too.
ABSL_ATTRIBUTE_ALWAYS_INLINE inline Place PlaceInSlab(const core::SliceDescriptor& slice,
                                                      uintptr_t address) {
  const uint32_t distance = static_cast<uint32_t>(address) - slice.base_low;
  const uint64_t index = core::SlotIndexAt(distance, slice.size_class);
  if (ABSL_PREDICT_FALSE(index >= slice.slot_count)) return {};
  const core::RecordValue record =
      slice.RecordAt(static_cast<uint32_t>(index), core::heap_constants->options.record_shift)
          .load(std::memory_order_relaxed);
  if (ABSL_PREDICT_FALSE(!core::IsLive(record))) return {};
  const size_t size = core::kSlotSizes[slice.size_class];
  return {true, size - core::SlackOf(record), distance - index * size};
}

// Only slabs in use have an owner.
bool IsSlab(const core::SliceDescriptor& slice) {
  return slice.owner.load(std::memory_order_relaxed) != nullptr;
}

Place PlaceOf(uintptr_t address) {
  const core::SliceDescriptor* slice = core::heap_state.FindSlice(address);
  if (slice == nullptr) return {};
  if (IsSlab(*slice)) return PlaceInSlab(*slice, address);
  if (slice->use == core::SliceUse::kZeroSize) {
    Place place = PlaceInSlab(*slice, address);
    place.size = 0;
    return place;
  }
  const core::Run* run = core::LiveRunAt(address);
  if (run == nullptr) return {};
  return {true, active_features->exact_size ? run->requested : run->capacity(),
          address - run->data};
}

// Of everything but slots of the cage.
ABSL_ATTRIBUTE_NOINLINE size_t BytesFromSlow(uintptr_t address) { return PlaceOf(address).room(); }

}  // namespace

// Detects: every call that would pass the end of a live allocation, before it does.
// Misses:  allocations that were freed: the heap itself clears them through the functions that ask.
// Cost:    two loads that free() makes as well, and two multiplications.
size_t BytesFrom(uintptr_t address) {
  const uintptr_t distance = address - core::heap_constants->cage_base;
  if (distance >= core::heap_constants->cage_bytes) {
    return core::heap_state.arena_count() <= 1 ? kNoBound : BytesFromSlow(address);
  }
  const core::SliceDescriptor& slice =
      core::heap_constants->cage_slices[distance >> core::kSliceShift];
  if (ABSL_PREDICT_FALSE(!IsSlab(slice))) return BytesFromSlow(address);
  return PlaceInSlab(slice, address).room();
}

void ReportOverflow(const char* function, uintptr_t address, size_t bytes, Access access) {
  const Place place = PlaceOf(address);
  const size_t room = place.room() < bytes ? place.room() : bytes;
  prim::CorruptionReport report = DescribeAddress(address, function);
  report.kind = prim::CorruptionKind::kOverflowingCall;
  report.slot_start = address - place.offset;
  report.requested_size = place.size;
  prim::RawWriter detail;
  detail.Text(access == Access::kWrite ? "writes " : "reads ").Decimal(bytes).Text(" bytes, ");
  detail.Decimal(bytes - room).Text(" too many").Char('\0');
  report.detail = detail.view().data();
  HandleEvent(report);
}

}  // namespace hardened
