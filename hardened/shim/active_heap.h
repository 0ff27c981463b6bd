// The heap that this library was built with.

#ifndef HARDENED_SHIM_ACTIVE_HEAP_H_
#define HARDENED_SHIM_ACTIVE_HEAP_H_

#include "hardened/heap.h"

// Given by the build, one policy a library: "policies/standard.h" and its type.
#include HARDENED_POLICY_HEADER

namespace hardened::shim {

using ActiveHeap = Heap<HARDENED_ACTIVE_POLICY>;

// Marks the entry points that the library exports.
#define HARDENED_EXPORT [[gnu::visibility("default")]]

}  // namespace hardened::shim

#endif  // HARDENED_SHIM_ACTIVE_HEAP_H_
