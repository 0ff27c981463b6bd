// bulk_memory: zeroes memory and looks whether it is zero, by as many bytes at once as the
// processor can.
//
// libc's memset takes string instructions for a few KiB, which start slowly and which emulators run
// byte by byte; and nothing in libc tells whether memory is zero.
//
// Threads: memory that the caller owns.

#ifndef HARDENED_PRIM_BULK_MEMORY_H_
#define HARDENED_PRIM_BULK_MEMORY_H_

#include <cstddef>

namespace hardened::prim {

// The least size of both.
inline constexpr size_t kLeastBulk = 128;

// Zeroes [start, start + size). Requires: start and size are multiples of 16, size >= kLeastBulk.
void ZeroBulk(void* start, size_t size);

// Whether [start, start + size) is zero. Requires: the same.
bool IsBulkZero(const void* start, size_t size);

}  // namespace hardened::prim

#endif  // HARDENED_PRIM_BULK_MEMORY_H_
