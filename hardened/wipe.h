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
  WipeUnit* unit = static_cast<WipeUnit*>(slot);
  WipeUnit* const end = unit + size / sizeof(WipeUnit);
  do {
    *unit++ = WipeUnit{0, 0};
    // Keeps gcc from making a string instruction of the loop, which takes longer to start than most
    // slots take to wipe.
    asm("" : "+r"(unit));
  } while (unit != end);
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
inline bool IsZero(const void* slot, size_t size) {
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
