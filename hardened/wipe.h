// Wiping and checking free memory: zero on free, and still zero when it is handed out.
//
// Slots are multiples of 16 bytes, aligned to 16. Short ones are walked in place, in steps of 16
// without a loop or a tail; long ones by prim/bulk_memory.h.
//
// Threads: pure functions on memory that the caller owns.

#ifndef HARDENED_WIPE_H_
#define HARDENED_WIPE_H_

#include <cstddef>
#include <cstdint>

#include "absl/base/attributes.h"
#include "hardened/prim/bulk_memory.h"
#include "hardened/prim/touch.h"

namespace hardened {

typedef uint64_t WipeUnit __attribute__((vector_size(16), may_alias));

// Slots up to this are walked in place: two cache lines.
inline constexpr size_t kWipeInline = 128;
static_assert(kWipeInline >= prim::kLeastBulk);

// Calls `at` with the start of each unit of a slot, with some of them twice: from both ends.
// Requires: size <= kWipeInline.
template <typename Byte, typename At>
ABSL_ATTRIBUTE_ALWAYS_INLINE inline void ForUnitsInline(Byte* start, size_t size, const At& at) {
  Byte* const end = start + size;
  at(start);
  at(end - 16);
  if (size <= 32) return;
  at(start + 16);
  at(end - 32);
  if (size <= 64) return;
  at(start + 32);
  at(start + 48);
  at(end - 64);
  at(end - 48);
}

// Requires: size <= kWipeInline.
ABSL_ATTRIBUTE_ALWAYS_INLINE inline void WipeInline(void* slot, size_t size) {
  ForUnitsInline(static_cast<char*>(slot), size,
                 [](char* at) { *reinterpret_cast<WipeUnit*>(at) = WipeUnit{}; });
}

inline void WipeSlot(void* slot, size_t size) {
  if (size > kWipeInline) {
    prim::ZeroBulk(slot, size);
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

// All of a slot, or-ed together. Requires: size <= kWipeInline.
ABSL_ATTRIBUTE_ALWAYS_INLINE inline WipeUnit UnionInline(const void* slot, size_t size) {
  WipeUnit any = {};
  ForUnitsInline(static_cast<const char*>(slot), size,
                 [&any](const char* at) ABSL_ATTRIBUTE_ALWAYS_INLINE {
                   any |= *reinterpret_cast<const WipeUnit*>(at);
                 });
  return any;
}

// Detects: any write to the slot between its wipe and this call.
// Misses:  a write that was undone, or of zeros.
// Cost:    one load and one operation for each 16 bytes of a short slot, 32 of a long one.
ABSL_ATTRIBUTE_ALWAYS_INLINE inline bool IsZeroInline(const void* slot, size_t size) {
  const WipeUnit any = UnionInline(slot, size);
  return (any[0] | any[1]) == 0;
}
ABSL_ATTRIBUTE_ALWAYS_INLINE inline bool IsZero(const void* slot, size_t size) {
  return size > kWipeInline ? prim::IsBulkZero(slot, size) : IsZeroInline(slot, size);
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
