#include "hardened/zero_size.h"

#include <new>

#include "hardened/core/heap_state.h"
#include "hardened/prim/system_info.h"

namespace hardened {

constinit ZeroSizeSlots zero_size_slots;

core::Slab* ZeroSizeSlots::NewSlab() {
  constexpr core::SizeClass kClass = 0;
  const unsigned record_shift = core::heap_constants->options.record_shift;
  const core::ArenaSpan span =
      core::heap_state.AllocateSpan(core::SpanPurpose::kSlabs, core::SlabSlices(kClass));
  if (span.arena == nullptr) return nullptr;
  core::Arena* metadata_arena = nullptr;
  void* block = core::heap_state.AllocateMetadata(core::Slab::MetadataBytes(kClass, record_shift),
                                                  &metadata_arena);
  if (block == nullptr) {
    span.arena->FreeSpan(span.first, !span.zero, prim::CoarseMilliseconds());
    return nullptr;
  }
  core::Slab* slab = ::new (block) core::Slab;
  slab->Initialise(*span.arena, *metadata_arena, span.first, kClass, record_shift, span.zero);
  span.arena->pages().InstallGuard(reinterpret_cast<void*>(slab->base()),
                                   core::SlabSlices(kClass) * core::kSliceSize,
                                   prim::GuardChange::kWhole);
  slab->generation = core::heap_state.generation();
  core::DescribeSlab(*slab, /*owner=*/nullptr);
  for (uint32_t i = 0; i < core::SlabSlices(kClass); ++i) {
    span.arena->slices()[span.first + i].use = core::SliceUse::kZeroSize;
  }
  return slab;
}

void ZeroSizeSlots::MendInChild() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  if (lock_.ForkReset()) return;
  with_free_slots_ = nullptr;
  first_generation_ = core::heap_state.generation();
}

void ZeroSizeSlots::Reseed() {
  const prim::LockGuard guard(lock_);
  if (random_ != nullptr) core::heap_state.SeedStream(*random_);
}

core::MagazineEntry ZeroSizeSlots::Allocate() {
  const prim::LockGuard guard(lock_);
  if (random_ == nullptr) random_ = core::heap_state.NewStream(core::DrawsInChild::kOther);
  if (random_ == nullptr) return {};
  // Looked at once: below a signal handler that forks, the list may become empty (MendInChild).
  core::Slab* slab = with_free_slots_;
  if (slab == nullptr) slab = NewSlab();
  if (slab == nullptr) return {};
  core::MagazineEntry entry = {};
  slab->Draw(core::Placement{}, *random_, 1, &entry);
  slab->listed = slab->free_count() != 0;
  with_free_slots_ = slab->listed ? slab : slab->next;
  live_.fetch_add(1, std::memory_order_relaxed);
  allocations_.fetch_add(1, std::memory_order_relaxed);
  return entry;
}

void ZeroSizeSlots::Free(core::SliceDescriptor& slice, const core::MagazineEntry& entry) {
  const prim::LockGuard guard(lock_);
  core::Slab* slab = core::Slab::OfRecords(slice.records);
  live_.fetch_sub(1, std::memory_order_relaxed);
  if (slab->generation < first_generation_) return;
  slab->Return(slab->IndexOfRecord(entry.record));
  if (slab->listed) return;
  slab->listed = true;
  slab->next = with_free_slots_;
  with_free_slots_ = slab;
}

}  // namespace hardened
