// Every replaceable form of operator new and delete.
//
// The C++ runtime is not a dependency of the library: what new needs of it (the new handler, the
// exception) is referenced weakly and present in every program that calls new. This file alone is
// compiled with exceptions, because a new handler may throw through the nothrow forms.

#include <cstddef>
#include <new>

#include "hardened/prim/check.h"
#include "hardened/shim/active_heap.h"

// Weak: a C program that preloads the library has no C++ runtime.
asm(".weak __gxx_personality_v0\n"
    ".weak __cxa_begin_catch\n"
    ".weak __cxa_end_catch\n"
    ".weak _Unwind_Resume\n"
    ".weak _ZSt9terminatev\n");

namespace hardened::shim {

// std::__throw_bad_alloc() and std::get_new_handler(), which may be absent.
[[gnu::weak, gnu::visibility("default")]] void ThrowBadAlloc() __asm__("_ZSt17__throw_bad_allocv");
[[gnu::weak, gnu::visibility("default")]] std::new_handler CurrentNewHandler() noexcept
    __asm__("_ZSt15get_new_handlerv");

namespace {

using core::AllocationKind;

void* TryNew(size_t bytes, size_t alignment, AllocationKind kind) {
  return alignment <= core::kSlotAlignment ? ActiveHeap::Allocate(bytes, kind)
                                           : ActiveHeap::AllocateAligned(alignment, bytes, kind);
}

// The loop of [new.delete.single]: ask the handler for memory until there is some or no handler.
[[gnu::noinline, gnu::cold]] void* NewAgain(size_t bytes, size_t alignment, AllocationKind kind) {
  for (;;) {
    const std::new_handler handler = CurrentNewHandler != nullptr ? CurrentNewHandler() : nullptr;
    if (handler == nullptr) return nullptr;
    handler();
    void* result = TryNew(bytes, alignment, kind);
    if (result != nullptr) return result;
  }
}

[[gnu::noinline, gnu::cold]] void* NewOrNull(size_t bytes, size_t alignment,
                                             AllocationKind kind) noexcept {
  try {
    return NewAgain(bytes, alignment, kind);
  } catch (...) {
    return nullptr;
  }
}

ABSL_ATTRIBUTE_ALWAYS_INLINE inline void* NewNothrow(size_t bytes, AllocationKind kind) noexcept {
  void* result = ActiveHeap::Allocate(bytes, kind);
  return ABSL_PREDICT_TRUE(result != nullptr) ? result : NewOrNull(bytes, 1, kind);
}

void* AlignedNew(size_t bytes, std::align_val_t alignment, AllocationKind kind) {
  const size_t align = static_cast<size_t>(alignment);
  void* result = TryNew(bytes, align, kind);
  return result != nullptr ? result : NewOrThrow(bytes, align, kind);
}

void* AlignedNewNothrow(size_t bytes, std::align_val_t alignment, AllocationKind kind) noexcept {
  const size_t align = static_cast<size_t>(alignment);
  void* result = TryNew(bytes, align, kind);
  return result != nullptr ? result : NewOrNull(bytes, align, kind);
}

void EndAligned(void* pointer, std::align_val_t alignment, EntryPoint entry) noexcept {
  ActiveHeap::CheckStatedAlignment(pointer, static_cast<size_t>(alignment), entry);
  ActiveHeap::Free(pointer, entry);
}

void EndAligned(void* pointer, size_t bytes, std::align_val_t alignment,
                EntryPoint entry) noexcept {
  ActiveHeap::CheckStatedAlignment(pointer, static_cast<size_t>(alignment), entry);
  ActiveHeap::FreeSized(pointer, bytes, entry);
}

constexpr AllocationKind kOne = AllocationKind::kNew;
constexpr AllocationKind kArray = AllocationKind::kNewArray;
constexpr AllocationKind kAlignedOne = AllocationKind::kAlignedNew;
constexpr AllocationKind kAlignedArray = AllocationKind::kAlignedNewArray;

}  // namespace

void* NewOrThrow(size_t bytes, size_t alignment, AllocationKind kind) {
  void* result = NewAgain(bytes, alignment, kind);
  if (result != nullptr) return result;
  HARDENED_CHECK(ThrowBadAlloc != nullptr);
  ThrowBadAlloc();
  __builtin_unreachable();
}

}  // namespace hardened::shim

