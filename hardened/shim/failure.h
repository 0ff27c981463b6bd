// What the entry points do when there is no memory (Heap::Allocate).

#ifndef HARDENED_SHIM_FAILURE_H_
#define HARDENED_SHIM_FAILURE_H_

#include <errno.h>

#include <cstddef>

#include "absl/base/optimization.h"
#include "hardened/core/slot_record.h"

namespace hardened::shim {

// The malloc family.
struct SetErrno {
  static void* Otherwise(size_t /*bytes*/, core::AllocationKind /*kind*/) {
    errno = ENOMEM;
    return nullptr;
  }
};
inline void* OrSetErrno(void* result) {
  if (ABSL_PREDICT_FALSE(result == nullptr)) errno = ENOMEM;
  return result;
}

// operator new: asks the new handler, again and again, then throws. Defined in
// new_delete_default.cc.
[[gnu::cold, gnu::noinline]] void* NewOrThrow(size_t bytes, core::AllocationKind kind);
struct AskNewHandler {
  static void* Otherwise(size_t bytes, core::AllocationKind kind) {
    return NewOrThrow(bytes, kind);
  }
};

}  // namespace hardened::shim

#endif  // HARDENED_SHIM_FAILURE_H_
