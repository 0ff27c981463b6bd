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
#include "hardened/prim/touch.h"

namespace hardened {

typedef uint64_t WipeUnit __attribute__((vector_size(16), may_alias));

// Beyond this, the string instructions of libc win over a loop of 16-byte stores.
inline constexpr size_t kWipeInline = 512;

// Requires: size <= kMost.
template <size_t kMost = kWipeInline>
ABSL_ATTRIBUTE_ALWAYS_INLINE inline void WipeInline(void* slot, size_t size) {
  constexpr WipeUnit kZero = {0, 0};
  char* const start = static_cast<char*>(slot);
  char* const end = start + size;
  const auto zero = [](char* at) { *reinterpret_cast<WipeUnit*>(at) = kZero; };
  // From both ends; in the middle some are stored twice.
  zero(start);
  zero(end - 16);
  if (size <= 32) return;
  zero(start + 16);
  zero(end - 32);
  if (size <= 64) return;
  zero(start + 32);
  zero(start + 48);
  zero(end - 64);
  zero(end - 48);
  if constexpr (kMost <= 128) return;
  for (char* at = start + 64; at < end - 64; at += 64) {
    zero(at);
    zero(at + 16);
    zero(at + 32);
    zero(at + 48);
  }
}

inline void WipeSlot(void* slot, size_t size) {
  if (size > kWipeInline) {
    __builtin_memset(slot, 0, size);
  } else {
    WipeInline(slot, size);
  }
}

// Lets the kernel give memory to a slot that was never used, before it is read (prim/touch.h).
ABSL_ATTRIBUTE_ALWAYS_INLINE inline void Populate(void* slot, size_t size) {
  constexpr size_t kLeastPage = 4096;
  unsigned char* const bytes = static_cast<unsigned char*>(slot);
  for (size_t offset = 0; offset < size; offset += kLeastPage) {
    prim::TouchForWriting(bytes + offset);
  }
  prim::TouchForWriting(bytes + size - 1);
}

// All of the slot, or-ed together.
ABSL_ATTRIBUTE_ALWAYS_INLINE inline WipeUnit UnionOf(const void* slot, size_t size) {
  const WipeUnit* unit = static_cast<const WipeUnit*>(slot);
  const WipeUnit* const end = unit + size / sizeof(WipeUnit);
  WipeUnit any = {0, 0};
  WipeUnit other = {0, 0};
  // Two sums, so that an addition need not wait for the one before.
  for (; end - unit >= 4; unit += 4) {
    any |= unit[0] | unit[1];
    other |= unit[2] | unit[3];
  }
  for (; unit != end; ++unit) any |= *unit;
  return any | other;
}

// Detects: any write to the slot between its wipe and this call.
// Misses:  a write that was undone, or of zeros.
// Cost:    one load and one operation for each 16 bytes of the slot.
ABSL_ATTRIBUTE_ALWAYS_INLINE inline bool IsZero(const void* slot, size_t size) {
  const WipeUnit any = UnionOf(slot, size);
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
