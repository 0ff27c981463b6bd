// Second names of the malloc family, which nobody can replace: what is called by them is ours, what
// is called by the public names is whatever the process calls.

#ifndef HARDENED_SHIM_OWN_FUNCTIONS_H_
#define HARDENED_SHIM_OWN_FUNCTIONS_H_

#include <cstddef>

namespace hardened::shim {

extern "C" {
[[gnu::visibility("hidden")]] void* OwnMalloc(size_t bytes) noexcept __asm__("hardened_own_malloc");
[[gnu::visibility("hidden")]] void OwnFree(void* pointer) noexcept __asm__("hardened_own_free");
[[gnu::visibility("hidden")]] void* OwnAlignedAlloc(size_t alignment, size_t bytes) noexcept
    __asm__("hardened_own_aligned_alloc");
}

}  // namespace hardened::shim

#endif  // HARDENED_SHIM_OWN_FUNCTIONS_H_
