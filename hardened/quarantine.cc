#include "hardened/quarantine.h"

#include "hardened/damage.h"
#include "hardened/wipe.h"

namespace hardened {

bool Quarantine::Initialise(const QuarantineLimits& limits, size_t wipe_limit) {
  // One place more than can be held: a full ring must not look empty.
  const size_t places = limits.capacity() + 1;
  void* block = core::heap_state.AllocateMetadata((places + kBlock) * sizeof(Held));
  if (block == nullptr) return false;
  begin_ = next_ = oldest_ = static_cast<Held*>(block);
  end_ = begin_ + places;
  block_ = end_;
  budget_ = static_cast<int64_t>(limits.bytes);
  limits_ = &limits;
  wipe_limit_ = static_cast<uint32_t>(wipe_limit);
  until_check_ = limits.check_interval;
  return true;
}

bool Quarantine::CheckStillZero(const void* slot, size_t size) const {
  // Detects: a write through a stale pointer while the slot was held.
  // Misses:  slots that are not looked at, and a write after this look; the latter is found by
  //          Features::check_on_allocate.
  // Cost:    one pass over the slot, which also brings it into the cache for its next life.
  if (ABSL_PREDICT_TRUE(size > wipe_limit_ || IsZero(slot, size))) return true;
  ReportWriteAfterFree(slot, size, "quarantine");
  return false;
}

void Quarantine::Leave(core::ThreadHeap& heap, const Held* leaving, uint32_t count,
                       bool into_magazines) {
  const unsigned record_shift = core::heap_constants->options.record_shift;
  core::MagazineEntry to_slabs[kBatch];
  uint32_t homeless = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const uintptr_t address = AddressOf(leaving[i]);
    const uint32_t index = static_cast<uint32_t>(leaving[i] >> kIndexShift);
    const core::SliceDescriptor& slice = *core::heap_state.FindSlice(address);
    const core::MagazineEntry slot = {reinterpret_cast<void*>(address),
                                      &slice.RecordAt(index, record_shift)};
    // Both are written next by the allocation that gets the slot.
    __builtin_prefetch(slot.slot, 1);
    __builtin_prefetch(slot.record, 1);
    if (limits_->check_interval != 0 && --until_check_ == 0) {
      until_check_ = limits_->check_interval;
      // A damaged slot is filed nowhere: somebody still has a pointer to it.
      if (!CheckStillZero(slot.slot, core::SlotSize(slice.size_class))) continue;
    }
    core::Magazine& magazine = heap.magazines[slice.size_class];
    if (into_magazines && magazine.top != magazine.limit) {
      *++magazine.top = slot;
    } else {
      to_slabs[homeless++] = slot;
    }
  }
  heap.ReturnToSlabs(to_slabs, homeless);
}

void Quarantine::FillBlock() {
  const uint32_t third = ring_size() / 3 + 1;
  const uint32_t wanted = third < kBlock ? third : kBlock;
  while (block_size_ < wanted && oldest_ != next_) block_[block_size_++] = TakeOldest();
}

Quarantine::Held Quarantine::DrawFromBlock(core::ThreadHeap& heap) {
  Held& drawn = block_[heap.random().Below16(block_size_)];
  const Held held = drawn;
  drawn = block_[--block_size_];
  return held;
}

void Quarantine::Evict(core::ThreadHeap& heap) {
  // A big slot may have to push out many small ones.
  do {
    Held leaving[kBatch];
    uint32_t count = 0;
    int64_t freed = 0;
    while (count < kBatch) {
      if (block_size_ == 0) FillBlock();
      if (block_size_ == 0) break;
      const Held held = DrawFromBlock(heap);
      const core::SliceDescriptor& slice = *core::heap_state.FindSlice(AddressOf(held));
      freed += static_cast<int64_t>(limits_->WeightOf(core::SlotSize(slice.size_class)));
      leaving[count++] = held;
    }
    budget_ += freed;
    Leave(heap, leaving, count, /*into_magazines=*/true);
  } while (budget_ < 0);
}

void Quarantine::Drain(core::ThreadHeap& heap) {
  while (oldest_ != next_) {
    const Held held = TakeOldest();
    Leave(heap, &held, 1, /*into_magazines=*/false);
  }
  for (; block_size_ > 0; --block_size_) {
    Leave(heap, &block_[block_size_ - 1], 1, /*into_magazines=*/false);
  }
  budget_ = static_cast<int64_t>(limits_->bytes);
}

void Quarantine::CountHeld(uint64_t* slots, uint64_t* bytes) const {
  const auto add = [&](Held held) {
    *bytes += core::SlotSize(core::heap_state.FindSlice(AddressOf(held))->size_class);
    ++*slots;
  };
  for (const Held* at = oldest_; at != next_; at = at + 1 == end_ ? begin_ : at + 1) add(*at);
  for (uint32_t i = 0; i < block_size_; ++i) add(block_[i]);
}

}  // namespace hardened
