#include "hardened/shim/dispatched_heap.h"

#include <dlfcn.h>

#include "hardened/heap.h"
#include "hardened/prim/start_guard.h"
#include "hardened/shim/active_heap.h"
#include "hardened/shim/process_policy.h"
#include "policies/light.h"
#include "policies/paranoid.h"
#include "policies/standard.h"
#include "policies/strict.h"

// libc's own, for programs that the policy leaves alone. Weak: not every libc has these names.
extern "C" {
[[gnu::weak, gnu::visibility("default")]] void* __libc_malloc(size_t bytes);
[[gnu::weak, gnu::visibility("default")]] void* __libc_calloc(size_t count, size_t size);
[[gnu::weak, gnu::visibility("default")]] void* __libc_realloc(void* pointer, size_t bytes);
[[gnu::weak, gnu::visibility("default")]] void* __libc_memalign(size_t alignment, size_t bytes);
[[gnu::weak, gnu::visibility("default")]] void __libc_free(void* pointer);
}

namespace hardened::shim {
namespace {

using core::AllocationKind;

// ---- the heap of one level, as plain functions

template <class Policy>
struct HeapAdapter : Heap<Policy> {
  static void* Allocate(size_t bytes) {
    return Heap<Policy>::template Allocate<SetErrno>(bytes, AllocationKind::kMalloc);
  }
  template <AllocationKind kKind>
  static void* AllocateOrThrow(size_t bytes) {
    return Heap<Policy>::template Allocate<AskNewHandler>(bytes, kKind);
  }
  template <EntryPoint kEntry>
  static void Free(void* pointer) noexcept {
    Heap<Policy>::Free(pointer, kEntry);
  }
  template <EntryPoint kEntry>
  static void FreeSized(void* pointer, size_t bytes) noexcept {
    Heap<Policy>::FreeSized(pointer, bytes, kEntry);
  }
  static void* AllocateZeroed(size_t bytes) {
    return Heap<Policy>::template AllocateZeroed<SetErrno>(bytes);
  }
  static void FreeOtherwise(void* pointer, EntryPoint entry) noexcept {
    Heap<Policy>::Free(pointer, entry);
  }
  static void FreeSizedOtherwise(void* pointer, size_t bytes, EntryPoint entry) noexcept {
    Heap<Policy>::FreeSized(pointer, bytes, entry);
  }
};

// Writes each function of a type that has them all into the table.
template <class Functions>
void Fill(HeapFunctions& table) {
  const auto set = [](auto& entry, auto* function) {
    entry.store(function, std::memory_order_relaxed);
  };
  set(table.allocate_malloc, &Functions::Allocate);
  set(table.allocate_new, &Functions::template AllocateOrThrow<AllocationKind::kNew>);
  set(table.allocate_new_array, &Functions::template AllocateOrThrow<AllocationKind::kNewArray>);
  set(table.allocate_zeroed, &Functions::AllocateZeroed);
  set(table.free, &Functions::template Free<EntryPoint::kFree>);
  set(table.delete_one, &Functions::template Free<EntryPoint::kDelete>);
  set(table.delete_array, &Functions::template Free<EntryPoint::kDeleteArray>);
  set(table.delete_one_sized, &Functions::template FreeSized<EntryPoint::kDelete>);
  set(table.delete_array_sized, &Functions::template FreeSized<EntryPoint::kDeleteArray>);
  set(table.free_otherwise, &Functions::FreeOtherwise);
  set(table.free_sized_otherwise, &Functions::FreeSizedOtherwise);
  set(table.allocate_aligned, &Functions::AllocateAligned);
  set(table.reallocate, &Functions::Reallocate);
  set(table.usable_size, &Functions::UsableSize);
}

// ---- libc's malloc

struct Libc {
  static bool Exists() {
    return __libc_malloc != nullptr && __libc_calloc != nullptr && __libc_realloc != nullptr &&
           __libc_memalign != nullptr && __libc_free != nullptr;
  }

