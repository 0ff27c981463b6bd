// System facts that the allocator needs before libc is initialised: page size, cache line,
// privileges, address-space limit, clock, thread id. All calls are async-signal-safe, allocate
// nothing and leave errno alone.

#ifndef HARDENED_PRIM_SYSTEM_INFO_H_
#define HARDENED_PRIM_SYSTEM_INFO_H_

#include <cstddef>
#include <cstdint>

namespace hardened::prim {

// Two times the common cache line: adjacent-line prefetch makes pairs of lines travel together.
inline constexpr size_t kNoSharing = 128;

// Bytes of one OS page, as the kernel states it (AT_PAGESZ). Never 0.
size_t PageSize();

// The limit `resource` (RLIMIT_AS, ...) of this process; SIZE_MAX when there is none.
size_t ResourceLimit(int resource);

// The end of the addresses that a process has, as far as it shows: 2^47 on x86-64, 2^39 or 2^48 on
// aarch64.
uintptr_t AddressSpaceEnd();

// Reads the start of a small file without being a cancellation point.
// Returns: how many bytes of `out` were filled; 0 when it cannot be read.
size_t ReadSmallFile(const char* path, char* out, size_t size);

// Milliseconds of a monotonic clock with a resolution of a few milliseconds. A vDSO read.
uint64_t CoarseMilliseconds();

// From now on 1,024 calls of CoarseMilliseconds() are a millisecond: what happens then depends on
// what the program does and not on when.
void CountCallsAsTime();

// Kernel id of the calling thread; in a sandbox that was entered a number beyond those.
uint64_t ThreadId();

// Whether the process runs under valgrind, which preloads a library of its own.
bool UnderValgrind();

inline size_t RoundUp(size_t value, size_t power_of_two) {
  return (value + power_of_two - 1) & ~(power_of_two - 1);
}

}  // namespace hardened::prim

#endif  // HARDENED_PRIM_SYSTEM_INFO_H_
