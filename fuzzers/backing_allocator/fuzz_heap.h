// FuzzHeap: Heap<Fuzzing> with inputs (backing_allocator.h). To the shim it looks like the heap of
// a level.
//
// While an input is under way, its thread has a thread heap with a home arena at a fixed address,
// which is as new whenever an input begins but for what earlier inputs left. Everybody else has
// ordinary heaps. Who frees what, and when, does not matter: the owner of the memory decides.

#ifndef FUZZERS_BACKING_ALLOCATOR_FUZZ_HEAP_H_
#define FUZZERS_BACKING_ALLOCATOR_FUZZ_HEAP_H_

#include <cstddef>
#include <cstdint>

#include "hardened/heap.h"
#include "policies/examples/fuzzing.h"

namespace hardened::fuzzing {

// Whether an input is under way on this thread.
[[gnu::visibility("hidden"),
  gnu::tls_model("initial-exec")]] extern constinit thread_local bool in_input;

// Where the memory of inputs is.
struct HomeRange {
  uintptr_t base = 0;
  size_t bytes = 0;
};
[[gnu::visibility("hidden")]] extern HomeRange home_range;

class FuzzHeap {
  using Base = Heap<policies::Fuzzing>;

 public:
  static constexpr const Features& kFeatures = policies::Fuzzing::kFeatures;

  template <class Failure = NullOtherwise>
  ABSL_ATTRIBUTE_ALWAYS_INLINE static void* Allocate(size_t bytes, core::AllocationKind kind) {
    if (!in_input) return Base::Allocate<Failure>(bytes, kind);
    void* result = AllocateInInput({bytes, 1, kind, false, __builtin_return_address(0)});
    return result != nullptr ? result : Failure::Otherwise(bytes, kind);
  }
  template <class Failure = NullOtherwise>
  ABSL_ATTRIBUTE_ALWAYS_INLINE static void* AllocateZeroed(size_t bytes) {
    constexpr core::AllocationKind kKind = core::AllocationKind::kMalloc;
    if (!in_input) return Base::AllocateZeroed<Failure>(bytes);
    void* result = AllocateInInput({bytes, 1, kKind, true, __builtin_return_address(0)});
    return result != nullptr ? result : Failure::Otherwise(bytes, kKind);
  }
  ABSL_ATTRIBUTE_ALWAYS_INLINE static void* AllocateAligned(size_t alignment, size_t bytes,
                                                            core::AllocationKind kind) {
    if (!in_input) return Base::AllocateAligned(alignment, bytes, kind);
    return AllocateInInput({bytes, alignment, kind, false, __builtin_return_address(0)});
  }
  static void Free(void* pointer, EntryPoint entry_point) {
    NoteEnd(pointer);
    Base::Free(pointer, entry_point);
  }
  static void FreeSized(void* pointer, size_t bytes, EntryPoint entry_point) {
    NoteEnd(pointer);
    Base::FreeSized(pointer, bytes, entry_point);
  }
  ABSL_ATTRIBUTE_ALWAYS_INLINE static void* Reallocate(void* pointer, size_t bytes,
                                                       EntryPoint entry_point) {
    return ReallocateCounted(pointer, bytes, entry_point, __builtin_return_address(0));
  }
  static size_t UsableSize(void* pointer) { return Base::UsableSize(pointer); }
  static void CheckStatedAlignment(void* pointer, size_t alignment, EntryPoint entry_point) {
    Base::CheckStatedAlignment(pointer, alignment, entry_point);
  }

 private:
  struct Request {
    size_t bytes;
    size_t alignment;  // 1: none
    core::AllocationKind kind;
    bool zeroed;
    void* caller;
  };
  static void* AllocateInInput(const Request& request);
  static void* ReallocateCounted(void* pointer, size_t bytes, EntryPoint entry_point, void* caller);
  // The budget gets back what `pointer` holds, if it is an allocation of an input.
  ABSL_ATTRIBUTE_ALWAYS_INLINE static void NoteEnd(void* pointer) {
    if (reinterpret_cast<uintptr_t>(pointer) - home_range.base < home_range.bytes) {
      CountEnd(pointer);
    }
  }
  static void CountEnd(void* pointer);
};

// Stands where a policy stands in the libraries of one level.
struct Backing {
  using Heap = FuzzHeap;
};

}  // namespace hardened::fuzzing

#endif  // FUZZERS_BACKING_ALLOCATOR_FUZZ_HEAP_H_