  static void* Allocate(size_t bytes) { return __libc_malloc(bytes); }
  template <AllocationKind kKind>
  static void* AllocateOrThrow(size_t bytes) {
    void* result = __libc_malloc(bytes);
    return result != nullptr ? result : NewOrThrow(bytes, 1, kKind);
  }
  template <EntryPoint>
  static void Free(void* pointer) noexcept {
    if (!prim::IsEarly(pointer)) __libc_free(pointer);
  }
  template <EntryPoint kEntry>
  static void FreeSized(void* pointer, size_t) noexcept {
    Free<kEntry>(pointer);
  }
  static void* AllocateZeroed(size_t bytes) { return __libc_calloc(1, bytes); }
  static void FreeOtherwise(void* pointer, EntryPoint) noexcept {
    Free<EntryPoint::kFree>(pointer);
  }
  static void FreeSizedOtherwise(void* pointer, size_t, EntryPoint) noexcept {
    Free<EntryPoint::kFree>(pointer);
  }
  static void* AllocateAligned(size_t alignment, size_t bytes, AllocationKind) {
    return __libc_memalign(alignment, bytes);
  }
  static void* Reallocate(void* pointer, size_t bytes, EntryPoint) {
    if (prim::IsEarly(pointer)) {
      void* result = __libc_malloc(bytes);
      const size_t old_bytes = prim::EarlySize(pointer);
      if (result != nullptr) {
        __builtin_memcpy(result, pointer, old_bytes < bytes ? old_bytes : bytes);
      }
      return result;
    }
    return __libc_realloc(pointer, bytes);
  }
  // Has no other name in libc than the one that this library takes.
  static size_t UsableSize(void* pointer) {
    if (prim::IsEarly(pointer)) return prim::EarlySize(pointer);
    using Function = size_t(void*);
    static constinit std::atomic<Function*> found{nullptr};
    Function* function = found.load(std::memory_order_relaxed);
    if (function == nullptr) {
      function = reinterpret_cast<Function*>(dlsym(RTLD_NEXT, "malloc_usable_size"));
      if (function == nullptr) return 0;
      found.store(function, std::memory_order_relaxed);
    }
    return function(pointer);
  }
};

// ---- before the first call

// Fills the table for the policy of this process, and seals it.
// Returns: false to a thread that is already at it.
[[gnu::cold, gnu::noinline]] bool Choose() {
  if (prim::ThreadIsStarting()) return heap_functions.sealed();
  const prim::StartGuard guard;
  if (heap_functions.sealed()) return true;
  const policies::ResolvedPolicy& policy = ThisProcessPolicy().resolved;
  HeapFunctions& table = heap_functions.Writable();
  if (IsDisabled()) {
    Fill<Libc>(table);
  } else {
    switch (policy.level) {
      case policies::Level::kLight:
        Fill<HeapAdapter<policies::Light>>(table);
        break;
      case policies::Level::kStandard:
        Fill<HeapAdapter<policies::Standard>>(table);
        break;
      case policies::Level::kStrict:
        Fill<HeapAdapter<policies::Strict>>(table);
        break;
      case policies::Level::kParanoid:
        Fill<HeapAdapter<policies::Paranoid>>(table);
        break;
    }
  }
  heap_functions.Seal();
  return true;
}

// What the table holds at first: chooses, and calls what it holds then. While that is going on the
// thread that does it lives on early memory; whatever else it frees then is leaked.
struct First {
  static void* Allocate(size_t bytes) {
    if (!Choose()) return AllocateEarly(core::kSlotAlignment, bytes);
    return DispatchedHeap::Allocate<SetErrno>(bytes, AllocationKind::kMalloc);
  }
  template <AllocationKind kKind>
  static void* AllocateOrThrow(size_t bytes) {
    if (!Choose()) return AllocateEarly(core::kSlotAlignment, bytes);
    return DispatchedHeap::Allocate<AskNewHandler>(bytes, kKind);
  }
  template <EntryPoint kEntry>
  static void Free(void* pointer) noexcept {
    if (Choose()) DispatchedHeap::Free(pointer, kEntry);
  }
  template <EntryPoint kEntry>
  static void FreeSized(void* pointer, size_t bytes) noexcept {
    if (Choose()) DispatchedHeap::FreeSized(pointer, bytes, kEntry);
  }
  static void* AllocateZeroed(size_t bytes) {
    if (!Choose()) return AllocateEarly(core::kSlotAlignment, bytes);
    return DispatchedHeap::AllocateZeroed<SetErrno>(bytes);
  }
  static void FreeOtherwise(void* pointer, EntryPoint entry) noexcept {
    if (Choose()) DispatchedHeap::Free(pointer, entry);
  }
  static void FreeSizedOtherwise(void* pointer, size_t bytes, EntryPoint entry) noexcept {
    if (Choose()) DispatchedHeap::FreeSized(pointer, bytes, entry);
  }
  static void* AllocateAligned(size_t alignment, size_t bytes, AllocationKind kind) {
    if (!Choose()) return AllocateEarly(alignment, bytes);
    return DispatchedHeap::AllocateAligned(alignment, bytes, kind);
  }
  static void* Reallocate(void* pointer, size_t bytes, EntryPoint entry) {
    if (!Choose()) return ReallocateEarly(pointer, bytes);
    return DispatchedHeap::Reallocate(pointer, bytes, entry);
  }
  static size_t UsableSize(void* pointer) {
    if (!Choose()) return prim::IsEarly(pointer) ? prim::EarlySize(pointer) : 0;
    return DispatchedHeap::UsableSize(pointer);
  }

 private:
  static void* AllocateEarly(size_t alignment, size_t bytes) {
    void* result = prim::AllocateEarly(bytes, alignment);
    return result != nullptr ? result : SetErrno::Otherwise(bytes, AllocationKind::kMalloc);
  }
  static void* ReallocateEarly(void* pointer, size_t bytes) {
    void* result = AllocateEarly(core::kSlotAlignment, bytes);
    if (result == nullptr || !prim::IsEarly(pointer)) return result;
    const size_t old_bytes = prim::EarlySize(pointer);
    __builtin_memcpy(result, pointer, old_bytes < bytes ? old_bytes : bytes);
    return result;
  }
};

}  // namespace

constexpr HeapFunctions::HeapFunctions()
    : allocate_malloc(&First::Allocate),
      allocate_zeroed(&First::AllocateZeroed),
      allocate_new(&First::AllocateOrThrow<AllocationKind::kNew>),
      allocate_new_array(&First::AllocateOrThrow<AllocationKind::kNewArray>),
      free(&First::Free<EntryPoint::kFree>),
      delete_one(&First::Free<EntryPoint::kDelete>),
      delete_array(&First::Free<EntryPoint::kDeleteArray>),
      delete_one_sized(&First::FreeSized<EntryPoint::kDelete>),
      delete_array_sized(&First::FreeSized<EntryPoint::kDeleteArray>),
      free_otherwise(&First::FreeOtherwise),
      free_sized_otherwise(&First::FreeSizedOtherwise),
      allocate_aligned(&First::AllocateAligned),
      reallocate(&First::Reallocate),
      usable_size(&First::UsableSize) {}

constinit prim::Sealed<HeapFunctions> heap_functions;

const char* DispatchedHeap::LevelName() {
  return IsDisabled() ? "off" : policies::FeaturesOf(ThisProcessPolicy().resolved.level).name;
}

bool IsDisabled() { return ThisProcessPolicy().resolved.disabled && Libc::Exists(); }

}  // namespace hardened::shim
