#include "hardened/core/slab.h"

#include "hardened/prim/check.h"

namespace hardened::core {

void Slab::Initialise(Arena& arena, uint32_t first_slice, SizeClass size_class, bool zero) {
  arena_ = &arena;
  first_slice_ = first_slice;
  base_ = arena.AddressOf(first_slice);
  size_class_ = size_class;
  slot_size_ = static_cast<uint32_t>(SlotSize(size_class));
  slot_count_ = SlotsPerSlab(size_class);
  free_count_ = slot_count_;
  lowest_word_ = 0;
  if (!zero) {
    for (uint32_t i = 0; i < slot_count_; ++i) {
      records()[i].store(kUnusedDirtyRecord, std::memory_order_relaxed);
    }
  }
  uint64_t* words = bitmap();
  for (uint32_t i = 0; i < slot_count_ / 64; ++i) words[i] = ~uint64_t{0};
  if (slot_count_ % 64 != 0) words[slot_count_ / 64] = (uint64_t{1} << slot_count_ % 64) - 1;
}

void Slab::Take(uint32_t index, MagazineEntry& out) {
  bitmap()[index / 64] &= ~(uint64_t{1} << index % 64);
  --free_count_;
  out.slot = reinterpret_cast<void*>(base_ + uintptr_t{index} * slot_size_);
  out.record = records() + index;
}

uint32_t Slab::DrawUniform(prim::RandomStream& random, uint32_t count, MagazineEntry* out) {
  uint64_t* words = bitmap();
  uint32_t drawn = 0;
  for (; drawn < count && free_count_ > 0; ++drawn) {
    uint32_t index;
    if (free_count_ * 4 >= slot_count_) {
      // Rejection: a uniform draw over all slots, repeated until it hits a free one, is uniform
      // over the free ones.
      do {
        index = random.Below(slot_count_);
      } while ((words[index / 64] >> (index % 64) & 1) == 0);
    } else {
      // Few are free: draw a rank and find its bit.
      uint32_t rank = random.Below(free_count_);
      uint32_t word = 0;
      for (;; ++word) {
        const uint32_t here = static_cast<uint32_t>(std::popcount(words[word]));
        if (rank < here) break;
        rank -= here;
      }
      uint64_t bits = words[word];
      for (; rank > 0; --rank) bits &= bits - 1;
      index = word * 64 + static_cast<uint32_t>(std::countr_zero(bits));
    }
    Take(index, out[drawn]);
  }
  return drawn;
}

uint32_t Slab::DrawInOrder(uint32_t count, MagazineEntry* out) {
  uint64_t* words = bitmap();
  uint32_t drawn = 0;
  uint32_t word = lowest_word_;
  while (drawn < count && free_count_ > 0) {
    const uint64_t bits = words[word];
    if (bits == 0) {
      ++word;
      continue;
    }
    Take(word * 64 + static_cast<uint32_t>(std::countr_zero(bits)), out[drawn++]);
  }
  lowest_word_ = word;
  return drawn;
}

uint32_t Slab::Draw(const Placement& placement, prim::RandomStream& random, uint32_t count,
                    MagazineEntry* out) {
  if (placement.window_bytes == 0) return DrawUniform(random, count, out);
  const uint32_t drawn = DrawInOrder(count, out);
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

void Slab::Return(uint32_t index) {
  uint64_t& word = bitmap()[index / 64];
  const uint64_t bit = uint64_t{1} << index % 64;
  HARDENED_CHECK(index < slot_count_ && (word & bit) == 0);
  word |= bit;
  ++free_count_;
  if (index / 64 < lowest_word_) lowest_word_ = index / 64;
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

void SetSlabOwner(const Slab& slab, ThreadHeap* owner) {
  for (uint32_t i = 0; i < SlabSlices(slab.size_class()); ++i) {
    slab.arena().slices()[slab.first_slice() + i].owner.store(owner, std::memory_order_relaxed);
  }
}

}  // namespace hardened::core
