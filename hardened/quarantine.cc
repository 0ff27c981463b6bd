#include "hardened/quarantine.h"

#include <algorithm>
#include <bit>

#include "absl/base/optimization.h"
#include "hardened/damage.h"
#include "hardened/wipe.h"

namespace hardened {
namespace {

// A class has about so many blocks in the queue.
constexpr uint32_t kManyQueued = 2;
constexpr uint32_t kFewQueued = 0;
// Shares of the budget: of the longest block, and of the first of a class.
constexpr size_t kLongestShare = 6;
constexpr size_t kFirstShare = 64;
// Blocks of so many slots, as a power of two, are copied into the magazine rather than become it.
constexpr uint8_t kShortShift = 3;
// Slots ahead that are brought into the cache while a block is checked.
constexpr uint32_t kAhead = 8;

// The first of the slots `from` to `count` that is not zero, count + 1 when all are. What lies
// ahead is brought into the cache for its next life. Requires: kAhead more entries, which may be
// null.
template <size_t kSize>
uint32_t FirstDamagedOf(const core::MagazineEntry* entries, uint32_t from, uint32_t count,
                        size_t size) {
  const core::MagazineEntry* at = entries + from;
  const core::MagazineEntry* const end = entries + count;
  for (; at <= end; ++at) {
    __builtin_prefetch(at[kAhead].slot, 1);
    if (ABSL_PREDICT_FALSE(!IsZero(at->slot, kSize != 0 ? kSize : size))) break;
  }
  return static_cast<uint32_t>(at - entries);
}

// The same, with a loop of its own for each of the smallest sizes.
uint32_t FirstDamaged(const core::MagazineEntry* entries, uint32_t from, uint32_t count,
                      size_t size) {
  using Function = uint32_t(const core::MagazineEntry*, uint32_t, uint32_t, size_t);
  static constexpr Function* kBySize[] = {
      FirstDamagedOf<0>,  FirstDamagedOf<16>,  FirstDamagedOf<32>,
      FirstDamagedOf<48>, FirstDamagedOf<64>,  FirstDamagedOf<80>,
      FirstDamagedOf<96>, FirstDamagedOf<112>, FirstDamagedOf<128>};
  const size_t units = size / core::kSlotAlignment;
  return kBySize[units < std::size(kBySize) ? units : 0](entries, from, count, size);
}

}  // namespace

void Quarantine::List::Append(Block* block) {
  block->next = nullptr;
  (oldest == nullptr ? oldest : newest->next) = block;
  newest = block;
}

Quarantine::Block* Quarantine::List::Take() {
  Block* const block = oldest;
  if (block != nullptr) oldest = block->next;
  return block;
}

bool Quarantine::Initialise(const QuarantineLimits& limits, size_t wipe_limit, bool checked_later) {
  constexpr size_t kLines = core::kSizeClassCount * sizeof(Line);
  void* memory = core::heap_state.AllocateMetadata(kLines + sizeof(*spare_));
  if (memory == nullptr) return false;
  lines_ = static_cast<Line*>(memory);
  spare_ = reinterpret_cast<std::array<Block*, kMaxShift + 1>*>(lines_ + core::kSizeClassCount);
  limits_ = &limits;
  wipe_limit_ = static_cast<uint32_t>(wipe_limit);
  checked_later_ = checked_later;
  until_check_ = 1;
  return true;
}

uint32_t Quarantine::WeightOf(core::SizeClass size_class) const {
  return limits_->WeightOf(core::kSlotSizes[size_class]);
}

int64_t Quarantine::WeightOf(const Block& block) const {
  return int64_t{WeightOf(block.size_class)} << block.shift;
}

uint8_t Quarantine::MostShift(core::SizeClass size_class) const {
  const size_t slots = limits_->bytes / kLongestShare / WeightOf(size_class);
  return static_cast<uint8_t>(std::min<unsigned>(std::bit_width(slots | 1) - 1, kMaxShift));
}

uint8_t Quarantine::LeastShift(core::SizeClass size_class) const {
  const size_t slots = limits_->bytes / kFirstShare / WeightOf(size_class);
  return static_cast<uint8_t>(std::min<unsigned>(std::bit_width(slots | 1) - 1, kMaxShift));
}

size_t Quarantine::BlockBytes(unsigned shift) {
  // Besides the slots a stop, and what FirstDamaged() looks ahead.
  return sizeof(Block) + ((size_t{1} << shift) + 1 + kAhead) * sizeof(core::MagazineEntry);
}

Quarantine::Block* Quarantine::NewBlock(unsigned shift) {
  Block*& spare = (*spare_)[shift];
  Block* block = spare;
  if (block != nullptr) {
    spare = block->next;
    return block;
  }
  core::Arena* arena = nullptr;
  block = static_cast<Block*>(core::heap_state.AllocateMetadata(BlockBytes(shift), &arena));
  if (block == nullptr) return nullptr;
  block->metadata_arena = arena;
  block->shift = static_cast<uint8_t>(shift);
  return block;
}

void Quarantine::Spare(Block* block) {
  Block*& spare = (*spare_)[block->shift];
  block->next = spare;
  spare = block;
}

uint32_t Quarantine::Add(core::ThreadHeap& heap, core::MagazineEntry slot,
                         core::SizeClass size_class) {
  core::Magazine& magazine = heap.magazines[size_class];
  if (magazine.hold != magazine.hold_end) {
    *magazine.hold++ = slot;
    return 0;
  }
  Line& line = lines_[size_class];
  const uint32_t made_way = line.filling != nullptr ? line.filling->capacity() : 0;
  StopFilling(heap, size_class);
  if (line.queued > kManyQueued) {
    line.shift = std::min<uint8_t>(line.shift + 1, MostShift(size_class));
  } else if (line.queued <= kFewQueued) {
    const uint8_t least = LeastShift(size_class);
    line.shift = line.shift > least ? line.shift - 1 : least;
  }
  Block* const block = NewBlock(line.shift);
  if (block == nullptr) {
    // No memory to hold it with.
    const core::ThreadHeap::SlowSide slow_side(heap);
    heap.ReturnSlot(slot, size_class);
    return made_way;
  }
  block->size_class = size_class;
  line.filling = block;
  magazine.hold = block->entries + 1;
  magazine.hold_end = magazine.hold + block->capacity();
  *magazine.hold++ = slot;
  held_ += WeightOf(*block);
  Ripen(heap, size_class);
  return made_way;
}

void Quarantine::StopFilling(core::ThreadHeap& heap, core::SizeClass size_class) {
  Line& line = lines_[size_class];
  Block* const block = line.filling;
  if (block == nullptr) return;
  core::Magazine& magazine = heap.magazines[size_class];
  block->count = static_cast<uint32_t>(magazine.hold - block->entries - 1);
  magazine.hold = magazine.hold_end = nullptr;
  line.filling = nullptr;
  line.filled = 0;
  if (block->count == 0) {
    held_ -= WeightOf(*block);
    return Spare(block);
  }
  queue_.Append(block);
  ++line.queued;
  line.queued_slots += block->count;
}

Quarantine::Block* Quarantine::TakeOldest() {
  Block* const block = queue_.Take();
  if (block == nullptr) return nullptr;
  held_ -= WeightOf(*block);
  Line& line = lines_[block->size_class];
  --line.queued;
  line.queued_slots -= block->count;
  return block;
}

void Quarantine::StopFillingOthers(core::ThreadHeap& heap, core::SizeClass size_class) {
  for (unsigned c = 0; c < core::kSizeClassCount; ++c) {
    if (c != size_class) StopFilling(heap, static_cast<core::SizeClass>(c));
  }
}

void Quarantine::Ripen(core::ThreadHeap& heap, core::SizeClass filling) {
  const int64_t budget = static_cast<int64_t>(limits_->bytes);
  while (held_ > budget) {
    Block* block = TakeOldest();
    if (block == nullptr) {
      // Many classes with a few large slots each.
      StopFillingOthers(heap, filling);
      block = TakeOldest();
      if (block == nullptr) return;
    }
    if (block->shift <= kShortShift && MoveToMagazine(heap, *block)) {
      Spare(block);
      continue;
    }
    Line& line = lines_[block->size_class];
    line.ripe.Append(block);
    line.ripe_slots += block->count;
    // One block may always wait.
    while (line.ripe.oldest->next != nullptr &&
           line.ripe_slots > core::MagazineCapacity(block->size_class)) {
      Block* const leaving = line.ripe.Take();
      line.ripe_slots -= leaving->count;
      Dissolve(heap, leaving);
    }
  }
}

void Quarantine::StopServing(core::ThreadHeap& heap, core::SizeClass size_class) {
  Line& line = lines_[size_class];
  if (line.serving == nullptr) return;
  heap.UseOwnMagazine(size_class);
  Spare(line.serving);
  line.serving = nullptr;
}

bool Quarantine::MoveToMagazine(core::ThreadHeap& heap, Block& block) {
  core::Magazine& magazine = heap.magazines[block.size_class];
  if (magazine.count() == 0) StopServing(heap, block.size_class);
  if (magazine.bottom != magazine.own || magazine.limit - magazine.top < block.count) return false;
  MakeFit(heap, block);
  std::copy_n(block.entries + 1, block.count, magazine.top + 1);
  magazine.top += block.count;
  return true;
}

bool Quarantine::Refill(core::ThreadHeap& heap, core::SizeClass size_class) {
  Line& line = lines_[size_class];
  core::Magazine& magazine = heap.magazines[size_class];
  StopServing(heap, size_class);
  for (Block* block; (block = line.ripe.Take()) != nullptr; Spare(block)) {
    line.ripe_slots -= block->count;
    MakeFit(heap, *block);
    if (block->count == 0) continue;
    line.serving = block;
    magazine.bottom = block->entries;
    magazine.top = magazine.limit = block->entries + block->count;
    return true;
  }
  return false;
}

void Quarantine::MakeFit(core::ThreadHeap& heap, Block& block) {
  if (!checked_later_) Check(block);
  Shuffle(block, heap.random());
}

void Quarantine::Check(Block& block) {
  // Detects: a write through a stale pointer while the slot was held.
  // Misses:  slots that are not looked at, and a write after this look; the latter is found by
  //          Features::check_on_allocate.
  // Cost:    one pass over the slot, which also brings it into the cache for its next life.
  const size_t size = core::kSlotSizes[block.size_class];
  const uint32_t interval = limits_->check_interval;
  if (size > wipe_limit_ || interval == 0) return;
  core::MagazineEntry* const entries = block.entries;
  uint32_t i = until_check_;
  for (;;) {
    i = interval == 1 ? FirstDamaged(entries, i, block.count, size) : i;
    if (i > block.count) break;
    if (interval != 1 && IsZero(entries[i].slot, size)) {
      i += interval;
      continue;
    }
    ReportWriteAfterFree(entries[i].slot, size, "quarantine");
    // The order is of no account yet.
    entries[i] = entries[block.count--];
  }
  until_check_ = i - block.count;
}

void Quarantine::Shuffle(Block& block, prim::RandomStream& random) {
  // R. Durstenfeld, "Algorithm 235: Random permutation", CACM 7(7), 1964.
  core::MagazineEntry* const entries = block.entries + 1;
  uint32_t last = block.count;
  // Exchanged as vectors, each in one move.
  const auto at = [entries](uint32_t i) { return reinterpret_cast<WipeUnit*>(entries + i); };
  const auto draw = [&](uint64_t bits) {
    WipeUnit* const drawn = at(random.Below16(last, static_cast<uint16_t>(bits)));
    --last;
    const WipeUnit held = *drawn;
    *drawn = *at(last);
    *at(last) = held;
  };
  while (last >= 4) {
    const uint64_t bits = random.Next64();
    draw(bits);
    draw(bits >> 16);
    draw(bits >> 32);
    draw(bits >> 48);
  }
  while (last > 1) draw(random.Next16());
}

void Quarantine::Dissolve(core::ThreadHeap& heap, Block* block) {
  Check(*block);
  const core::ThreadHeap::SlowSide slow_side(heap);
  heap.ReturnToSlabs(block->entries + 1, block->count);
  Spare(block);
}

void Quarantine::DissolveRipe(core::ThreadHeap& heap, Line& line) {
  for (Block* block; (block = line.ripe.Take()) != nullptr;) Dissolve(heap, block);
  line.ripe_slots = 0;
}

void Quarantine::Groom(core::ThreadHeap& heap) {
  for (unsigned c = 0; c < core::kSizeClassCount; ++c) {
    Line& line = lines_[c];
    const core::SizeClass size_class = static_cast<core::SizeClass>(c);
    const uint64_t allocations = heap.AllocationsOf(size_class);
    if (allocations == line.allocations) DissolveRipe(heap, line);
    line.allocations = allocations;
    if (line.filling == nullptr) continue;
    const uint32_t filled =
        static_cast<uint32_t>(heap.magazines[c].hold - line.filling->entries - 1);
    if (filled == line.filled) StopFilling(heap, size_class);
    line.filled = line.filling != nullptr ? filled : 0;
  }
}

void Quarantine::Drain(core::ThreadHeap& heap) {
  const core::ThreadHeap::SlowSide slow_side(heap);
  StopFillingOthers(heap, core::kSizeClassCount);
  for (Block* block; (block = TakeOldest()) != nullptr;) Dissolve(heap, block);
  for (unsigned c = 0; c < core::kSizeClassCount; ++c) {
    Line& line = lines_[c];
    DissolveRipe(heap, line);
    if (heap.magazines[c].count() == 0) {
      StopServing(heap, static_cast<core::SizeClass>(c));
    }
    line.shift = 0;
    line.allocations = heap.AllocationsOf(static_cast<core::SizeClass>(c));
  }
  for (Block*& spare : *spare_) {
    while (spare != nullptr) {
      Block* const block = spare;
      spare = block->next;
      block->metadata_arena->FreeMetadata(block, BlockBytes(block->shift));
    }
  }
}

void Quarantine::CountHeld(const core::ThreadHeap& heap, uint64_t* slots, uint64_t* bytes) const {
  // No block is looked at: the owner may give it back at this moment.
  for (unsigned c = 0; c < core::kSizeClassCount; ++c) {
    const Line& line = lines_[c];
    const core::Magazine& magazine = heap.magazines[c];
    uint64_t count = uint64_t{line.queued_slots} + line.ripe_slots;
    if (line.filling != nullptr) {
      const uint64_t capacity = uint64_t{1} << line.shift;
      const uint64_t room = static_cast<uint64_t>(magazine.hold_end - magazine.hold);
      if (room <= capacity) count += capacity - room;
    }
    *slots += count;
    *bytes += count * core::SlotSize(static_cast<core::SizeClass>(c));
  }
}

}  // namespace hardened
