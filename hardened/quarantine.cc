#include "hardened/quarantine.h"

#include "hardened/damage.h"
#include "hardened/wipe.h"

namespace hardened {

bool Quarantine::Initialise(const QuarantineLimits& limits, size_t wipe_limit, bool checked_later) {
  // One place more than can be held, since a full ring must not look empty, and those that a block
  // leaves empty until the next is cut.
  const size_t places = limits.capacity() + 1 + kBlock;
  void* memory = core::heap_state.AllocateMetadata(places * sizeof(Held));
  if (memory == nullptr) return false;
  begin_ = static_cast<Held*>(memory);
  end_ = begin_ + places;
  limits_ = &limits;
  wipe_limit_ = static_cast<uint32_t>(wipe_limit);
  checked_later_ = checked_later;
  Reset();
  return true;
}

void Quarantine::Reset() {
  next_ = oldest_ = block_ = begin_;
  block_size_ = 0;
  budget_ = static_cast<int64_t>(limits_->bytes);
  until_check_ = limits_->check_interval;
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

bool Quarantine::CutBlock() {
  if (oldest_ == end_) oldest_ = begin_;
  if (oldest_ == next_) return false;
  const bool wraps = next_ < oldest_;
  const size_t contiguous = static_cast<size_t>((wraps ? end_ : next_) - oldest_);
  const size_t size = wraps ? contiguous + static_cast<size_t>(next_ - begin_) : contiguous;
  const size_t third = size / 3 + 1;
  const size_t wanted = third < kBlock ? third : kBlock;
  block_ = oldest_;
  block_size_ = static_cast<uint32_t>(wanted < contiguous ? wanted : contiguous);
  oldest_ += block_size_;
  return true;
}

uint32_t Quarantine::Leave(core::ThreadHeap& heap, uint32_t most, int64_t budget,
                           bool into_magazines) {
  const unsigned record_shift = core::heap_constants->options.record_shift;
  prim::RandomStream& random = heap.random();
  uint32_t left = 0;
  // Copies, which the stores below cannot change.
  int64_t now = budget_;
  Held* block = block_;
  uint32_t block_size = block_size_;
  for (; left < most && now < budget; ++left) {
    if (ABSL_PREDICT_FALSE(block_size == 0)) {
      if (!CutBlock()) break;
      block = block_;
      block_size = block_size_;
    }
    Held& drawn = block[random.Below16(block_size)];
    const Held held = drawn;
    drawn = block[--block_size];
    const core::SizeClass size_class = ClassOf(held);
    const size_t size = core::kSlotSizes[size_class];
    now += static_cast<int64_t>(limits_->WeightOf(size));
    const uintptr_t address = AddressOf(held);
    const core::SliceDescriptor& slice = *core::heap_state.FindSlice(address);
    const uint32_t index = slice.IndexOf(address);
    const core::MagazineEntry slot = {reinterpret_cast<void*>(address),
                                      &slice.RecordAt(index, record_shift)};
    // Both are written next by the allocation that gets the slot.
    __builtin_prefetch(slot.slot, 1);
    __builtin_prefetch(slot.record, 1);
    core::Magazine& magazine = heap.magazines[size_class];
    const bool to_magazine = into_magazines && magazine.top != magazine.limit;
    if (limits_->check_interval != 0 && !(to_magazine && checked_later_) && --until_check_ == 0) {
      until_check_ = limits_->check_interval;
      // A damaged slot is filed nowhere: somebody still has a pointer to it.
      if (!CheckStillZero(slot.slot, size)) continue;
    }
    if (to_magazine) {
      *++magazine.top = slot;
    } else {
      heap.ReturnSlot(slice, index);
    }
  }
  budget_ = now;
  block_size_ = block_size;
  return left;
}

void Quarantine::Evict(core::ThreadHeap& heap) {
  // Some more than must leave, so that this is not done for each free. A big slot may have to push
  // out many small ones.
  const int64_t spare = static_cast<int64_t>(limits_->bytes / 64);
  do {
    Leave(heap, kBatch, spare, /*into_magazines=*/true);
  } while (budget_ < 0);
}

void Quarantine::Drain(core::ThreadHeap& heap) {
  while (Leave(heap, kBatch, INT64_MAX, /*into_magazines=*/false) > 0) {
  }
}

void Quarantine::CountHeld(uint64_t* slots, uint64_t* bytes) const {
  const auto add = [&](Held held) {
    *bytes += core::SlotSize(ClassOf(held));
    ++*slots;
  };
  for (const Held* at = oldest_ == end_ ? begin_ : oldest_; at != next_;
       at = at + 1 == end_ ? begin_ : at + 1) {
    add(*at);
  }
  for (uint32_t i = 0; i < block_size_; ++i) add(block_[i]);
}

}  // namespace hardened
