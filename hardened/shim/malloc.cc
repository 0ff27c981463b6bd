// malloc, free and their family, as C23, POSIX and glibc document them.
//
// Where they differ, glibc's behaviour holds, since programs were tested on it: realloc(p, 0) frees
// and returns null, malloc(0) returns a unique pointer, memalign rounds its alignment up.
//
// What valgrind does not know it cannot replace along with the rest, and programs that bring a
// malloc of their own seldom bring all of it: such calls go on to the public name of a function
// that everybody knows.

#include <errno.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "hardened/core/heap_state.h"
#include "hardened/prim/system_info.h"
#include "hardened/shim/active_heap.h"
#include "hardened/shim/own_functions.h"

namespace hardened::shim {
namespace {

using core::AllocationKind;

// Without an instruction that counts bits std::has_single_bit() is a call.
constexpr bool IsPowerOfTwo(size_t number) { return number != 0 && (number & (number - 1)) == 0; }

void* AllocateAligned(size_t alignment, size_t bytes) {
  return OrSetErrno(ActiveHeap::AllocateAligned(alignment, bytes, AllocationKind::kAligned));
}

}  // namespace

extern "C" {

HARDENED_EXPORT void* malloc(size_t bytes) {
  return ActiveHeap::Allocate<SetErrno>(bytes, AllocationKind::kMalloc);
}

HARDENED_EXPORT void free(void* pointer) { ActiveHeap::Free(pointer, EntryPoint::kFree); }

HARDENED_EXPORT void* calloc(size_t count, size_t size) {
  size_t bytes;
  if (ABSL_PREDICT_FALSE(__builtin_mul_overflow(count, size, &bytes))) {
    errno = ENOMEM;
    return nullptr;
  }
  return ActiveHeap::AllocateZeroed<SetErrno>(bytes);
}

HARDENED_EXPORT void* realloc(void* pointer, size_t bytes) {
  if (pointer == nullptr) return ActiveHeap::Allocate<SetErrno>(bytes, AllocationKind::kMalloc);
  if (bytes == 0) {
    ActiveHeap::Free(pointer, EntryPoint::kRealloc);
    return nullptr;
  }
  return OrSetErrno(ActiveHeap::Reallocate(pointer, bytes, EntryPoint::kRealloc));
}

HARDENED_EXPORT void* reallocarray(void* pointer, size_t count, size_t size) {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) {
    errno = ENOMEM;
    return nullptr;
  }
  return realloc(pointer, bytes);
}

HARDENED_EXPORT void* memalign(size_t alignment, size_t bytes) {
  if (alignment > SIZE_MAX / 2 + 1) {
    errno = EINVAL;
    return nullptr;
  }
  return AllocateAligned(std::bit_ceil(alignment), bytes);
}

HARDENED_EXPORT void* aligned_alloc(size_t alignment, size_t bytes) {
  if (!IsPowerOfTwo(alignment)) {
    errno = EINVAL;
    return nullptr;
  }
  return AllocateAligned(alignment, bytes);
}

HARDENED_EXPORT int posix_memalign(void** out, size_t alignment, size_t bytes) {
  if (!IsPowerOfTwo(alignment) || alignment % sizeof(void*) != 0) return EINVAL;
  void* result = ActiveHeap::AllocateAligned(alignment, bytes, AllocationKind::kAligned);
  if (result == nullptr) return ENOMEM;
  *out = result;
  return 0;
}

HARDENED_EXPORT void* valloc(size_t bytes) { return AllocateAligned(prim::PageSize(), bytes); }

HARDENED_EXPORT void* pvalloc(size_t bytes) {
  const size_t page = prim::PageSize();
  if (bytes > SIZE_MAX - page) {
    errno = ENOMEM;
    return nullptr;
  }
  return memalign(page, prim::RoundUp(bytes == 0 ? 1 : bytes, page));
}

HARDENED_EXPORT size_t malloc_usable_size(void* pointer) { return ActiveHeap::UsableSize(pointer); }

// C23. A heap that was never asked for memory has nothing to free.
HARDENED_EXPORT void free_sized(void* pointer, size_t bytes) {
  if (!core::heap_state.started()) return free(pointer);
  ActiveHeap::FreeSized(pointer, bytes, EntryPoint::kFreeSized);
}

HARDENED_EXPORT void free_aligned_sized(void* pointer, size_t alignment, size_t bytes) {
  if (!core::heap_state.started()) return free(pointer);
  ActiveHeap::CheckStatedAlignment(pointer, alignment, EntryPoint::kFreeAlignedSized);
  ActiveHeap::FreeSized(pointer, bytes, EntryPoint::kFreeAlignedSized);
}

// The second names.
[[gnu::alias("malloc")]] void* OwnMalloc(size_t bytes) noexcept;
[[gnu::alias("free")]] void OwnFree(void* pointer) noexcept;
[[gnu::alias("calloc")]] void* OwnCalloc(size_t count, size_t size) noexcept;
[[gnu::alias("realloc")]] void* OwnRealloc(void* pointer, size_t bytes) noexcept;
[[gnu::alias("memalign")]] void* OwnMemalign(size_t alignment, size_t bytes) noexcept;
[[gnu::alias("aligned_alloc")]] void* OwnAlignedAlloc(size_t alignment, size_t bytes) noexcept;
[[gnu::alias("valloc")]] void* OwnValloc(size_t bytes) noexcept;
[[gnu::alias("pvalloc")]] void* OwnPvalloc(size_t bytes) noexcept;

}  // extern "C"

}  // namespace hardened::shim
