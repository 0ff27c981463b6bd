// What the forms of operator new and delete do by default, as [new.delete] says: every form calls
// another one, and the last ones malloc and free, by their public names. Programs that replaced one
// of these count on it, and on no memory of theirs coming to the heap. Where nothing was replaced
// the forms go to the heap at once, which nobody can tell apart.
//
// The C++ runtime is not a dependency of the library: what new needs of it (the new handler, the
// exception) is referenced weakly and present in every program that calls new. The files that
// define the forms and their defaults are compiled with exceptions, because a new handler may throw
// through the nothrow forms.
//
// Threads: any.

#ifndef HARDENED_SHIM_NEW_DELETE_DEFAULT_H_
#define HARDENED_SHIM_NEW_DELETE_DEFAULT_H_

#include <atomic>
#include <cstddef>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "hardened/core/slot_record.h"
#include "hardened/replaced_operators.h"
#include "hardened/shim/failure.h"

// Weak: a C program that preloads the library has no C++ runtime.
asm(".weak __gxx_personality_v0\n"
    ".weak __cxa_begin_catch\n"
    ".weak __cxa_end_catch\n"
    ".weak _Unwind_Resume\n"
    ".weak _ZSt9terminatev\n");

// The forms, by the names of the linker.
// clang-format off
#define HARDENED_PLAIN_FORMS(X) \
  X(_Znwm) X(_ZnwmRKSt9nothrow_t) \
  X(_Znam) X(_ZnamRKSt9nothrow_t) \
  X(_ZdlPv) X(_ZdlPvm) X(_ZdlPvRKSt9nothrow_t) \
  X(_ZdaPv) X(_ZdaPvm) X(_ZdaPvRKSt9nothrow_t)
#define HARDENED_ALIGNED_FORMS(X) \
  X(_ZnwmSt11align_val_t) X(_ZnwmSt11align_val_tRKSt9nothrow_t) \
  X(_ZnamSt11align_val_t) X(_ZnamSt11align_val_tRKSt9nothrow_t) \
  X(_ZdlPvSt11align_val_t) X(_ZdlPvmSt11align_val_t) X(_ZdlPvSt11align_val_tRKSt9nothrow_t) \
  X(_ZdaPvSt11align_val_t) X(_ZdaPvmSt11align_val_t) X(_ZdaPvSt11align_val_tRKSt9nothrow_t)
// clang-format on

namespace hardened::shim {

// Of the forms with alignment, which call none of the others.
[[gnu::visibility("hidden")]] extern std::atomic<Operators> aligned_operators;

// Whether all that the forms of a family call is ours. The first call of them decides for good.
[[gnu::cold]] bool DecidePlain();
[[gnu::cold]] bool DecideAligned();
ABSL_ATTRIBUTE_ALWAYS_INLINE inline bool PlainAreOurs() {
  return ABSL_PREDICT_TRUE(plain_operators.load(std::memory_order_relaxed) == Operators::kOurs) ||
         DecidePlain();
}
ABSL_ATTRIBUTE_ALWAYS_INLINE inline bool AlignedAreOurs() {
  return ABSL_PREDICT_TRUE(aligned_operators.load(std::memory_order_relaxed) == Operators::kOurs) ||
         DecideAligned();
}

// operator new and new[] where they are not: they ask the new handler and throw.
void* NewByDefault(size_t bytes);
void* NewArrayByDefault(size_t bytes);

// Memory from whoever serves the family of `kind`, at least `alignment` aligned. Without memory the
// new handler is asked, then one throws std::bad_alloc, the other returns null.
void* NewOf(core::AllocationKind kind, size_t bytes, size_t alignment = 1);
void* NewOfNothrow(core::AllocationKind kind, size_t bytes, size_t alignment = 1) noexcept;

// Requests below it walk. Without a table this is how the two hot forms know that nothing was
// replaced: the walk asks for the size anyway. Written with one value only, and read plainly: an
// atomic load does not become the operand of a comparison.
[[gnu::visibility("hidden")]] extern size_t new_walk_limit;

// All that does not walk.
template <class Heap>
ABSL_ATTRIBUTE_NOINLINE void* NewSlow(core::AllocationKind kind, size_t bytes) {
  if (!PlainAreOurs()) {
    return kind == core::AllocationKind::kNew ? NewByDefault(bytes) : NewArrayByDefault(bytes);
  }
  std::atomic_ref(new_walk_limit).store(Heap::kSlotRequests, std::memory_order_relaxed);
  return Heap::template Allocate<AskNewHandler>(bytes, kind);
}

// operator new and new[]. A heap that is a table of functions knows by itself what was replaced.
template <class Heap>
ABSL_ATTRIBUTE_ALWAYS_INLINE inline void* New(core::AllocationKind kind, size_t bytes) {
  if constexpr (requires { Heap::kSlotRequests; }) {
    if (ABSL_PREDICT_FALSE(bytes - Heap::kLeastSlotRequest >= new_walk_limit)) {
      return NewSlow<Heap>(kind, bytes);
    }
    if (!Heap::IsSlotRequest(bytes)) __builtin_unreachable();
  }
  return Heap::template Allocate<AskNewHandler>(bytes, kind);
}

}  // namespace hardened::shim

#endif  // HARDENED_SHIM_NEW_DELETE_DEFAULT_H_
