// HeapUnderTest: the Heap<Policy> that this test program was built for.

#ifndef TESTS_HARDENED_HEAP_UNDER_TEST_H_
#define TESTS_HARDENED_HEAP_UNDER_TEST_H_

#include <cstddef>
#include <cstdint>

#include "hardened/heap.h"
// Given by the build: "policies/standard.h" and its type.
#include HARDENED_POLICY_HEADER

namespace hardened {

using HeapUnderTest = Heap<HARDENED_ACTIVE_POLICY>;

inline char* Allocate(size_t bytes) {
  return static_cast<char*>(HeapUnderTest::Allocate(bytes, core::AllocationKind::kMalloc));
}
inline char* AllocateZeroed(size_t bytes) {
  return static_cast<char*>(HeapUnderTest::AllocateZeroed(bytes));
}
inline char* AllocateAligned(size_t alignment, size_t bytes) {
  return static_cast<char*>(
      HeapUnderTest::AllocateAligned(alignment, bytes, core::AllocationKind::kAligned));
}
inline char* Reallocate(void* pointer, size_t bytes) {
  return static_cast<char*>(HeapUnderTest::Reallocate(pointer, bytes, EntryPoint::kRealloc));
}
inline void Free(void* pointer) { HeapUnderTest::Free(pointer, EntryPoint::kFree); }
inline size_t UsableSize(void* pointer) { return HeapUnderTest::UsableSize(pointer); }
inline uintptr_t AddressOf(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }
// Not a guarded sample, which any allocation may be. Requires: `bytes` is the request of a slot.
inline char* AllocateSlot(size_t bytes) {
  for (;;) {
    char* block = Allocate(bytes);
    if (core::heap_state.FindSlice(AddressOf(block))->use == core::SliceUse::kSlab) return block;
  }
}

}  // namespace hardened

#endif  // TESTS_HARDENED_HEAP_UNDER_TEST_H_
