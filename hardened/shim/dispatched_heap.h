// DispatchedHeap: the heap of a library that has all levels. The policy of the process chooses one
// at the first call; from then on every call goes through a sealed table of functions.
//
// It looks like Heap<Policy> to the rest of the shim. Entry points, kinds and what to do without
// memory are constants where they are passed, so that malloc, calloc and operator new have places
// of their own in the table and the functions behind them are compiled for them.
//
// Threads: all functions from any thread.

#ifndef HARDENED_SHIM_DISPATCHED_HEAP_H_
#define HARDENED_SHIM_DISPATCHED_HEAP_H_

#include <atomic>
#include <cstddef>
#include <type_traits>

#include "absl/base/attributes.h"
#include "hardened/core/slot_record.h"
#include "hardened/entry_point.h"
#include "hardened/heap.h"
#include "hardened/prim/sealed.h"
#include "hardened/shim/failure.h"

namespace hardened::shim {

// The table. Each entry is at first a function that chooses the level, fills the table and calls
// again; atomic, because other threads may be calling meanwhile.
struct HeapFunctions {
  template <typename Function>
  using Entry = std::atomic<Function*>;

  constexpr HeapFunctions();
  HeapFunctions(const HeapFunctions&) = delete;
  HeapFunctions& operator=(const HeapFunctions&) = delete;

  Entry<void*(size_t)> allocate_malloc, allocate_zeroed;  // errno without memory
  Entry<void*(size_t)> allocate_new, allocate_new_array;  // throw without memory
  Entry<void(void*) noexcept> free, delete_one, delete_array;
  Entry<void(void*, size_t) noexcept> delete_one_sized, delete_array_sized;
  // The rest pays for telling the entry points apart.
  Entry<void(void*, EntryPoint) noexcept> free_otherwise;
  Entry<void(void*, size_t, EntryPoint) noexcept> free_sized_otherwise;
  Entry<void*(size_t, size_t, core::AllocationKind)> allocate_aligned;
  Entry<void*(void*, size_t, EntryPoint)> reallocate;
  Entry<size_t(void*)> usable_size;
  Entry<void(void*, size_t, EntryPoint)> check_stated_alignment;
};

[[gnu::visibility("hidden")]] extern prim::Sealed<HeapFunctions> heap_functions;

class DispatchedHeap {
  template <typename Result, bool kNoexcept, typename... Arguments>
  ABSL_ATTRIBUTE_ALWAYS_INLINE static Result Call(
      const std::atomic<Result (*)(Arguments...) noexcept(kNoexcept)>& entry,
      std::type_identity_t<Arguments>... arguments) noexcept(kNoexcept) {
    return entry.load(std::memory_order_relaxed)(arguments...);
  }

 public:
  template <class Failure = NullOtherwise>
  ABSL_ATTRIBUTE_ALWAYS_INLINE static void* Allocate(size_t bytes, core::AllocationKind kind) {
    if constexpr (std::is_same_v<Failure, SetErrno>) {
      return Call(heap_functions->allocate_malloc, bytes);
    } else if constexpr (std::is_same_v<Failure, AskNewHandler>) {
      return kind == core::AllocationKind::kNew ? Call(heap_functions->allocate_new, bytes)
                                                : Call(heap_functions->allocate_new_array, bytes);
    } else {
      return AllocateAligned(/*alignment=*/1, bytes, kind);
    }
  }
  template <class Failure>
  requires std::is_same_v<Failure, SetErrno> ABSL_ATTRIBUTE_ALWAYS_INLINE static void*
  AllocateZeroed(size_t bytes) {
    return Call(heap_functions->allocate_zeroed, bytes);
  }
  ABSL_ATTRIBUTE_ALWAYS_INLINE static void Free(void* pointer, EntryPoint entry_point) {
    switch (entry_point) {
      case EntryPoint::kFree:
        return Call(heap_functions->free, pointer);
      case EntryPoint::kDelete:
        return Call(heap_functions->delete_one, pointer);
      case EntryPoint::kDeleteArray:
        return Call(heap_functions->delete_array, pointer);
      default:
        return Call(heap_functions->free_otherwise, pointer, entry_point);
    }
  }
  ABSL_ATTRIBUTE_ALWAYS_INLINE static void FreeSized(void* pointer, size_t bytes,
                                                     EntryPoint entry_point) {
    switch (entry_point) {
      case EntryPoint::kSizedDelete:
        return Call(heap_functions->delete_one_sized, pointer, bytes);
      case EntryPoint::kSizedDeleteArray:
        return Call(heap_functions->delete_array_sized, pointer, bytes);
      default:
        return Call(heap_functions->free_sized_otherwise, pointer, bytes, entry_point);
    }
  }
  static void* AllocateAligned(size_t alignment, size_t bytes, core::AllocationKind kind) {
    return Call(heap_functions->allocate_aligned, alignment, bytes, kind);
  }
  static void* Reallocate(void* pointer, size_t bytes, EntryPoint entry_point) {
    return Call(heap_functions->reallocate, pointer, bytes, entry_point);
  }
  static void CheckStatedAlignment(void* pointer, size_t alignment, EntryPoint entry_point) {
    Call(heap_functions->check_stated_alignment, pointer, alignment, entry_point);
  }
  // "off" where the policy says so.
  static const char* LevelName();
  static size_t UsableSize(void* pointer) { return Call(heap_functions->usable_size, pointer); }
};

// Stands where a policy stands in the libraries of one level.
struct ByEnvironment {
  using Heap = DispatchedHeap;
};

}  // namespace hardened::shim

#endif  // HARDENED_SHIM_DISPATCHED_HEAP_H_
