// Every replaceable form of operator new and delete, and what they do when the program replaced some
// of them.
//
// All forms are weak: a program that the library is linked into may define its own.
//
// The C++ runtime is not a dependency of the library: what new needs of it (the new handler, the
// exception) is referenced weakly and present in every program that calls new. This file alone is
// compiled with exceptions, because a new handler may throw through the nothrow forms.

#include <dlfcn.h>
#include <link.h>

#include <cstddef>
#include <cstdlib>
#include <new>

#include "hardened/prim/check.h"
#include "hardened/shim/active_heap.h"
#include "hardened/shim/default_operators.h"
#include "hardened/shim/own_functions.h"
#include "hardened/shim/process_policy.h"

// Weak: a C program that preloads the library has no C++ runtime.
asm(".weak __gxx_personality_v0\n"
    ".weak __cxa_begin_catch\n"
    ".weak __cxa_end_catch\n"
    ".weak _Unwind_Resume\n"
    ".weak _ZSt9terminatev\n");

// The forms, by the names of the linker.
#define HARDENED_PLAIN_FORMS(X)                                                                \
  X(_Znwm) X(_Znam) X(_ZnwmRKSt9nothrow_t) X(_ZnamRKSt9nothrow_t) X(_ZdlPv) X(_ZdaPv) X(_ZdlPvm) \
  X(_ZdaPvm) X(_ZdlPvRKSt9nothrow_t) X(_ZdaPvRKSt9nothrow_t)
#define HARDENED_ALIGNED_FORMS(X)                                                   \
  X(_ZnwmSt11align_val_t) X(_ZnamSt11align_val_t) X(_ZnwmSt11align_val_tRKSt9nothrow_t) \
  X(_ZnamSt11align_val_tRKSt9nothrow_t) X(_ZdlPvSt11align_val_t) X(_ZdaPvSt11align_val_t) \
  X(_ZdlPvmSt11align_val_t) X(_ZdaPvmSt11align_val_t) X(_ZdlPvSt11align_val_tRKSt9nothrow_t) \
  X(_ZdaPvSt11align_val_tRKSt9nothrow_t)

