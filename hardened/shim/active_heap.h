// The heap that this library was built with: of one level, or the one that the policy of the
// process chooses.

#ifndef HARDENED_SHIM_ACTIVE_HEAP_H_
#define HARDENED_SHIM_ACTIVE_HEAP_H_

#include "hardened/heap.h"
#include "hardened/shim/failure.h"
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

// Marks the entry points that the library exports.
#define HARDENED_EXPORT [[gnu::visibility("default")]]

}  // namespace hardened::shim

#endif  // HARDENED_SHIM_ACTIVE_HEAP_H_
