#include "hardened/quarantine.h"

#include <algorithm>
#include <bit>

#include "absl/base/optimization.h"
#include "hardened/damage.h"
#include "hardened/wipe.h"

namespace hardened {
namespace {

// A block is so large a share of what its class has waiting.
constexpr uint32_t kWaitingShare = 4;
// The longest block may hold so large a share of the budget.
constexpr size_t kLongestShare = 6;
// Slots ahead that are brought into the cache while a block is looked at.
constexpr uint32_t kAhead = 8;

// The first of the slots `from` to `count` that is not zero, count + 1 when all are. What lies
// ahead is brought into the cache for its next life. Requires: kAhead more entries, which may be
// null.
template <size_t kSize>
uint32_t FirstDamagedOf(const core::MagazineEntry* entries, uint32_t from, uint32_t count,
                        size_t size) {
  if constexpr (kSize != 0) size = kSize;
  const core::MagazineEntry* at = entries + from;
  const core::MagazineEntry* const end = entries + count;
  const auto look = [&](ptrdiff_t i) {
    __builtin_prefetch(at[i + kAhead].slot, 1);
    if constexpr (kSize != 0) return UnionInline(at[i].slot, size);
    return WipeUnit{uint64_t{!IsZero(at[i].slot, size)}};
  };
  // Four at a time, as long as all of them are zero.
  for (; end - at >= 3; at += 4) {
    WipeUnit any = look(0);
    any |= look(1);
    any |= look(2);
    any |= look(3);
    if (ABSL_PREDICT_FALSE((any[0] | any[1]) != 0)) break;
  }
  while (at <= end && IsZero(at->slot, size)) ++at;
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
  mixed_room_ = MixedMost();
  for (unsigned c = 0; c < core::kSizeClassCount; ++c) {
    Line& line = lines_[c];
    constexpr uint32_t kShort = 1u << kShortShift;
    line.weight = limits.WeightOf(core::kSlotSizes[c]);
    line.own_from =
        uint64_t{line.weight} * kShort <= limits.bytes / kOpenShare ? kShort : UINT32_MAX;
    line.deserted_at = UINT64_MAX;
  }
  return true;
}

unsigned Quarantine::NextShift(const Line& line) const {
  if (line.waiting < kWaitingShare << (kShortShift + 1)) return kShortShift;
  const size_t open_most = limits_->bytes / kOpenShare;
  const size_t room = open_ < open_most ? open_most - open_ : 0;
  const size_t most = std::min(limits_->bytes / kLongestShare, room) / line.weight;
  const size_t slots = std::min<size_t>(line.waiting / kWaitingShare, most);
  return std::clamp<unsigned>(std::bit_width(slots | 1) - 1, kShortShift, kMaxShift);
}

size_t Quarantine::BlockBytes(unsigned shift) {
  // Besides the slots a stop, and what FirstDamaged() looks ahead.
  return sizeof(Block) + ((size_t{1} << shift) + 1 + kAhead) * sizeof(core::MagazineEntry);
}

Quarantine::Block* Quarantine::NewBlock(unsigned shift, core::SizeClass size_class) {
  Block*& spare = (*spare_)[shift];
  Block* block = spare;
  if (block != nullptr) {
    spare = block->next;
  } else {
    core::Arena* arena = nullptr;
    block = static_cast<Block*>(core::heap_state.AllocateMetadata(BlockBytes(shift), &arena));
    if (block == nullptr) return nullptr;
    block->metadata_arena = arena;
    block->shift = static_cast<uint8_t>(shift);
  }
  block->count = 0;
  block->size_class = size_class;
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
  StopFilling(heap, size_class);
  if (lines_[size_class].waiting >= lines_[size_class].own_from && StartBlock(heap, size_class)) {
    *magazine.hold++ = slot;
  } else if (!AddToMixed(slot, size_class)) {
    StopFillingMixed();
    if (!StartMixed() || !AddToMixed(slot, size_class)) {
      // No memory to hold it with.
      const core::ThreadHeap::SlowSide slow_side(heap);
      heap.ReturnSlot(slot, size_class);
    }
  }
  return Ripen(heap);
}

bool Quarantine::StartBlock(core::ThreadHeap& heap, core::SizeClass size_class) {
  Line& line = lines_[size_class];
  Block* const block = NewBlock(NextShift(line), size_class);
  if (block == nullptr) return false;
  line.filling = block;
  line.shift = block->shift;
  open_ += OpenWeight(line, block->shift);
  core::Magazine& magazine = heap.magazines[size_class];
  magazine.hold = block->entries + 1;
  magazine.hold_end = magazine.hold + block->capacity();
  return true;
}

bool Quarantine::StartMixed() {
  Block* const block = NewBlock(kMixedShift, kMixed);
  if (block == nullptr) return false;
  mixed_ = block;
  mixed_room_ = MixedMost();
  mixed_until_ = freed_ + limits_->bytes / kOpenShare;
  mixed_next_ = block->entries + 1;
  mixed_end_ = mixed_next_ + block->capacity();
  return true;
}

void Quarantine::Enqueue(Block* block, uint64_t weight) {
  freed_ += weight;
  // What joins the queue from now on and was freed before lies in blocks that are being filled.
  block->ripe_at = freed_ + open_ + MixedWeight() + limits_->bytes / 3 * 2;
  queue_.Append(block);
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
  open_ -= OpenWeight(line, block->shift);
  line.waiting += block->count;
  Enqueue(block, uint64_t{line.weight} * block->count);
}

void Quarantine::StopFillingMixed() {
  Block* const block = mixed_;
  if (block == nullptr) return;
  block->count = static_cast<uint32_t>(mixed_next_ - block->entries - 1);
  const uint64_t weight = MixedWeight();
  mixed_ = nullptr;
  mixed_next_ = mixed_end_ = nullptr;
  mixed_room_ = MixedMost();
  Enqueue(block, weight);
}

uint32_t Quarantine::Ripen(core::ThreadHeap& heap) {
  if (freed_ >= mixed_until_) StopFillingMixed();
  uint32_t slots = 0;
  while (queue_.oldest != nullptr && queue_.oldest->ripe_at <= freed_) {
    Block* const block = queue_.Take();
    slots += block->count;
    if (block->size_class == kMixed) {
      Distribute(heap, block);
    } else {
      FileRipe(heap, block);
    }
  }
  return slots;
}

void Quarantine::FileRipe(core::ThreadHeap& heap, Block* block) {
  const core::SizeClass size_class = block->size_class;
  Line& line = lines_[size_class];
  line.waiting -= block->count;
  if (heap.AllocationsOf(size_class) == line.deserted_at) return Dissolve(heap, block);
  if (block->shift == kShortShift && MoveToMagazine(heap, block)) return;
  line.ripe.Append(block);
  line.ripe_slots += block->count;
  // One block may always wait.
  while (line.ripe.oldest->next != nullptr &&
         line.ripe_slots > core::MagazineCapacity(size_class)) {
    Block* const leaving = line.ripe.Take();
    const uint32_t slots = leaving->count;
    line.ripe_slots -= slots;
    Dissolve(heap, leaving);
    const core::ThreadHeap::SlowSide slow_side(heap);
    if (!heap.NoteOverflow(size_class, slots)) continue;
    line.deserted_at = heap.AllocationsOf(size_class);
    return DissolveRipe(heap, line);
  }
}

bool Quarantine::MoveToMagazine(core::ThreadHeap& heap, Block* block) {
  core::Magazine& magazine = heap.magazines[block->size_class];
  if (magazine.limit - magazine.top < block->count) return false;
  if (!checked_later_) Check(*block);
  Shuffle(*block, heap.random());
  std::copy_n(block->entries + 1, block->count, magazine.top + 1);
  magazine.top += block->count;
  Spare(block);
  return true;
}

void Quarantine::Distribute(core::ThreadHeap& heap, Block* block) {
  Shuffle(*block, heap.random());
  core::ThreadHeap::SlowSide slow_side;
  // A copy, which the stores below cannot change.
  Line* const lines = lines_;
  const core::MagazineEntry* const end = block->entries + 1 + block->count;
  for (const core::MagazineEntry* next = block->entries + 1; next != end; ++next) {
    __builtin_prefetch(next[kAhead].slot, 1);
    const core::SizeClass size_class = ClassOf(*next);
    const core::MagazineEntry slot = WithoutClass(*next);
    // Written next by the allocation that gets the slot.
    __builtin_prefetch(slot.record, 1);
    --lines[size_class].waiting;
    const size_t size = core::kSlotSizes[size_class];
    core::Magazine& magazine = heap.magazines[size_class];
    if (ABSL_PREDICT_FALSE(magazine.top == magazine.limit)) {
      slow_side.Enter(heap);
      heap.NoteOverflow(size_class, 1);
      if (size > wipe_limit_ || IsStillZero(slot.slot, size)) heap.ReturnSlot(slot, size_class);
    } else if (checked_later_ || size > wipe_limit_ || IsStillZero(slot.slot, size)) {
      *++magazine.top = slot;
    }
  }
  Spare(block);
}

void Quarantine::StopServing(core::ThreadHeap& heap, core::SizeClass size_class) {
  Line& line = lines_[size_class];
  if (line.serving == nullptr) return;
  heap.UseOwnMagazine(size_class);
  Spare(line.serving);
  line.serving = nullptr;
}

bool Quarantine::Refill(core::ThreadHeap& heap, core::SizeClass size_class) {
  Line& line = lines_[size_class];
  core::Magazine& magazine = heap.magazines[size_class];
  StopServing(heap, size_class);
  for (Block* block; (block = line.ripe.Take()) != nullptr; Spare(block)) {
    line.ripe_slots -= block->count;
    if (!checked_later_) Check(*block);
    Shuffle(*block, heap.random());
    if (block->count == 0) continue;
    line.serving = block;
    magazine.bottom = block->entries;
    magazine.top = magazine.limit = block->entries + block->count;
    return true;
  }
  return false;
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

bool Quarantine::IsStillZero(const void* slot, size_t size) {
  if (limits_->check_interval == 0 || --until_check_ != 0) return true;
  until_check_ = limits_->check_interval;
  if (ABSL_PREDICT_TRUE(IsZero(slot, size))) return true;
  ReportWriteAfterFree(slot, size, "quarantine");
  return false;
}

void Quarantine::Shuffle(Block& block, prim::RandomStream& random) {
  // R. Durstenfeld, "Algorithm 235: Random permutation", CACM 7(7), 1964.
  // Exchanged as vectors, each in one move.
  WipeUnit* const start = reinterpret_cast<WipeUnit*>(block.entries + 1);
  const auto exchange = [start](size_t drawn, WipeUnit* with) {
    const WipeUnit held = start[drawn];
    start[drawn] = *with;
    *with = held;
  };
  WipeUnit* end = start + block.count;
  for (; end - start >= 4; end -= 4) {
    const std::array<uint64_t, 4> drawn = random.FourBelow(static_cast<uint32_t>(end - start));
    exchange(drawn[0], end - 1);
    exchange(drawn[1], end - 2);
    exchange(drawn[2], end - 3);
    exchange(drawn[3], end - 4);
  }
  for (; end - start > 1; --end) {
    exchange(random.Below16(static_cast<uint32_t>(end - start)), end - 1);
  }
}

void Quarantine::Dissolve(core::ThreadHeap& heap, Block* block) {
  const core::ThreadHeap::SlowSide slow_side(heap);
  if (block->size_class == kMixed) {
    for (uint32_t i = 1; i <= block->count; ++i) {
      const core::SizeClass size_class = ClassOf(block->entries[i]);
      const core::MagazineEntry slot = WithoutClass(block->entries[i]);
      const size_t size = core::kSlotSizes[size_class];
      if (size > wipe_limit_ || IsStillZero(slot.slot, size)) heap.ReturnSlot(slot, size_class);
    }
  } else {
    Check(*block);
    heap.ReturnToSlabs(block->entries + 1, block->count);
  }
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
    if (allocations == line.allocations && line.ripe.oldest != nullptr) {
      DissolveRipe(heap, line);
      line.deserted_at = allocations;
    }
    line.allocations = allocations;
    if (line.filling == nullptr) continue;
    const uint32_t filled =
        static_cast<uint32_t>(heap.magazines[c].hold - line.filling->entries - 1);
    if (filled == line.filled) {
      StopFilling(heap, size_class);
    } else {
      line.filled = filled;
    }
  }
}

void Quarantine::Drain(core::ThreadHeap& heap) {
  const core::ThreadHeap::SlowSide slow_side(heap);
  StopFillingMixed();
  for (unsigned c = 0; c < core::kSizeClassCount; ++c) {
    StopFilling(heap, static_cast<core::SizeClass>(c));
  }
  for (Block* block; (block = queue_.Take()) != nullptr;) Dissolve(heap, block);
  for (unsigned c = 0; c < core::kSizeClassCount; ++c) {
    Line& line = lines_[c];
    DissolveRipe(heap, line);
    line.waiting = 0;
    line.deserted_at = UINT64_MAX;
    line.allocations = heap.AllocationsOf(static_cast<core::SizeClass>(c));
    if (heap.magazines[c].count() != 0) continue;
    StopServing(heap, static_cast<core::SizeClass>(c));
    heap.UseOwnMagazine(static_cast<core::SizeClass>(c));
  }
  until_check_ = 1;
  for (Block*& spare : *spare_) {
    while (spare != nullptr) {
      Block* const block = spare;
      spare = block->next;
      block->metadata_arena->FreeMetadata(block, BlockBytes(block->shift));
    }
  }
}

// Reads what the owner writes without synchronisation.
__attribute__((no_sanitize("thread"))) void Quarantine::CountHeld(const core::ThreadHeap& heap,
                                                                  uint64_t* slots,
                                                                  uint64_t* bytes) const {
  // No block is looked at: the owner may give it back at this moment.
  for (unsigned c = 0; c < core::kSizeClassCount; ++c) {
    const Line& line = lines_[c];
    const core::Magazine& magazine = heap.magazines[c];
    uint64_t count = uint64_t{line.waiting} + line.ripe_slots;
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
