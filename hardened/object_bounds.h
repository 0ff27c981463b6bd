// Where live allocations end, for functions that write or read many bytes at once
// (hardened/bounds, which asks before each call).
//
// Threads: any; no lock, no allocation.

#ifndef HARDENED_OBJECT_BOUNDS_H_
#define HARDENED_OBJECT_BOUNDS_H_

#include <cstddef>
#include <cstdint>

namespace hardened {

inline constexpr size_t kNoBound = SIZE_MAX;

// Bytes from `address` to the end of the live allocation around it: the exact one where the level
// keeps sizes, else that of the slot or the pages. 0 in what lies between that end and the next
// slot or guard, or in front of a run's data.
// Returns: kNoBound where there is no live allocation.
size_t BytesFrom(uintptr_t address);

enum class Access : uint8_t { kRead, kWrite };

// Reports a call of `function` that would access `bytes` from `address` on, more than BytesFrom().
[[gnu::cold, gnu::noinline]] void ReportOverflow(const char* function, uintptr_t address,
                                                 size_t bytes, Access access);

}  // namespace hardened

#endif  // HARDENED_OBJECT_BOUNDS_H_
