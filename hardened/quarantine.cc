#include "hardened/quarantine.h"

#include "hardened/damage.h"
#include "hardened/wipe.h"

namespace hardened {

bool Quarantine::Initialise(const QuarantineLimits& limits, size_t wipe_limit, bool checked_later) {
  // One place more than can be held, since a full ring must not look empty, and those that a block
  // leaves empty until the next is cut.
  const size_t places = limits.capacity() + 1 + kBlock;
  constexpr size_t kWeightBytes = core::kSizeClassCount * sizeof(uint32_t);
  static_assert(kWeightBytes % alignof(Held) == 0);
  void* memory = core::heap_state.AllocateMetadata(kWeightBytes + places * sizeof(Held));
  if (memory == nullptr) return false;
  uint32_t* const weights = static_cast<uint32_t*>(memory);
  for (unsigned c = 0; c < core::kSizeClassCount; ++c) {
    weights[c] = limits.WeightOf(core::kSlotSizes[c]);
  }
  weights_ = weights;
  begin_ = reinterpret_cast<Held*>(weights + core::kSizeClassCount);
  end_ = begin_ + places;
  limits_ = &limits;
  wipe_limit_ = static_cast<uint32_t>(wipe_limit);
  checked_later_ = checked_later;
  Reset();
  return true;
}

void Quarantine::Reset() {
  next_ = oldest_ = block_ = begin_;
  block_size_ = drawn_ = 0;
  budget_ = static_cast<int64_t>(limits_->bytes);
  // At first none, where none is wanted: more slots than a thread frees.
  until_check_ = limits_->check_interval == 0 ? UINT64_MAX : limits_->check_interval;
}

bool Quarantine::CheckStillZero(const void* slot, core::SizeClass size_class) {
  until_check_ = limits_->check_interval;
  // Detects: a write through a stale pointer while the slot was held.
  // Misses:  slots that are not looked at, and a write after this look; the latter is found by
  //          Features::check_on_allocate.
  // Cost:    one pass over the slot, which also brings it into the cache for its next life.
  const size_t size = core::kSlotSizes[size_class];
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

bool Quarantine::Draw(prim::RandomStream& random) {
  if (block_size_ == 0 && !CutBlock()) return false;
  const uint32_t count = block_size_ < kBatch ? block_size_ : kBatch;
  // The first steps of a Fisher-Yates shuffle, from the end.
  Held* const block = block_;
  uint32_t last = block_size_;
  const auto draw = [&](uint64_t bits) {
    Held& drawn = block[random.Below16(last, static_cast<uint16_t>(bits))];
    --last;
    const Held held = drawn;
    drawn = block[last];
    block[last] = held;
  };
  for (uint32_t i = count / 4; i != 0; --i) {
    const uint64_t bits = random.Next64();
    draw(bits);
    draw(bits >> 16);
    draw(bits >> 32);
    draw(bits >> 48);
  }
  for (uint32_t i = count % 4; i != 0; --i) draw(random.Next16());
  drawn_ = count;
  return true;
}

void Quarantine::Evict(core::ThreadHeap& heap) {
  // Some more than must leave, so that this is not done for each free. A big slot may have to push
  // out many small ones.
  const int64_t spare = static_cast<int64_t>(limits_->bytes / 64);
  core::ThreadHeap::SlowSide slow_side;
  do {
    if (drawn_ == 0) Draw(heap.random());
    // Copies, which the stores below cannot change.
    const uint32_t* const weights = weights_;
    int64_t budget = budget_;
    const Held* next = block_ + block_size_;
    const Held* const end = next - drawn_;
    while (next != end && budget < spare) {
      --next;
      const core::MagazineEntry slot = next->slot();
      const core::SizeClass size_class = next->size_class();
      budget += weights[size_class];
      // Both are written next by the allocation that gets the slot.
      __builtin_prefetch(slot.slot, 1);
      __builtin_prefetch(slot.record, 1);
      core::Magazine& magazine = heap.magazines[size_class];
      if (ABSL_PREDICT_FALSE(magazine.top == magazine.limit)) {
        slow_side.Enter(heap);
        heap.NoteOverflow(size_class, 1);
        FileInSlab(heap, slot, size_class);
      } else if (checked_later_ || IsFitForUse(slot, size_class)) {
        *++magazine.top = slot;
      }
    }
    budget_ = budget;
    block_size_ = static_cast<uint32_t>(next - block_);
    drawn_ = static_cast<uint32_t>(next - end);
  } while (budget_ < 0);
}

void Quarantine::Drain(core::ThreadHeap& heap) {
  const core::ThreadHeap::SlowSide slow_side(heap);
  while (drawn_ != 0 || Draw(heap.random())) {
    --drawn_;
    const Held held = block_[--block_size_];
    budget_ += weights_[held.size_class()];
    FileInSlab(heap, held.slot(), held.size_class());
  }
}

void Quarantine::FileInSlab(core::ThreadHeap& heap, core::MagazineEntry slot,
                            core::SizeClass size_class) {
  if (IsFitForUse(slot, size_class)) heap.ReturnSlot(slot, size_class);
}

void Quarantine::CountHeld(uint64_t* slots, uint64_t* bytes) const {
  const auto add = [&](const Held& held) {
    *bytes += core::SlotSize(held.size_class());
    ++*slots;
  };
  for (const Held* at = oldest_ == end_ ? begin_ : oldest_; at != next_;
       at = at + 1 == end_ ? begin_ : at + 1) {
    add(*at);
  }
  for (uint32_t i = 0; i < block_size_; ++i) add(block_[i]);
}

}  // namespace hardened
