#include "hardened/object_bounds.h"

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "hardened/bad_pointer.h"
#include "hardened/core/heap_state.h"
#include "hardened/core/run.h"
#include "hardened/events.h"
#include "hardened/heap_plugs.h"
#include "hardened/prim/raw_writer.h"

namespace hardened {
namespace {

struct Object {
  uintptr_t start = 0;  // 0: there is none
  size_t size = 0;
};

// Requires: the slice is that of a slab in use.
ABSL_ATTRIBUTE_ALWAYS_INLINE inline Object SlotAt(const core::SliceDescriptor& slice,
                                                  uintptr_t address) {
  const uint32_t offset = static_cast<uint32_t>(address) - slice.base_low;
  const uint64_t index = core::SlotIndexAt(offset, slice.size_class);
  if (ABSL_PREDICT_FALSE(index >= slice.slot_count)) return {};
  const core::RecordValue record =
      slice.RecordAt(static_cast<uint32_t>(index), core::heap_constants->options.record_shift)
          .load(std::memory_order_relaxed);
  if (ABSL_PREDICT_FALSE(!core::IsLive(record))) return {};
  const size_t size = core::kSlotSizes[slice.size_class];
  return {address - (offset - index * size), size - core::SlackOf(record)};
}

ABSL_ATTRIBUTE_NOINLINE Object ObjectAtSlow(const core::SliceDescriptor& slice, uintptr_t address) {
  if (!slice.released && slice.use == core::SliceUse::kZeroSize) {
    Object object = SlotAt(slice, address);
    object.size = 0;
    return object;
  }
  const core::Run* run = core::LiveRunAt(address);
  if (run == nullptr) return {};
  return {run->data, active_features->exact_size ? run->requested : run->capacity()};
}

ABSL_ATTRIBUTE_ALWAYS_INLINE inline Object ObjectAt(uintptr_t address) {
  const core::SliceDescriptor* slice = core::heap_state.FindSlice(address);
  if (slice == nullptr) return {};
  if (ABSL_PREDICT_TRUE(slice->use == core::SliceUse::kSlab && !slice->released)) {
    return SlotAt(*slice, address);
  }
  return ObjectAtSlow(*slice, address);
}

}  // namespace

// Detects: every call that would pass the end of a live allocation, before it does.
// Misses:  allocations that were freed: the heap itself clears them through the functions that ask.
// Cost:    two loads that free() makes as well, and a multiplication.
size_t BytesFrom(uintptr_t address) {
  const Object object = ObjectAt(address);
  if (object.start == 0) return kNoBound;
  const size_t offset = address - object.start;  // in front of a run's data: beyond every size
  return offset < object.size ? object.size - offset : 0;
}

void ReportOverflow(const char* function, uintptr_t address, size_t bytes, Access access) {
  const Object object = ObjectAt(address);
  const size_t room = BytesFrom(address);
  prim::CorruptionReport report = DescribeAddress(address, function);
  report.kind = prim::CorruptionKind::kOverflowingCall;
  report.slot_start = object.start;
  report.requested_size = object.size;
  prim::RawWriter detail;
  detail.Text(access == Access::kWrite ? "writes " : "reads ").Decimal(bytes).Text(" bytes, ");
  detail.Decimal(bytes - (room < bytes ? room : bytes)).Text(" too many").Char('\0');
  report.detail = detail.view().data();
  HandleEvent(report);
}

}  // namespace hardened
