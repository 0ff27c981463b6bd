// The heap that this library was built with: of one level, or the one that the policy of the
// process chooses.

#ifndef HARDENED_SHIM_ACTIVE_HEAP_H_
#define HARDENED_SHIM_ACTIVE_HEAP_H_

#include <errno.h>

#include "hardened/heap.h"
#include "policies/settings.h"

// Given by the build, one policy a library: "policies/standard.h" and its type, or
// "hardened/shim/dispatched_heap.h" and ByEnvironment.
#include HARDENED_POLICY_HEADER

namespace hardened::shim {

template <class Policy>
struct HeapOf {
  using Type = Heap<Policy>;
};
// A policy that is none, but brings a heap.
template <class Policy>
  requires requires { typename Policy::Heap; }
struct HeapOf<Policy> {
  using Type = typename Policy::Heap;
};

using ActiveHeap = HeapOf<HARDENED_ACTIVE_POLICY>::Type;

// Given by the build as well: the level where nobody says anything, and whether there is no other.
inline constexpr policies::Level kBuildLevel = policies::Level::HARDENED_BUILD_LEVEL;
inline constexpr bool kFixedLevel = HARDENED_FIXED_LEVEL;

// What the malloc family does when there is no memory.
ABSL_ATTRIBUTE_ALWAYS_INLINE inline void* OrNoMemory(void* result) {
  if (ABSL_PREDICT_FALSE(result == nullptr)) errno = ENOMEM;
  return result;
}

// What operator new does when there is no memory: asks the new handler, again and again, then
// throws. Defined in new_delete.cc.
[[gnu::cold, gnu::noinline]] void* NewOrThrow(size_t bytes, size_t alignment,
                                              core::AllocationKind kind);

// Marks the entry points that the library exports.
#define HARDENED_EXPORT [[gnu::visibility("default")]]

}  // namespace hardened::shim

#endif  // HARDENED_SHIM_ACTIVE_HEAP_H_
