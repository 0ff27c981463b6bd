#include "hardened/prim/system_info.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>

namespace hardened::prim {
namespace {

// Pages in the first field of /proc/self/statm, 0 when it cannot be read.
size_t MappedPages() {
  char text[32] = {};
  const size_t got = ReadSmallFile("/proc/self/statm", text, sizeof(text) - 1);
  size_t pages = 0;
  for (size_t i = 0; i < got && text[i] >= '0' && text[i] <= '9'; ++i) {
    pages = pages * 10 + static_cast<size_t>(text[i] - '0');
  }
  return pages;
}

}  // namespace

// Through syscall(): open, read and close of libc are cancellation points, and the caller may hold
// a lock.
size_t ReadSmallFile(const char* path, char* out, size_t size) {
  const long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  const long got = syscall(SYS_read, fd, out, size);
  syscall(SYS_close, fd);
  return got > 0 ? static_cast<size_t>(got) : 0;
}

size_t PageSize() {
  static constinit std::atomic<size_t> cached{0};
  size_t size = cached.load(std::memory_order_relaxed);
  if (size == 0) {
    size = getauxval(AT_PAGESZ);
    if (size == 0) size = 4096;
    cached.store(size, std::memory_order_relaxed);
  }
  return size;
}

size_t AddressSpaceLeft() {
  const int saved_errno = errno;
  rlimit limit;
  size_t left = SIZE_MAX;
  if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    const size_t used = MappedPages() * PageSize();
    left = limit.rlim_cur > used ? limit.rlim_cur - used : 0;
  }
  errno = saved_errno;
  return left;
}

bool MemoryIsCounted() {
  const int saved_errno = errno;
  rlimit limit;
  char mode[2] = {};
  const bool counted =
      (getrlimit(RLIMIT_DATA, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) ||
      (ReadSmallFile("/proc/sys/vm/overcommit_memory", mode, 1) == 1 && mode[0] == '2');
  errno = saved_errno;
  return counted;
}

uint64_t CoarseMilliseconds() {
  timespec now;
  if (clock_gettime(CLOCK_MONOTONIC_COARSE, &now) != 0) return 0;
  return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1000000;
}

uint64_t ThreadId() { return static_cast<uint64_t>(syscall(SYS_gettid)); }

}  // namespace hardened::prim
