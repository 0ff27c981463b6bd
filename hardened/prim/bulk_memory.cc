#include "hardened/prim/bulk_memory.h"

#include <cstdint>

#include "absl/base/attributes.h"
#include "hardened/prim/processor.h"

namespace hardened::prim {
namespace {

// Vectors travel by reference only: by value, their ABI depends on the target options.
template <size_t kBytes>
struct Vector;
template <>
struct Vector<16> {
  typedef uint64_t Type __attribute__((vector_size(16), may_alias));
};
template <>
struct Vector<32> {
  typedef uint64_t Type __attribute__((vector_size(32), may_alias, aligned(16)));
};

// Beyond, libc's string instructions are faster: they do not read the lines first.
constexpr size_t kMostStored = 32 << 10;

// Calls `at` with the start of each of the vectors that cover [start, start + size), some of it
// twice: four from each end up to eight vectors; beyond, one at the start, then eight at a time at
// multiples of a vector, and eight at the end. Requires: size >= 4 * kBytes.
template <size_t kBytes, typename Byte, typename At>
[[gnu::always_inline]] inline void ForVectors(Byte* start, size_t size, const At& at) {
  Byte* const end = start + size;
  if (size <= 8 * kBytes) {
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; ++i) at(start + i * kBytes);
  } else {
    at(start);
    for (Byte* next = start + kBytes - reinterpret_cast<uintptr_t>(start) % kBytes;
         next < end - 8 * kBytes; next += 8 * kBytes) {
#pragma GCC unroll 8
      for (size_t i = 0; i < 8; ++i) at(next + i * kBytes);
    }
#pragma GCC unroll 4
    for (size_t i = 8; i > 4; --i) at(end - i * kBytes);
  }
#pragma GCC unroll 4
  for (size_t i = 4; i > 0; --i) at(end - i * kBytes);
}

template <size_t kBytes>
[[gnu::always_inline]] inline void Zero(void* start, size_t size) {
  using Type = typename Vector<kBytes>::Type;
  ForVectors<kBytes>(static_cast<char*>(start), size,
                     [](char* at) { *reinterpret_cast<Type*>(at) = Type{}; });
}

// Gathers all bits that are set in [start, start + size).
template <size_t kBytes>
[[gnu::always_inline]] inline void Gather(const void* start, size_t size,
                                          typename Vector<kBytes>::Type& any) {
  using Type = typename Vector<kBytes>::Type;
  ForVectors<kBytes>(static_cast<const char*>(start), size,
                     [&any](const char* at) ABSL_ATTRIBUTE_ALWAYS_INLINE {
                       any |= *reinterpret_cast<const Type*>(at);
                     });
}

// Not for ThreadSanitizer: a sweep looks at what others may write at the same time, and then
// forgets it (neighbours.h).
__attribute__((no_sanitize("thread"))) bool IsZeroBy16(const void* start, size_t size) {
  Vector<16>::Type any = {};
  Gather<16>(start, size, any);
  return (any[0] | any[1]) == 0;
}

#if defined(__x86_64__)
[[gnu::target("avx2")]] void ZeroAvx2(void* start, size_t size) { Zero<32>(start, size); }

[[gnu::target("avx2")]] __attribute__((no_sanitize("thread"))) bool IsZeroAvx2(const void* start,
                                                                               size_t size) {
  typedef long long Tested __attribute__((vector_size(32)));
  Vector<32>::Type any = {};
  Gather<32>(start, size, any);
  return __builtin_ia32_ptestz256(reinterpret_cast<Tested>(any), reinterpret_cast<Tested>(any)) !=
         0;
}
#endif

}  // namespace

#if defined(__x86_64__)
void ZeroBulk(void* start, size_t size) {
  if (size > kMostStored) {
    __builtin_memset(start, 0, size);
    return;
  }
  if (HasAvx2()) return ZeroAvx2(start, size);
  Zero<16>(start, size);
}

bool IsBulkZero(const void* start, size_t size) {
  if (HasAvx2()) return IsZeroAvx2(start, size);
  return IsZeroBy16(start, size);
}
#else
void ZeroBulk(void* start, size_t size) { Zero<16>(start, size); }
bool IsBulkZero(const void* start, size_t size) { return IsZeroBy16(start, size); }
#endif

}  // namespace hardened::prim
