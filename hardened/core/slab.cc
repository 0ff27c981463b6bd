#include "hardened/core/slab.h"

#include <algorithm>

#include "hardened/prim/check.h"
#include "hardened/prim/system_info.h"

namespace hardened::core {
namespace {

// While at least one slot in this many is free, a slot is drawn by rejection.
constexpr uint32_t kRejectionShare = 8;

}  // namespace

void Slab::Initialise(Arena& arena, Arena& metadata_arena, uint32_t first_slice,
                      SizeClass size_class, unsigned record_shift, bool zero) {
  arena_ = &arena;
  metadata_arena_ = &metadata_arena;
  first_slice_ = first_slice;
  base_ = arena.AddressOf(first_slice);
  size_class_ = size_class;
  record_shift_ = static_cast<uint8_t>(record_shift);
  slot_size_ = static_cast<uint32_t>(SlotSize(size_class));
  slot_count_ = SlotsPerSlab(size_class);
  free_count_ = slot_count_;
  lowest_word_ = 0;
  touched_ = zero ? 0 : slot_count_;
  notice = sparse_from();
  if (!zero) {
    for (uint32_t i = 0; i < slot_count_; ++i) {
      RecordAt(i)->store(kUnusedDirtyRecord, std::memory_order_relaxed);
    }
  }
  uint64_t* words = bitmap();
  for (uint32_t i = 0; i < slot_count_ / 64; ++i) words[i] = ~uint64_t{0};
  if (slot_count_ % 64 != 0) words[slot_count_ / 64] = (uint64_t{1} << slot_count_ % 64) - 1;
}

void Slab::DrawByRejection(prim::RandomStream& random, uint32_t count, MagazineEntry* out) {
  uint64_t* words = bitmap();
  for (uint32_t drawn = 0; drawn < count;) {
    const uint32_t index = random.Below16(slot_count_);
    const uint64_t word = words[index / 64];
    words[index / 64] = word & ~(uint64_t{1} << index % 64);
    // A miss is overwritten: no branch can tell it before.
    out[drawn] = EntryOf(index);
    drawn += word >> index % 64 & 1;
  }
}

void Slab::DrawByShuffle(prim::RandomStream& random, uint32_t count, MagazineEntry* out) {
  uint64_t* words = bitmap();
  uint16_t free_slots[kMaxSlotsPerSlab / kRejectionShare + 1];
  uint32_t listed = 0;
  for (uint32_t word = lowest_word_; listed < free_count_; ++word) {
    for (uint64_t bits = words[word]; bits != 0; bits &= bits - 1) {
      free_slots[listed++] =
          static_cast<uint16_t>(word * 64 + static_cast<uint32_t>(std::countr_zero(bits)));
    }
  }
  // The first steps of a Fisher-Yates shuffle.
  for (uint32_t drawn = 0; drawn < count; ++drawn) {
    const uint32_t pick = drawn + random.Below16(listed - drawn);
    const uint32_t index = free_slots[pick];
    free_slots[pick] = free_slots[drawn];
    words[index / 64] &= ~(uint64_t{1} << index % 64);
    out[drawn] = EntryOf(index);
  }
}

void Slab::DrawInOrder(uint32_t count, MagazineEntry* out) {
  uint64_t* words = bitmap();
  uint32_t drawn = 0;
  uint32_t word = lowest_word_;
  for (;; ++word) {
    uint64_t bits = words[word];
    for (; bits != 0 && drawn < count; bits &= bits - 1) {
      out[drawn++] = EntryOf(word * 64 + static_cast<uint32_t>(std::countr_zero(bits)));
    }
    words[word] = bits;
    if (drawn == count) break;
  }
  lowest_word_ = word;
}

uint32_t Slab::Draw(const Placement& placement, prim::RandomStream& random, uint32_t count,
                    MagazineEntry* out) {
  const uint32_t drawn = count < free_count_ ? count : free_count_;
  if (placement.window_bytes == 0) {
    touched_ = std::min(touched_ + drawn, slot_count_);
    // Counted down before: every draw of the rejection must be able to hit.
    if ((free_count_ - drawn) * kRejectionShare >= slot_count_) {
      DrawByRejection(random, drawn, out);
    } else if (free_count_ * kRejectionShare <= slot_count_) {
      DrawByShuffle(random, drawn, out);
    } else {
      // Across the border: the rest of this batch comes with the next refill.
      const uint32_t part = free_count_ - slot_count_ / kRejectionShare;
      const uint32_t now = part < drawn ? part : drawn;
      DrawByRejection(random, now, out);
      free_count_ -= now;
      return now;
    }
    free_count_ -= drawn;
    return drawn;
  }
  DrawInOrder(drawn, out);
  free_count_ -= drawn;
  if (drawn > 0) touched_ = std::max(touched_, IndexOfRecord(out[drawn - 1].record) + 1);
  const uint32_t window = placement.window_bytes / slot_size_;
  if (window < 2) return drawn;
  for (uint32_t start = 0; start < drawn; start += window) {
    const uint32_t size = drawn - start < window ? drawn - start : window;
    for (uint32_t i = size; i > 1; --i) {
      MagazineEntry& a = out[start + i - 1];
      MagazineEntry& b = out[start + random.Below(i)];
      const MagazineEntry moved = a;
      a = b;
      b = moved;
    }
  }
  return drawn;
}

size_t Slab::DropFreePages() {
  const size_t page = prim::PageSize();
  const uint64_t* words = bitmap();
  const auto is_free = [words](size_t slot) { return (words[slot / 64] >> slot % 64 & 1) != 0; };
  const size_t bytes = size_t{slot_count_} * slot_size_;
  size_t dropped = 0;
  size_t start = 0;  // of the free pages so far
  for (size_t at = 0; at < bytes; at += page) {
    const size_t last = (at + page < bytes ? at + page : bytes) - 1;
    bool free = true;
    for (size_t slot = at / slot_size_; free && slot <= last / slot_size_; ++slot) {
      free = is_free(slot);
    }
    if (free && at + page < bytes) continue;
    const size_t end = free ? bytes : at;
    if (end > start && arena_->pages().Drop(reinterpret_cast<void*>(base_ + start),
                                            RoundUpTo(end - start, page))) {
      dropped += end - start;
    }
    start = at + page;
  }
  touched_ = slot_count_ - free_count_;
  return dropped;
}

size_t Slab::touched_bytes() const {
  return std::min(touched_ * std::max<size_t>(slot_size_, prim::PageSize()), span_bytes());
}

void DescribeSlab(Slab& slab, ThreadHeap* owner) {
  const ExactDivisor divisor = ExactDivisorOf(static_cast<uint32_t>(SlotSize(slab.size_class())));
  for (uint32_t i = 0; i < SlabSlices(slab.size_class()); ++i) {
    SliceDescriptor& slice = slab.arena().slices()[slab.first_slice() + i];
    slice.records = slab.records();
    slice.base_low = static_cast<uint32_t>(slab.base());
    slice.inverse = divisor.inverse;
    slice.slot_count = static_cast<uint16_t>(slab.slot_count());
    slice.shift = divisor.shift;
    slice.size_class = slab.size_class();
    slice.use = SliceUse::kSlab;
    slice.released = false;
  }
  SetSlabOwner(slab, owner);
}

void FreeSlabMetadata(Slab& slab) {
  for (uint32_t i = 0; i < SlabSlices(slab.size_class()); ++i) {
    SliceDescriptor& slice = slab.arena().slices()[slab.first_slice() + i];
    slice.released = true;
    slice.records = nullptr;
  }
  slab.metadata_arena().FreeMetadata(&slab,
                                     Slab::MetadataBytes(slab.size_class(), slab.record_shift()));
}

void SetSlabOwner(const Slab& slab, ThreadHeap* owner) {
  // Pairs with the acquire load of the sweep: who sees the owner sees the description as well.
  for (uint32_t i = 0; i < SlabSlices(slab.size_class()); ++i) {
    slab.arena().slices()[slab.first_slice() + i].owner.store(owner, std::memory_order_release);
  }
}

}  // namespace hardened::core
