// Whether guards cost no mappings here.

#ifndef TESTS_SUPPORT_KERNEL_GUARDS_H_
#define TESTS_SUPPORT_KERNEL_GUARDS_H_

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>

inline constexpr int kGuardInstall = 102;  // MADV_GUARD_INSTALL

// Linux 6.13 and later, where no filter of system calls is in the way.
inline bool KernelHasGuards() {
  const size_t page = static_cast<size_t>(getpagesize());
  void* probe = mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const bool has = probe != MAP_FAILED && madvise(probe, page, kGuardInstall) == 0;
  munmap(probe, page);
  return has;
}

#endif  // TESTS_SUPPORT_KERNEL_GUARDS_H_