namespace hardened::shim {

// std::__throw_bad_alloc() and std::get_new_handler(), which may be absent.
[[gnu::weak, gnu::visibility("default")]] void ThrowBadAlloc() __asm__("_ZSt17__throw_bad_allocv");
[[gnu::weak, gnu::visibility("default")]] std::new_handler CurrentNewHandler() noexcept
    __asm__("_ZSt15get_new_handlerv");

namespace {

using core::AllocationKind;

// ---- what the program replaced

// Of one name: the function that the process calls, and ours.
struct Function {
  const void* called;
  const void* own;
};

// Whether a definition of somebody else comes before ours.
bool IsReplaced(const Function& function) {
  const void* called = function.called;
  asm("" : "+r"(called));  // not to be decided by the compiler
  if (called == function.own) return false;
  // A program that is not position-independent and takes the address of a function gives it one of
  // its own, which defines nothing: it leads to whoever is called.
  Dl_info info;
  void* symbol = nullptr;
  return dladdr1(called, &info, &symbol, RTLD_DL_SYMENT) == 0 || symbol == nullptr ||
         static_cast<const ElfW(Sym)*>(symbol)->st_shndx != SHN_UNDEF;
}

#define HARDENED_DECLARE(name)                                                       \
  extern "C" [[gnu::visibility("default")]] void Called##name() __asm__(#name);      \
  extern "C" [[gnu::visibility("hidden")]] void Own##name() __asm__("hardened_own" #name);
HARDENED_PLAIN_FORMS(HARDENED_DECLARE)
HARDENED_ALIGNED_FORMS(HARDENED_DECLARE)
#undef HARDENED_DECLARE

#define HARDENED_FUNCTION(name) \
  {reinterpret_cast<const void*>(&Called##name), reinterpret_cast<const void*>(&Own##name)},
const Function kPlainFunctions[] = {
    {reinterpret_cast<const void*>(&malloc), reinterpret_cast<const void*>(&OwnMalloc)},
    {reinterpret_cast<const void*>(&free), reinterpret_cast<const void*>(&OwnFree)},
    HARDENED_PLAIN_FORMS(HARDENED_FUNCTION)};
const Function kAlignedFunctions[] = {
    {reinterpret_cast<const void*>(&aligned_alloc), reinterpret_cast<const void*>(&OwnAlignedAlloc)},
    {reinterpret_cast<const void*>(&free), reinterpret_cast<const void*>(&OwnFree)},
    HARDENED_ALIGNED_FORMS(HARDENED_FUNCTION)};
#undef HARDENED_FUNCTION

template <size_t kCount>
Operators Decide(const Function (&functions)[kCount]) {
  if (LeavesProcessAlone()) return Operators::kReplaced;
  for (const Function& function : functions) {
    if (IsReplaced(function)) return Operators::kReplaced;
  }
  return Operators::kOurs;
}

template <size_t kCount>
ABSL_ATTRIBUTE_ALWAYS_INLINE inline bool AreOurs(std::atomic<Operators>& operators,
                                                 const Function (&functions)[kCount]) {
  Operators known = operators.load(std::memory_order_relaxed);
  if (ABSL_PREDICT_FALSE(known == Operators::kUndecided)) {
    known = Decide(functions);
    operators.store(known, std::memory_order_relaxed);
  }
  return ABSL_PREDICT_TRUE(known == Operators::kOurs);
}
bool PlainAreOurs() { return AreOurs(plain_operators, kPlainFunctions); }

constinit std::atomic<Operators> aligned_operators{Operators::kUndecided};
bool AlignedAreOurs() { return AreOurs(aligned_operators, kAlignedFunctions); }

// ---- memory for new

constexpr bool IsAligned(AllocationKind kind) {
  return kind == AllocationKind::kAlignedNew || kind == AllocationKind::kAlignedNewArray;
}

void* TryNew(size_t bytes, size_t alignment, AllocationKind kind) {
  if (IsAligned(kind)) {
    if (AlignedAreOurs()) {
      return alignment <= core::kSlotAlignment
                 ? ActiveHeap::Allocate(bytes, kind)
                 : ActiveHeap::AllocateAligned(alignment, bytes, kind);
    }
    // Some want a multiple of the alignment.
    const size_t rounded = (bytes == 0 ? alignment : bytes + alignment - 1) & ~(alignment - 1);
    return rounded < bytes ? nullptr : aligned_alloc(alignment, rounded);
  }
  return PlainAreOurs() ? ActiveHeap::Allocate(bytes, kind) : malloc(bytes == 0 ? 1 : bytes);
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

void* TryNewOrThrow(size_t bytes, size_t alignment, AllocationKind kind) {
  void* result = TryNew(bytes, alignment, kind);
  return result != nullptr ? result : NewOrThrow(bytes, alignment, kind);
}

// What a nothrow form makes of `allocate`.
template <class Allocate>
void* NullIfThrown(Allocate allocate) noexcept {
  try {
    return allocate();
  } catch (...) {
    return nullptr;
  }
}

[[gnu::noinline, gnu::cold]] void* NewOrNull(size_t bytes, size_t alignment,
                                             AllocationKind kind) noexcept {
  return NullIfThrown([=] { return NewAgain(bytes, alignment, kind); });
}

void* NewNothrow(size_t bytes, size_t alignment, AllocationKind kind) noexcept {
  void* result = TryNew(bytes, alignment, kind);
  return ABSL_PREDICT_TRUE(result != nullptr) ? result : NewOrNull(bytes, alignment, kind);
}

constexpr AllocationKind kOne = AllocationKind::kNew;
constexpr AllocationKind kArray = AllocationKind::kNewArray;
constexpr AllocationKind kAlignedOne = AllocationKind::kAlignedNew;
constexpr AllocationKind kAlignedArray = AllocationKind::kAlignedNewArray;

// Requests below it walk. Without a table this is how the two hot forms know that nothing was
// replaced: the walk asks for the size anyway. Written once or more, with the same value, and read
// plainly: an atomic load does not become the operand of a comparison.
constinit size_t new_walk_limit = 0;

// All that does not walk.
template <class Heap>
ABSL_ATTRIBUTE_NOINLINE void* NewSlow(size_t bytes, AllocationKind kind) {
  if (!PlainAreOurs()) {
    return kind == kOne ? NewByDefault(bytes) : NewArrayByDefault(bytes);
  }
  std::atomic_ref(new_walk_limit).store(Heap::kSlotRequests, std::memory_order_relaxed);
  return Heap::template Allocate<AskNewHandler>(bytes, kind);
}

template <class Heap>
ABSL_ATTRIBUTE_ALWAYS_INLINE inline void* New(size_t bytes, AllocationKind kind) {
  if constexpr (!kHasTable<Heap>) {
    if (ABSL_PREDICT_FALSE(bytes - Heap::kLeastSlotRequest >= new_walk_limit)) {
      return NewSlow<Heap>(bytes, kind);
    }
    if (!Heap::IsSlotRequest(bytes)) __builtin_unreachable();
  }
  return Heap::template Allocate<AskNewHandler>(bytes, kind);
}

}  // namespace

Operators PlainOperators() { return PlainAreOurs() ? Operators::kOurs : Operators::kReplaced; }

void* NewByDefault(size_t bytes) { return TryNewOrThrow(bytes, 1, kOne); }
void* NewArrayByDefault(size_t bytes) { return ::operator new(bytes); }

void* NewOrThrow(size_t bytes, size_t alignment, AllocationKind kind) {
  void* result = NewAgain(bytes, alignment, kind);
  if (result != nullptr) return result;
  HARDENED_CHECK(ThrowBadAlloc != nullptr);
  ThrowBadAlloc();
  __builtin_unreachable();
}

}  // namespace hardened::shim

namespace hardened {

// The socket of hardened/replaced_operators.h.
bool EndByDefault(void* pointer, EntryPoint entry) {
  if (shim::PlainAreOurs()) return false;
  switch (entry) {
    case EntryPoint::kDelete:
      free(pointer);
      return true;
    case EntryPoint::kSizedDelete:
    case EntryPoint::kDeleteArray:
      ::operator delete(pointer);
      return true;
    case EntryPoint::kSizedDeleteArray:
      ::operator delete[](pointer);
      return true;
    default:
      return false;
  }
}

}  // namespace hardened

namespace shim = hardened::shim;
using hardened::EntryPoint;
using shim::ActiveHeap;

#define HARDENED_EXPORT_WEAK [[gnu::visibility("default"), gnu::weak]]

// ---- without alignment

HARDENED_EXPORT_WEAK void* operator new(size_t bytes) { return shim::New<ActiveHeap>(bytes, shim::kOne); }
HARDENED_EXPORT_WEAK void* operator new[](size_t bytes) { return shim::New<ActiveHeap>(bytes, shim::kArray); }
HARDENED_EXPORT_WEAK void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  if (shim::PlainAreOurs()) return shim::NewNothrow(bytes, 1, shim::kOne);
  return shim::NullIfThrown([=] { return ::operator new(bytes); });
}
HARDENED_EXPORT_WEAK void* operator new[](size_t bytes, const std::nothrow_t&) noexcept {
  if (shim::PlainAreOurs()) return shim::NewNothrow(bytes, 1, shim::kArray);
  return shim::NullIfThrown([=] { return ::operator new[](bytes); });
}

HARDENED_EXPORT_WEAK void operator delete(void* p) noexcept {
  ActiveHeap::Free(p, EntryPoint::kDelete);
}
HARDENED_EXPORT_WEAK void operator delete[](void* p) noexcept {
  ActiveHeap::Free(p, EntryPoint::kDeleteArray);
}
HARDENED_EXPORT_WEAK void operator delete(void* p, size_t bytes) noexcept {
  ActiveHeap::FreeSized(p, bytes, EntryPoint::kSizedDelete);
}
HARDENED_EXPORT_WEAK void operator delete[](void* p, size_t bytes) noexcept {
  ActiveHeap::FreeSized(p, bytes, EntryPoint::kSizedDeleteArray);
}
HARDENED_EXPORT_WEAK void operator delete(void* p, const std::nothrow_t&) noexcept {
  ::operator delete(p);
}
HARDENED_EXPORT_WEAK void operator delete[](void* p, const std::nothrow_t&) noexcept {
  ::operator delete[](p);
}

// ---- with alignment

HARDENED_EXPORT_WEAK void* operator new(size_t bytes, std::align_val_t alignment) {
  return shim::TryNewOrThrow(bytes, static_cast<size_t>(alignment), shim::kAlignedOne);
}
HARDENED_EXPORT_WEAK void* operator new[](size_t bytes, std::align_val_t alignment) {
  if (!shim::AlignedAreOurs()) return ::operator new(bytes, alignment);
  return shim::TryNewOrThrow(bytes, static_cast<size_t>(alignment), shim::kAlignedArray);
}
HARDENED_EXPORT_WEAK void* operator new(size_t bytes, std::align_val_t alignment,
                                        const std::nothrow_t&) noexcept {
  if (shim::AlignedAreOurs()) {
    return shim::NewNothrow(bytes, static_cast<size_t>(alignment), shim::kAlignedOne);
  }
  return shim::NullIfThrown([=] { return ::operator new(bytes, alignment); });
}
HARDENED_EXPORT_WEAK void* operator new[](size_t bytes, std::align_val_t alignment,
                                          const std::nothrow_t&) noexcept {
  if (shim::AlignedAreOurs()) {
    return shim::NewNothrow(bytes, static_cast<size_t>(alignment), shim::kAlignedArray);
  }
  return shim::NullIfThrown([=] { return ::operator new[](bytes, alignment); });
}

HARDENED_EXPORT_WEAK void operator delete(void* p, std::align_val_t) noexcept {
  if (!shim::AlignedAreOurs()) return free(p);
  ActiveHeap::Free(p, EntryPoint::kAlignedDelete);
}
HARDENED_EXPORT_WEAK void operator delete[](void* p, std::align_val_t alignment) noexcept {
  if (!shim::AlignedAreOurs()) return ::operator delete(p, alignment);
  ActiveHeap::Free(p, EntryPoint::kAlignedDeleteArray);
}
HARDENED_EXPORT_WEAK void operator delete(void* p, size_t bytes,
                                          std::align_val_t alignment) noexcept {
  if (!shim::AlignedAreOurs()) return ::operator delete(p, alignment);
  ActiveHeap::FreeSized(p, bytes, EntryPoint::kAlignedDelete);
}
HARDENED_EXPORT_WEAK void operator delete[](void* p, size_t bytes,
                                            std::align_val_t alignment) noexcept {
  if (!shim::AlignedAreOurs()) return ::operator delete[](p, alignment);
  ActiveHeap::FreeSized(p, bytes, EntryPoint::kAlignedDeleteArray);
}
HARDENED_EXPORT_WEAK void operator delete(void* p, std::align_val_t alignment,
                                          const std::nothrow_t&) noexcept {
  ::operator delete(p, alignment);
}
HARDENED_EXPORT_WEAK void operator delete[](void* p, std::align_val_t alignment,
                                            const std::nothrow_t&) noexcept {
  ::operator delete[](p, alignment);
}

// ---- their second names, by which IsReplaced() knows them

#pragma GCC diagnostic ignored "-Wattribute-alias"
#pragma GCC diagnostic ignored "-Wmissing-attributes"
#define HARDENED_OWN(name) \
  extern "C" [[gnu::visibility("hidden"), gnu::alias(#name)]] void Own##name() __asm__("hardened_own" #name);
namespace hardened::shim {
HARDENED_PLAIN_FORMS(HARDENED_OWN)
HARDENED_ALIGNED_FORMS(HARDENED_OWN)
}  // namespace hardened::shim
