// SizeClass: the sizes of slots.
//
// Every 16 bytes up to 128, then eight classes to each doubling up to 64 KiB. A request wastes at
// most 15 bytes up to 128, and less than 1/8 of itself above. Every slot size divides into its
// slab with at least 8 slots and 90 % use, so that a slab of any class is worth its slices.
//
// The spacing of 1/8 is jemalloc's and mimalloc's; the slab lengths follow from two rules: at least
// eight slots, and at least 342 of them for requests up to 256 bytes and a canary, which is what
// nine bits of collision entropy in the distance of two uniform draws take (the sum of squares of
// that triangular distribution is 2/(3N)).

#ifndef HARDENED_CORE_SIZE_CLASS_H_
#define HARDENED_CORE_SIZE_CLASS_H_

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "hardened/core/geometry.h"

namespace hardened::core {

using SizeClass = uint8_t;

inline constexpr SizeClass kSizeClassCount = 80;
inline constexpr size_t kMaxSlotSize = 64 * 1024;

// Bytes of a slot of `size_class`.
constexpr size_t SlotSize(SizeClass size_class) {
  if (size_class < 8) return kSlotAlignment * (size_class + 1u);
  const unsigned doubling = (size_class - 8u) / 8;
  const size_t base = size_t{128} << doubling;
  return base + (base / 8) * ((size_class - 8u) % 8 + 1);
}

inline constexpr auto kSlotSizes = [] {
  std::array<uint32_t, kSizeClassCount> sizes{};
  for (unsigned c = 0; c < sizes.size(); ++c) {
    sizes[c] = static_cast<uint32_t>(SlotSize(static_cast<SizeClass>(c)));
  }
  return sizes;
}();

// The smallest class that holds `bytes`, by arithmetic. Requires: bytes <= kMaxSlotSize.
constexpr SizeClass ComputeSizeClass(size_t bytes) {
  if (bytes <= kSlotAlignment) return 0;
  if (bytes <= 128) return static_cast<SizeClass>((bytes - 1) / kSlotAlignment);
  const unsigned doubling = static_cast<unsigned>(std::bit_width(bytes - 1)) - 8;
  const unsigned step = static_cast<unsigned>((bytes - 1) >> (doubling + 4)) & 7;
  return static_cast<SizeClass>(8 + doubling * 8 + step);
}

inline constexpr auto kSizeClassTable = [] {
  std::array<SizeClass, kMaxSlotSize / kSlotAlignment + 1> table{};
  for (size_t i = 0; i < table.size(); ++i) table[i] = ComputeSizeClass(i * kSlotAlignment);
  return table;
}();

// The smallest class that holds `bytes`. Requires: bytes <= kMaxSlotSize.
constexpr SizeClass SizeClassOf(size_t bytes) {
  return kSizeClassTable[(bytes + kSlotAlignment - 1) / kSlotAlignment];
}

// Slices in a slab of `size_class`.
constexpr uint32_t SlabSlices(SizeClass size_class) {
  const size_t size = SlotSize(size_class);
  if (size > 8192) return 8;
  return size >= 192 && size <= 320 ? 2 : 1;
}

constexpr uint32_t SlotsPerSlab(SizeClass size_class) {
  return static_cast<uint32_t>(SlabSlices(size_class) * kSliceSize / SlotSize(size_class));
}

inline constexpr uint32_t kMaxSlotsPerSlab = SlotsPerSlab(0);

// Exact division of an offset within a slab by the slot size: D * inverse is the quotient shifted
// left by `shift` when D is a multiple, and after rotation some number beyond every slot count when
// it is not. Source: T. Granlund and P. Montgomery, "Division by Invariant Integers using
// Multiplication", PLDI 1994, section 9.
struct ExactDivisor {
  uint32_t inverse;  // of the odd part of the slot size, modulo 2^32
  uint8_t shift;     // the power of two in the slot size
};

constexpr ExactDivisor ExactDivisorOf(uint32_t size) {
  const unsigned shift = static_cast<unsigned>(std::countr_zero(size));
  const uint32_t odd = size >> shift;
  uint32_t inverse = odd;  // right in 3 bits; each Newton step doubles them
  for (int i = 0; i < 4; ++i) inverse *= 2 - odd * inverse;
  return {inverse, static_cast<uint8_t>(shift)};
}

// The slot that holds a byte: the offset within a slab (below 2^19) divided by the slot size,
// rounded down. Greater offsets give some number beyond every slot count.
inline constexpr unsigned kReciprocalShift = 35;
inline constexpr auto kReciprocals = [] {
  std::array<uint32_t, kSizeClassCount> reciprocals{};
  for (unsigned c = 0; c < reciprocals.size(); ++c) {
    reciprocals[c] = static_cast<uint32_t>((uint64_t{1} << kReciprocalShift) / kSlotSizes[c] + 1);
  }
  return reciprocals;
}();
constexpr uint64_t SlotIndexAt(uint32_t offset, SizeClass size_class) {
  return offset * uint64_t{kReciprocals[size_class]} >> kReciprocalShift;
}

static_assert(SlotSize(kSizeClassCount - 1) == kMaxSlotSize);
static_assert(ExactDivisorOf(48).inverse * 3u == 1u);

}  // namespace hardened::core

#endif  // HARDENED_CORE_SIZE_CLASS_H_
