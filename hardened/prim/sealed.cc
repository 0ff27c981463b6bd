#include "hardened/prim/sealed.h"

#include <sys/auxv.h>
#include <sys/mman.h>

#include "hardened/prim/kernel.h"
#include "hardened/prim/system_info.h"

namespace hardened::prim {

SealResult SealPages(void* start, size_t size) {
  const size_t page = getauxval(AT_PAGESZ);
  // A kernel with larger pages, or a loader that ignored the alignment: neighbours would suffer.
  if (page == 0 || reinterpret_cast<uintptr_t>(start) % page != 0 || size % page != 0) {
    return SealResult::kUnprotected;
  }
  if (kernel::Protect(start, size, PROT_READ) != 0) return SealResult::kUnprotected;
  // Which does not know mseal(2), and tells the user so.
  if (UnderValgrind()) return SealResult::kReadOnly;
  return kernel::SystemCall(kernel::kMseal, start, size, 0) == 0 ? SealResult::kSealed
                                                                 : SealResult::kReadOnly;
}

}  // namespace hardened::prim
