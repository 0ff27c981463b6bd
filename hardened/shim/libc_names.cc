// The malloc family by the names that glibc has for it besides: cfree, for programs from before
// 2017, and those that begin with __libc_, by which a malloc of the program's own reaches libc's.
// Served here, a pointer of one name may be ended by the other.
//
// Not by way of the public names: the program's malloc may be what calls.

#include <cstddef>
#include <cstdlib>

#include "hardened/shim/active_heap.h"
#include "hardened/shim/next_function.h"
#include "hardened/shim/own_functions.h"
#include "hardened/shim/process_policy.h"

namespace hardened::shim {
namespace {

// Where this library leaves the process alone: not malloc, which the library that has it may give
// by calling __libc_malloc.
constinit NextFunction next_malloc(&OwnMalloc, "__libc_malloc");
constinit NextFunction next_calloc(&OwnCalloc, "__libc_calloc");
constinit NextFunction next_realloc(&OwnRealloc, "__libc_realloc");
constinit NextFunction next_memalign(&OwnMemalign, "__libc_memalign");
constinit NextFunction next_valloc(&OwnValloc, "__libc_valloc");
constinit NextFunction next_pvalloc(&OwnPvalloc, "__libc_pvalloc");
constinit NextFunction next_free(&OwnFree, "__libc_free");

}  // namespace

extern "C" {

HARDENED_EXPORT void* __libc_malloc(size_t bytes) {
  return LeavesProcessAlone() ? next_malloc(bytes) : OwnMalloc(bytes);
}
HARDENED_EXPORT void* __libc_calloc(size_t count, size_t size) {
  return LeavesProcessAlone() ? next_calloc(count, size) : OwnCalloc(count, size);
}
HARDENED_EXPORT void* __libc_realloc(void* pointer, size_t bytes) {
  return LeavesProcessAlone() ? next_realloc(pointer, bytes) : OwnRealloc(pointer, bytes);
}
HARDENED_EXPORT void* __libc_memalign(size_t alignment, size_t bytes) {
  return LeavesProcessAlone() ? next_memalign(alignment, bytes) : OwnMemalign(alignment, bytes);
}
HARDENED_EXPORT void* __libc_valloc(size_t bytes) {
  return LeavesProcessAlone() ? next_valloc(bytes) : OwnValloc(bytes);
}
HARDENED_EXPORT void* __libc_pvalloc(size_t bytes) {
  return LeavesProcessAlone() ? next_pvalloc(bytes) : OwnPvalloc(bytes);
}
HARDENED_EXPORT void __libc_free(void* pointer) {
  LeavesProcessAlone() ? next_free(pointer) : OwnFree(pointer);
}
HARDENED_EXPORT void cfree(void* pointer) { OwnFree(pointer); }

}  // extern "C"

}  // namespace hardened::shim
