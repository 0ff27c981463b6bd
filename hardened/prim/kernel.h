// kernel: system calls without libc.
//
// The names of libc (clock_gettime, open, syscall, ...) belong to the program: other preloaded
// libraries define them, and theirs allocate. Whatever malloc needs of the kernel it asks for by
// itself; tests/checks/binary_test.py has the list of what may still be imported. None of these
// functions is a cancellation point, touches errno, allocates or takes a lock.
//
// A call that a sandbox may forbid is not made (sandbox.h): it fails with EPERM. DEPLOYMENT.md has
// the list of what is called; tests/sandbox compares it.
//
// Results are the kernel's: a value, or minus the number of an error (IsError).
//
// Under AddressSanitizer and ThreadSanitizer memory is mapped through libc, whose functions they
// replace to keep their shadow right.
//
// Threads, signals: safe from any.

#ifndef HARDENED_PRIM_KERNEL_H_
#define HARDENED_PRIM_KERNEL_H_

#include <errno.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "hardened/prim/sandbox.h"

namespace hardened::prim::kernel {

// Whether `result` is an error; -result is then its number.
constexpr bool IsError(long result) {
  return static_cast<unsigned long>(result) > static_cast<unsigned long>(-4096L);
}

// mseal(2), Linux 6.10: the same number on every architecture; older headers lack it.
inline constexpr long kMseal = 462;

namespace internal {

long SystemCall6(long number, long a, long b, long c, long d, long e, long f);

template <typename T>
long ToRegister(T value) {
  if constexpr (std::is_null_pointer_v<T>) {
    return 0;
  } else if constexpr (std::is_pointer_v<T>) {
    return reinterpret_cast<long>(value);
  } else {
    static_assert(std::is_integral_v<T> || std::is_enum_v<T>);
    return static_cast<long>(value);
  }
}

}  // namespace internal

// Without asking the sandbox: for what the program itself calls, and for a process that ends. Up to
// six arguments, integers or pointers.
template <typename... Arguments>
long SystemCallUnasked(long number, Arguments... arguments) {
  static_assert(sizeof...(Arguments) <= 6);
  long registers[6] = {};
  [[maybe_unused]] int i = 0;
  ((registers[i++] = internal::ToRegister(arguments)), ...);
  return internal::SystemCall6(number, registers[0], registers[1], registers[2], registers[3],
                               registers[4], registers[5]);
}

template <typename... Arguments>
long SystemCall(long number, Arguments... arguments) {
  const long values[] = {internal::ToRegister(arguments)..., 0, 0, 0};
  const CallPermit permit(number, values[2]);
  return permit ? SystemCallUnasked(number, arguments...) : -EPERM;
}

// ---- memory; as mmap (anonymous), munmap, mprotect, madvise, mremap

// Returns: the address.
long Map(void* hint, size_t bytes, int protection, int flags);
long Unmap(void* start, size_t bytes);
long Protect(void* start, size_t bytes, int protection);
long Advise(void* start, size_t bytes, int advice);
// Returns: the address.
long Remap(void* start, size_t old_bytes, size_t new_bytes, int flags, void* target);

// ---- files; as openat, read, write, fstat, close, readlink

long Open(int directory, const char* path, int flags);
long Read(int fd, void* out, size_t bytes);
long Write(int fd, const void* bytes, size_t size);
long Stat(int fd, struct stat* out);
void Close(int fd);
// Does not end `out` with a NUL.
long ReadLink(const char* path, char* out, size_t bytes);

// ---- time

// Through the vDSO where the kernel has one: then no system call for the usual clocks.
long ReadClock(clockid_t clock, timespec* out);

}  // namespace hardened::prim::kernel

#endif  // HARDENED_PRIM_KERNEL_H_
