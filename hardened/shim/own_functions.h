// Second names of the malloc family, which nobody can replace: what is called by them is ours, what
// is called by the public names is whatever the process calls.

#ifndef HARDENED_SHIM_OWN_FUNCTIONS_H_
#define HARDENED_SHIM_OWN_FUNCTIONS_H_

#include <cstddef>

namespace hardened::shim {

#pragma GCC visibility push(hidden)
extern "C" {
void* OwnMalloc(size_t bytes) noexcept __asm__("hardened_own_malloc");
void OwnFree(void* pointer) noexcept __asm__("hardened_own_free");
void* OwnCalloc(size_t count, size_t size) noexcept __asm__("hardened_own_calloc");
void* OwnRealloc(void* pointer, size_t bytes) noexcept __asm__("hardened_own_realloc");
void* OwnMemalign(size_t alignment, size_t bytes) noexcept __asm__("hardened_own_memalign");
void* OwnAlignedAlloc(size_t alignment, size_t bytes) noexcept
    __asm__("hardened_own_aligned_alloc");
void* OwnValloc(size_t bytes) noexcept __asm__("hardened_own_valloc");
void* OwnPvalloc(size_t bytes) noexcept __asm__("hardened_own_pvalloc");
}
#pragma GCC visibility pop

}  // namespace hardened::shim

#endif  // HARDENED_SHIM_OWN_FUNCTIONS_H_
