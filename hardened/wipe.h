// Wiping and checking free memory: zero on free, and still zero when it is handed out.
//
// Slots are multiples of 16 bytes, aligned to 16, so both walk in steps of 16 without a tail.
//
// Threads: pure functions on memory that the caller owns.

#ifndef HARDENED_WIPE_H_
#define HARDENED_WIPE_H_

#include <cstddef>
#include <cstdint>

#include "absl/base/attributes.h"

namespace hardened {

typedef uint64_t WipeUnit __attribute__((vector_size(16), may_alias));

// Beyond this, the string instructions of libc win over a loop of 16-byte stores.
inline constexpr size_t kWipeInline = 512;

ABSL_ATTRIBUTE_ALWAYS_INLINE inline void WipeInline(void* slot, size_t size) {
  constexpr WipeUnit kZero = {0, 0};
  const auto at = [slot](size_t offset) -> WipeUnit& {
    return *reinterpret_cast<WipeUnit*>(static_cast<char*>(slot) + offset);
  };
  const size_t last = size - sizeof(WipeUnit);
  // Up to 64 bytes: four stores, some of them to the same place, and no branch on the size.
  at(0) = kZero;
  at(last < 16 ? last : 16) = kZero;
  at(last < 32 ? last : 32) = kZero;
  at(last) = kZero;
  for (size_t offset = 48; offset < last; offset += 64) {
    at(offset) = kZero;
    at(offset + 16 < last ? offset + 16 : last) = kZero;
    at(offset + 32 < last ? offset + 32 : last) = kZero;
    at(offset + 48 < last ? offset + 48 : last) = kZero;
  }
}

inline void WipeSlot(void* slot, size_t size) {
  if (size > kWipeInline) {
    __builtin_memset(slot, 0, size);
  } else {
    WipeInline(slot, size);
  }
}

// Detects: any write to the slot between its wipe and this call.
// Misses:  a write that was undone, or of zeros.
// Cost:    one load and one operation for each 16 bytes of the slot.
ABSL_ATTRIBUTE_ALWAYS_INLINE inline bool IsZero(const void* slot, size_t size) {
  const WipeUnit* unit = static_cast<const WipeUnit*>(slot);
  const WipeUnit* const end = unit + size / sizeof(WipeUnit);
  WipeUnit any = {0, 0};
  do {
    any |= *unit++;
  } while (unit != end);
  return (any[0] | any[1]) == 0;
}

// The first byte that is not zero. Requires: !IsZero().
inline uintptr_t FirstNonZero(const void* slot, size_t size) {
  const unsigned char* bytes = static_cast<const unsigned char*>(slot);
  size_t i = 0;
  while (i < size && bytes[i] == 0) ++i;
  return reinterpret_cast<uintptr_t>(bytes + i);
}

}  // namespace hardened

#endif  // HARDENED_WIPE_H_