namespace shim = hardened::shim;
using hardened::EntryPoint;

HARDENED_EXPORT void* operator new(size_t bytes) {
  return shim::ActiveHeap::Allocate<shim::AskNewHandler>(bytes, shim::kOne);
}
HARDENED_EXPORT void* operator new[](size_t bytes) {
  return shim::ActiveHeap::Allocate<shim::AskNewHandler>(bytes, shim::kArray);
}
HARDENED_EXPORT void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  return shim::NewNothrow(bytes, shim::kOne);
}
HARDENED_EXPORT void* operator new[](size_t bytes, const std::nothrow_t&) noexcept {
  return shim::NewNothrow(bytes, shim::kArray);
}
HARDENED_EXPORT void* operator new(size_t bytes, std::align_val_t alignment) {
  return shim::AlignedNew(bytes, alignment, shim::kAlignedOne);
}
HARDENED_EXPORT void* operator new[](size_t bytes, std::align_val_t alignment) {
  return shim::AlignedNew(bytes, alignment, shim::kAlignedArray);
}
HARDENED_EXPORT void* operator new(size_t bytes, std::align_val_t alignment,
                                   const std::nothrow_t&) noexcept {
  return shim::AlignedNewNothrow(bytes, alignment, shim::kAlignedOne);
}
HARDENED_EXPORT void* operator new[](size_t bytes, std::align_val_t alignment,
                                     const std::nothrow_t&) noexcept {
  return shim::AlignedNewNothrow(bytes, alignment, shim::kAlignedArray);
}

HARDENED_EXPORT void operator delete(void* p) noexcept {
  shim::ActiveHeap::Free(p, EntryPoint::kDelete);
}
HARDENED_EXPORT void operator delete[](void* p) noexcept {
  shim::ActiveHeap::Free(p, EntryPoint::kDeleteArray);
}
HARDENED_EXPORT void operator delete(void* p, const std::nothrow_t&) noexcept {
  shim::ActiveHeap::Free(p, EntryPoint::kDelete);
}
HARDENED_EXPORT void operator delete[](void* p, const std::nothrow_t&) noexcept {
  shim::ActiveHeap::Free(p, EntryPoint::kDeleteArray);
}
HARDENED_EXPORT void operator delete(void* p, size_t bytes) noexcept {
  shim::ActiveHeap::FreeSized(p, bytes, EntryPoint::kDelete);
}
HARDENED_EXPORT void operator delete[](void* p, size_t bytes) noexcept {
  shim::ActiveHeap::FreeSized(p, bytes, EntryPoint::kDeleteArray);
}
HARDENED_EXPORT void operator delete(void* p, std::align_val_t alignment) noexcept {
  shim::EndAligned(p, alignment, EntryPoint::kAlignedDelete);
}
HARDENED_EXPORT void operator delete[](void* p, std::align_val_t alignment) noexcept {
  shim::EndAligned(p, alignment, EntryPoint::kAlignedDeleteArray);
}
HARDENED_EXPORT void operator delete(void* p, size_t bytes, std::align_val_t alignment) noexcept {
  shim::EndAligned(p, bytes, alignment, EntryPoint::kAlignedDelete);
}
HARDENED_EXPORT void operator delete[](void* p, size_t bytes, std::align_val_t alignment) noexcept {
  shim::EndAligned(p, bytes, alignment, EntryPoint::kAlignedDeleteArray);
}
HARDENED_EXPORT void operator delete(void* p, std::align_val_t alignment,
                                     const std::nothrow_t&) noexcept {
  shim::EndAligned(p, alignment, EntryPoint::kAlignedDelete);
}
HARDENED_EXPORT void operator delete[](void* p, std::align_val_t alignment,
                                       const std::nothrow_t&) noexcept {
  shim::EndAligned(p, alignment, EntryPoint::kAlignedDeleteArray);
}
