#include "hardened/shim/dispatched_heap.h"

#include <cstdlib>

#include "hardened/heap.h"
#include "hardened/prim/start_guard.h"
#include "hardened/replaced_operators.h"
#include "hardened/shim/active_heap.h"
#include "hardened/shim/new_delete_default.h"
#include "hardened/shim/next_function.h"
#include "hardened/shim/process_policy.h"
#include "policies/light.h"
#include "policies/paranoid.h"
#include "policies/standard.h"
#include "policies/strict.h"

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
  set(table.delete_one_sized, &Functions::template FreeSized<EntryPoint::kSizedDelete>);
  set(table.delete_array_sized, &Functions::template FreeSized<EntryPoint::kSizedDeleteArray>);
  set(table.free_otherwise, &Functions::FreeOtherwise);
  set(table.free_sized_otherwise, &Functions::FreeSizedOtherwise);
  set(table.allocate_aligned, &Functions::AllocateAligned);
  set(table.reallocate, &Functions::Reallocate);
  set(table.usable_size, &Functions::UsableSize);
  set(table.check_stated_alignment, &Functions::CheckStatedAlignment);
}

// ---- for processes that are left alone

constinit NextFunction next_malloc(&malloc, "malloc");
constinit NextFunction next_calloc(&calloc, "calloc");
constinit NextFunction next_realloc(&realloc, "realloc");
constinit NextFunction<void*(size_t, size_t)> next_memalign(nullptr, "memalign");
constinit NextFunction next_free(&free, "free");
constinit NextFunction<size_t(void*)> next_usable_size(nullptr, "malloc_usable_size");

// The malloc behind this library, and the default behaviour of operator new and delete.
struct Libc {
  // Looks all of them up. Later a look-up may free the text of an earlier error, by the function
  // that it is to find.
  static void Find() {
    next_malloc.get();
    next_calloc.get();
    next_realloc.get();
    next_memalign.get();
    next_free.get();
    next_usable_size.get();
  }

  static void* Allocate(size_t bytes) { return next_malloc(bytes); }
  template <AllocationKind kKind>
  static void* AllocateOrThrow(size_t bytes) {
    return kKind == AllocationKind::kNew ? NewByDefault(bytes) : NewArrayByDefault(bytes);
  }
  template <EntryPoint kEntry>
  static void Free(void* pointer) noexcept {
    FreeOtherwise(pointer, kEntry);
  }
  template <EntryPoint kEntry>
  static void FreeSized(void* pointer, size_t) noexcept {
    FreeOtherwise(pointer, kEntry);
  }
  static void* AllocateZeroed(size_t bytes) { return next_calloc(size_t{1}, bytes); }
  static void FreeOtherwise(void* pointer, EntryPoint entry) noexcept {
    if (prim::IsEarly(pointer)) return;
    if (!IsPlainDelete(entry) || !EndByDefault(pointer, entry)) next_free(pointer);
  }
  static void FreeSizedOtherwise(void* pointer, size_t, EntryPoint entry) noexcept {
    FreeOtherwise(pointer, entry);
  }
  static void* AllocateAligned(size_t alignment, size_t bytes, AllocationKind) {
    return next_memalign(alignment, bytes);
  }
  static void* Reallocate(void* pointer, size_t bytes, EntryPoint) {
    if (!prim::IsEarly(pointer)) return next_realloc(pointer, bytes);
    void* result = next_malloc(bytes);
    const size_t old_bytes = prim::EarlySize(pointer);
    if (result != nullptr) {
      __builtin_memcpy(result, pointer, old_bytes < bytes ? old_bytes : bytes);
    }
    return result;
  }
  static void CheckStatedAlignment(void*, size_t, EntryPoint) {}
  static size_t UsableSize(void* pointer) {
    return prim::IsEarly(pointer) ? prim::EarlySize(pointer) : next_usable_size(pointer);
  }
};

// ---- before the first call

// Fills the table for the policy of this process, and seals it.
// Returns: false to a thread that is already at it.
[[gnu::cold, gnu::noinline]] bool Choose() {
  if (prim::ThreadIsStarting()) return heap_functions.sealed();
  // Before others wait for this thread: it may ask the loader.
  const bool plain_are_ours = PlainAreOurs();
  const prim::StartGuard guard;
  if (heap_functions.sealed()) return true;
  // Within: a look-up that frees or allocates is served as start-up is.
  if (LeavesProcessAlone()) Libc::Find();
  HeapFunctions& table = heap_functions.Writable();
  if (LeavesProcessAlone()) {
    Fill<Libc>(table);
  } else {
    switch (ThisProcessPolicy().resolved.level) {
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
    // The forms of delete come to their slow side then, and need nothing here.
    if (!plain_are_ours) {
      table.allocate_new.store(&NewByDefault, std::memory_order_relaxed);
      table.allocate_new_array.store(&NewArrayByDefault, std::memory_order_relaxed);
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
  static void CheckStatedAlignment(void* pointer, size_t alignment, EntryPoint entry) {
    if (Choose()) DispatchedHeap::CheckStatedAlignment(pointer, alignment, entry);
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
      delete_one_sized(&First::FreeSized<EntryPoint::kSizedDelete>),
      delete_array_sized(&First::FreeSized<EntryPoint::kSizedDeleteArray>),
      free_otherwise(&First::FreeOtherwise),
      free_sized_otherwise(&First::FreeSizedOtherwise),
      allocate_aligned(&First::AllocateAligned),
      reallocate(&First::Reallocate),
      usable_size(&First::UsableSize),
      check_stated_alignment(&First::CheckStatedAlignment) {}

constinit prim::Sealed<HeapFunctions> heap_functions;

const char* DispatchedHeap::LevelName() {
  return LeavesProcessAlone() ? "off"
                              : policies::FeaturesOf(ThisProcessPolicy().resolved.level).name;
}

}  // namespace hardened::shim
