#include "hardened/shim/new_delete_default.h"

#include <dlfcn.h>
#include <link.h>

#include <cstdlib>
#include <new>

#include "hardened/prim/check.h"
#include "hardened/shim/active_heap.h"
#include "hardened/shim/loaded_objects.h"
#include "hardened/shim/null_if_thrown.h"
#include "hardened/shim/own_functions.h"
#include "hardened/shim/process_policy.h"

namespace hardened::shim {

// std::__throw_bad_alloc() and std::get_new_handler().
[[gnu::weak, gnu::visibility("default")]] void ThrowBadAlloc() __asm__("_ZSt17__throw_bad_allocv");
[[gnu::weak, gnu::visibility("default")]] std::new_handler CurrentNewHandler() noexcept
    __asm__("_ZSt15get_new_handlerv");

namespace {

// One of these two: as it was at the start, or of the runtime that a C program loaded since.
template <typename Function>
Function* OfRuntime(Function* at_start, const char* name) {
  if (at_start != nullptr) return at_start;
  return reinterpret_cast<Function*>(const_cast<void*>(FindDefinition(name)));
}

using core::AllocationKind;

// ---- what the program replaced

// Of one name: the function that the process calls, and ours.
struct Function {
  const void* called;
  const void* own;
};

#define HARDENED_DECLARE(name)                                                  \
  extern "C" [[gnu::visibility("default")]] void Called##name() __asm__(#name); \
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
    {reinterpret_cast<const void*>(&aligned_alloc),
     reinterpret_cast<const void*>(&OwnAlignedAlloc)},
    {reinterpret_cast<const void*>(&free), reinterpret_cast<const void*>(&OwnFree)},
    HARDENED_ALIGNED_FORMS(HARDENED_FUNCTION)};
#undef HARDENED_FUNCTION

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

template <size_t kCount>
bool Decide(const Function (&functions)[kCount], std::atomic<Operators>& operators) {
  if (operators.load(std::memory_order_relaxed) == Operators::kUndecided) {
    bool replaced = LeavesProcessAlone();
    for (size_t i = 0; i < kCount && !replaced; ++i) replaced = IsReplaced(functions[i]);
    operators.store(replaced ? Operators::kReplaced : Operators::kOurs, std::memory_order_relaxed);
  }
  return operators.load(std::memory_order_relaxed) == Operators::kOurs;
}

// ---- memory for new

void* TryNew(AllocationKind kind, size_t bytes, size_t alignment) {
  if (kind == AllocationKind::kNew || kind == AllocationKind::kNewArray) {
    return PlainAreOurs() ? ActiveHeap::Allocate(bytes, kind) : malloc(bytes == 0 ? 1 : bytes);
  }
  if (AlignedAreOurs()) {
    return alignment <= core::kSlotAlignment ? ActiveHeap::Allocate(bytes, kind)
                                             : ActiveHeap::AllocateAligned(alignment, bytes, kind);
  }
  // C11 wants a multiple of the alignment.
  const size_t rounded = (bytes == 0 ? alignment : bytes + alignment - 1) & ~(alignment - 1);
  return rounded < bytes ? nullptr : aligned_alloc(alignment, rounded);
}

// The loop of [new.delete.single]: ask the handler for memory until there is some or no handler.
[[gnu::noinline, gnu::cold]] void* NewAgain(AllocationKind kind, size_t bytes, size_t alignment) {
  auto* current_handler = OfRuntime(&CurrentNewHandler, "_ZSt15get_new_handlerv");
  for (;;) {
    const std::new_handler handler = current_handler != nullptr ? current_handler() : nullptr;
    if (handler == nullptr) return nullptr;
    handler();
    void* result = TryNew(kind, bytes, alignment);
    if (result != nullptr) return result;
  }
}

void* NewAgainOrThrow(AllocationKind kind, size_t bytes, size_t alignment) {
  void* result = NewAgain(kind, bytes, alignment);
  if (result != nullptr) return result;
  auto* throw_bad_alloc = OfRuntime(&ThrowBadAlloc, "_ZSt17__throw_bad_allocv");
  HARDENED_CHECK(throw_bad_alloc != nullptr);
  throw_bad_alloc();
  __builtin_unreachable();
}

}  // namespace

constinit std::atomic<Operators> aligned_operators{Operators::kUndecided};
constinit size_t new_walk_limit = 0;

bool DecidePlain() { return Decide(kPlainFunctions, plain_operators); }
bool DecideAligned() { return Decide(kAlignedFunctions, aligned_operators); }

void* NewByDefault(size_t bytes) { return NewOf(AllocationKind::kNew, bytes); }
void* NewArrayByDefault(size_t bytes) { return ::operator new(bytes); }

void* NewOf(AllocationKind kind, size_t bytes, size_t alignment) {
  void* result = TryNew(kind, bytes, alignment);
  return ABSL_PREDICT_TRUE(result != nullptr) ? result : NewAgainOrThrow(kind, bytes, alignment);
}

void* NewOfNothrow(AllocationKind kind, size_t bytes, size_t alignment) noexcept {
  void* result = TryNew(kind, bytes, alignment);
  if (ABSL_PREDICT_TRUE(result != nullptr)) return result;
  return NullIfThrown([=] { return NewAgain(kind, bytes, alignment); });
}

void* NewOrThrow(size_t bytes, AllocationKind kind) { return NewAgainOrThrow(kind, bytes, 1); }

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
