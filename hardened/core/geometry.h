// The units of the heap's address space: slot, slice, segment. Sizes of OS pages are not here; they
// come from prim::PageSize() at run time.

#ifndef HARDENED_CORE_GEOMETRY_H_
#define HARDENED_CORE_GEOMETRY_H_

#include <cstddef>
#include <cstdint>

namespace hardened::core {

inline constexpr size_t kSlotAlignment = 16;
inline constexpr unsigned kSliceShift = 16;
inline constexpr size_t kSliceSize = size_t{1} << kSliceShift;  // 64 KiB
inline constexpr unsigned kSegmentShift = 22;
inline constexpr size_t kSegmentSize = size_t{1} << kSegmentShift;  // 4 MiB
inline constexpr uint32_t kSlicesPerSegment = kSegmentSize / kSliceSize;

// User addresses of x86-64 and aarch64 with four levels of page tables.
inline constexpr unsigned kAddressBits = 47;

constexpr size_t RoundUpTo(size_t value, size_t power_of_two) {
  return (value + power_of_two - 1) & ~(power_of_two - 1);
}

}  // namespace hardened::core

#endif  // HARDENED_CORE_GEOMETRY_H_
