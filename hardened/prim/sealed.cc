#include "hardened/prim/sealed.h"

#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace hardened::prim {
namespace {

// The same number on every architecture; older headers lack it.
constexpr long kMsealCall = 462;

SealResult Protect(void* start, size_t size) {
  const size_t page = getauxval(AT_PAGESZ);
  // A kernel with larger pages, or a loader that ignored the alignment: neighbours would suffer.
  if (page == 0 || reinterpret_cast<uintptr_t>(start) % page != 0 || size % page != 0) {
    return SealResult::kUnprotected;
  }
  if (mprotect(start, size, PROT_READ) != 0) return SealResult::kUnprotected;
  // A filter of system calls may kill for one that is newer than itself.
  if (prctl(PR_GET_SECCOMP) != 0) return SealResult::kReadOnly;
  return syscall(kMsealCall, start, size, 0) == 0 ? SealResult::kSealed : SealResult::kReadOnly;
}

}  // namespace

SealResult SealPages(void* start, size_t size) {
  const int saved_errno = errno;
  const SealResult result = Protect(start, size);
  errno = saved_errno;
  return result;
}

}  // namespace hardened::prim
