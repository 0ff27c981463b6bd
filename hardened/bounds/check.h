// Whether a call stays within its objects: asks the hardened heap of this process, if there is one.
//
// The heap's functions are weak: without it, and before this library is relocated, they are null
// and every call passes.
//
// Threads: any; no lock, no allocation.

#ifndef HARDENED_BOUNDS_CHECK_H_
#define HARDENED_BOUNDS_CHECK_H_

#include <cstddef>
#include <cstdint>

#include "hardened/hardened.h"

#pragma weak hardened_bytes_from
#pragma weak hardened_report_overflow

namespace hardened::bounds {

enum class Access : uint8_t { kRead, kWrite };

// Bytes from `pointer` to the end of its heap object; SIZE_MAX when it is in none.
inline size_t Room(const void* pointer) {
  return hardened_bytes_from != nullptr ? hardened_bytes_from(pointer) : SIZE_MAX;
}

// Returns when the policy lets the call pass.
[[gnu::cold, gnu::noinline]] inline void Report(const char* function, const void* pointer,
                                                size_t bytes, Access access) {
  if (hardened_report_overflow == nullptr) return;
  hardened_report_overflow(function, pointer, bytes, access == Access::kWrite ? 1 : 0);
}

// A call of no bytes passes everywhere.
[[gnu::always_inline]] inline void Check(const char* function, const void* pointer, size_t bytes,
                                         Access access) {
  if (__builtin_expect(Room(pointer) < bytes, 0)) Report(function, pointer, bytes, access);
}

}  // namespace hardened::bounds

#endif  // HARDENED_BOUNDS_CHECK_H_
