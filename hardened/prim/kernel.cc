#include "hardened/prim/kernel.h"

#include <fcntl.h>
#include <sys/mman.h>

#include "absl/base/config.h"
#include "hardened/prim/vdso.h"

#if !defined(__x86_64__) && !defined(__aarch64__)
#include <unistd.h>
#endif
#if defined(ABSL_HAVE_ADDRESS_SANITIZER) || defined(ABSL_HAVE_THREAD_SANITIZER)
#define HARDENED_MAP_THROUGH_LIBC 1
#endif
#if defined(HARDENED_MAP_THROUGH_LIBC) || (!defined(__x86_64__) && !defined(__aarch64__))
#include <cerrno>
#endif

namespace hardened::prim::kernel {

long internal::SystemCall6(long number, long a, long b, long c, long d, long e, long f) {
#if defined(__x86_64__)
  long result;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
#elif defined(__aarch64__)
  register long x8 asm("x8") = number;
  register long x0 asm("x0") = a;
  register long x1 asm("x1") = b;
  register long x2 asm("x2") = c;
  register long x3 asm("x3") = d;
  register long x4 asm("x4") = e;
  register long x5 asm("x5") = f;
  asm volatile("svc #0"
               : "+r"(x0)
               : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
               : "memory");
  return x0;
#else
  const int saved_errno = errno;
  const long result = syscall(number, a, b, c, d, e, f);
  const int error = errno;
  errno = saved_errno;
  return result == -1 ? -error : result;
#endif
}

namespace {

#if defined(HARDENED_MAP_THROUGH_LIBC)
long ToLong(void* result) { return reinterpret_cast<long>(result); }
long ToLong(int result) { return result; }

template <typename Call>
long WithoutErrno(Call call) {
  const int saved_errno = errno;
  const long result = ToLong(call());
  const int error = errno;
  errno = saved_errno;
  return result == -1 ? -error : result;
}
#endif

}  // namespace

long Map(void* hint, size_t bytes, int protection, int flags) {
#if defined(HARDENED_MAP_THROUGH_LIBC)
  return WithoutErrno([&] { return mmap(hint, bytes, protection, flags, -1, 0); });
#else
  return SystemCall(SYS_mmap, hint, bytes, protection, flags, -1, 0);
#endif
}

long Unmap(void* start, size_t bytes) {
#if defined(HARDENED_MAP_THROUGH_LIBC)
  return WithoutErrno([&] { return munmap(start, bytes); });
#else
  return SystemCall(SYS_munmap, start, bytes);
#endif
}

long Protect(void* start, size_t bytes, int protection) {
  return SystemCall(SYS_mprotect, start, bytes, protection);
}

long Advise(void* start, size_t bytes, int advice) {
#if defined(HARDENED_MAP_THROUGH_LIBC)
  return WithoutErrno([&] { return madvise(start, bytes, advice); });
#else
  return SystemCall(SYS_madvise, start, bytes, advice);
#endif
}

long Remap(void* start, size_t old_bytes, size_t new_bytes, int flags, void* target) {
#if defined(HARDENED_MAP_THROUGH_LIBC)
  return WithoutErrno([&] { return mremap(start, old_bytes, new_bytes, flags, target); });
#else
  return SystemCall(SYS_mremap, start, old_bytes, new_bytes, flags, target);
#endif
}

long Open(int directory, const char* path, int flags) {
  return SystemCall(SYS_openat, directory, path, flags, 0);
}

long Read(int fd, void* out, size_t bytes) { return SystemCall(SYS_read, fd, out, bytes); }

long Write(int fd, const void* bytes, size_t size) {
  return SystemCall(SYS_write, fd, bytes, size);
}

long Stat(int fd, struct stat* out) { return SystemCall(SYS_fstat, fd, out); }

void Close(int fd) { SystemCall(SYS_close, fd); }

long ReadLink(const char* path, char* out, size_t bytes) {
  return SystemCall(SYS_readlinkat, AT_FDCWD, path, out, bytes);
}

long ReadClock(clockid_t clock, timespec* out) {
  ClockFunction* const function = VdsoClock();
  if (function != nullptr) {
    // Of clocks that it cannot read it asks the kernel itself.
    return function(clock, out);
  }
  return SystemCall(SYS_clock_gettime, clock, out);
}

}  // namespace hardened::prim::kernel
