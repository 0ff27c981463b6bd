#include "hardened/quarantine.h"

#include "hardened/damage.h"
#include "hardened/wipe.h"

namespace hardened {

bool Quarantine::Initialise(const QuarantineLimits& limits, size_t wipe_limit) {
  // One entry more than can be held: a full ring must not look empty.
  const size_t entries = limits.capacity() + 1;
  void* block = core::heap_state.AllocateMetadata(entries * sizeof(Entry));
  if (block == nullptr) return false;
  begin_ = next_ = oldest_ = static_cast<Entry*>(block);
  end_ = begin_ + entries;
  budget_ = static_cast<int64_t>(limits.bytes);
  least_weight_ = static_cast<uint32_t>(limits.least_weight);
  wipe_limit_ = static_cast<uint32_t>(wipe_limit);
  return true;
}

void Quarantine::Release(const core::MagazineEntry& slot, size_t size) const {
  const bool wiped = size <= wipe_limit_;
  // Detects: a write through a stale pointer while the slot was held.
  // Misses:  one after this look; Features::check_on_allocate looks again.
  // Cost:    one pass over the slot, which also brings it into the cache for its next life.
  if (wiped && !IsZero(slot.slot, size)) ReportWriteAfterFree(slot.slot, size, "quarantine");
  slot.record->store(wiped ? core::kFreedZeroRecord : core::kFreedRecord,
                     std::memory_order_relaxed);
}

Quarantine::Entry Quarantine::TakeOne(core::ThreadHeap& heap, uint64_t available) {
  const uint64_t window = available < kWindow ? available : kWindow;
  const int64_t pick = heap.random().Below(static_cast<uint32_t>(window));
  Entry* chosen = oldest_ + pick;
  if (chosen >= end_) chosen -= end_ - begin_;
  const Entry entry = *chosen;
  *chosen = *oldest_;
  oldest_ = oldest_ + 1 == end_ ? begin_ : oldest_ + 1;
  return entry;
}

void Quarantine::Leave(core::ThreadHeap& heap, uint64_t batch, bool into_magazines) {
  core::MagazineEntry to_slabs[kBatch];
  while (batch > 0) {
    uint64_t available = count();
    if (available == 0) return;
    uint32_t homeless = 0;
    for (; batch > 0 && available > 0 && homeless < kBatch; --batch, --available) {
      const Entry entry = TakeOne(heap, available);
      const core::SizeClass size_class =
          static_cast<core::SizeClass>(entry.slot_and_class >> kClassShift);
      const core::MagazineEntry slot = {
          reinterpret_cast<void*>(entry.slot_and_class & ((uint64_t{1} << kClassShift) - 1)),
          entry.record};
      const size_t size = core::SlotSize(size_class);
      budget_ += static_cast<int64_t>(size > least_weight_ ? size : least_weight_);
      Release(slot, size);
      core::Magazine& magazine = heap.magazines[size_class];
      if (into_magazines && magazine.top != magazine.limit) {
        *++magazine.top = slot;
      } else {
        to_slabs[homeless++] = slot;
      }
    }
    heap.ReturnToSlabs(to_slabs, homeless);
  }
}

void Quarantine::Evict(core::ThreadHeap& heap) {
  // A big slot may have to push out many small ones.
  do {
    Leave(heap, kBatch, /*into_magazines=*/true);
  } while (budget_ < 0);
}

void Quarantine::Drain(core::ThreadHeap& heap) { Leave(heap, count(), /*into_magazines=*/false); }

uint64_t Quarantine::bytes() const {
  uint64_t sum = 0;
  for (const Entry* entry = oldest_; entry != next_;
       entry = entry + 1 == end_ ? begin_ : entry + 1) {
    sum += core::SlotSize(static_cast<core::SizeClass>(entry->slot_and_class >> kClassShift));
  }
  return sum;
}

}  // namespace hardened
