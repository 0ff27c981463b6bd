// What hardened/bounds asks before memcpy and its family go on.

#include "hardened/object_bounds.h"

#include "hardened/hardened.h"
#include "hardened/shim/active_heap.h"

namespace hardened::shim {

extern "C" {

HARDENED_EXPORT size_t hardened_bytes_from(const void* pointer) {
  return BytesFrom(reinterpret_cast<uintptr_t>(pointer));
}

HARDENED_EXPORT void hardened_report_overflow(const char* function, const void* pointer,
                                              size_t bytes, int writes) {
  ReportOverflow(function, reinterpret_cast<uintptr_t>(pointer), bytes,
                 writes != 0 ? Access::kWrite : Access::kRead);
}

}  // extern "C"

}  // namespace hardened::shim
