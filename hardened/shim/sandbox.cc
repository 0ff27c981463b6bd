// prctl and syscall: the ways in which a program enters a sandbox, by itself or through libseccomp.
//
// The allocator must know of a filter before it is in force (prim/sandbox.h). Both functions pass
// on what they are given to whoever defines them next, libc or another preloaded library; all but
// the two calls in question with one comparison or two and a jump.
//
// Threads, signals: as the functions that are passed on to.

#include "hardened/prim/sandbox.h"

#include <dlfcn.h>
#include <errno.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <atomic>

#include "hardened/core/heap_state.h"
#include "hardened/prim/kernel.h"
#include "hardened/prim/page_source.h"
#include "hardened/shim/active_heap.h"

namespace hardened::shim {
namespace {

// Their arguments lie where those of the variadic functions lie that they stand for.
using PrctlFunction = int(int, unsigned long, unsigned long, unsigned long, unsigned long);
using SyscallFunction = long(long, long, long, long, long, long, long);

long OrErrno(long result) {
  if (!prim::kernel::IsError(result)) return result;
  errno = static_cast<int>(-result);
  return -1;
}

// Where nobody defines them.
int KernelPrctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d) {
  return static_cast<int>(OrErrno(prim::kernel::internal::SystemCall6(
      SYS_prctl, option, static_cast<long>(a), static_cast<long>(b), static_cast<long>(c),
      static_cast<long>(d), 0)));
}
long KernelSyscall(long number, long a, long b, long c, long d, long e, long f) {
  return OrErrno(prim::kernel::internal::SystemCall6(number, a, b, c, d, e, f));
}

constinit std::atomic<PrctlFunction*> next_prctl{nullptr};
constinit std::atomic<SyscallFunction*> next_syscall{nullptr};

template <typename Function>
Function* Next(std::atomic<Function*>& next, const char* name, Function* otherwise) {
  Function* function = next.load(std::memory_order_relaxed);
  if (function != nullptr) return function;
  // Allocates nothing for a name that there is.
  function = reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
  if (function == nullptr) function = otherwise;
  next.store(function, std::memory_order_relaxed);
  return function;
}

// Makes a call that sets the mode of seccomp, with the allocator prepared for it.
template <typename Call>
auto SetMode(bool strict, Call call) {
  // What the start of the heap asks of the kernel is more than a sandbox may allow.
  if (!core::heap_state.started()) {
    ActiveHeap::Free(ActiveHeap::Allocate<SetErrno>(1, core::AllocationKind::kMalloc),
                     EntryPoint::kFree);
  }
  if (!strict) {
    if (core::heap_state.started()) prim::linux_page_source.PrepareForSandbox();
    prim::EnterSandbox();
    return call();
  }
  const bool before = prim::SetStrictThread(true);
  const auto result = call();
  if (result != 0) prim::SetStrictThread(before);
  return result;
}

bool IsStrict(unsigned long mode) { return mode == SECCOMP_MODE_STRICT; }
// Without a filter it is a question for what the kernel has.
bool SetsMode(unsigned long mode, unsigned long filter) { return IsStrict(mode) || filter != 0; }

[[gnu::cold, gnu::noinline]] int PrctlSlow(int option, unsigned long a, unsigned long b,
                                           unsigned long c, unsigned long d) {
  PrctlFunction* const next = Next(next_prctl, "prctl", &KernelPrctl);
  if (option != PR_SET_SECCOMP || !SetsMode(a, b)) return next(option, a, b, c, d);
  return SetMode(IsStrict(a), [=] { return next(option, a, b, c, d); });
}

[[gnu::cold, gnu::noinline]] long SyscallSlow(long number, long a, long b, long c, long d, long e,
                                              long f) {
  SyscallFunction* const next = Next(next_syscall, "syscall", &KernelSyscall);
  const auto call = [=] { return next(number, a, b, c, d, e, f); };
  if (number == SYS_seccomp) {
    if (a == SECCOMP_SET_MODE_STRICT) return SetMode(/*strict=*/true, call);
    if (a == SECCOMP_SET_MODE_FILTER && c != 0) return SetMode(/*strict=*/false, call);
  }
  if (number == SYS_prctl && a == PR_SET_SECCOMP) {
    const auto mode = static_cast<unsigned long>(b);
    if (SetsMode(mode, static_cast<unsigned long>(c))) return SetMode(IsStrict(mode), call);
  }
  return call();
}

}  // namespace

extern "C" {

HARDENED_EXPORT int HardenedPrctl(int option, unsigned long a, unsigned long b, unsigned long c,
                                  unsigned long d) asm("prctl");
HARDENED_EXPORT long HardenedSyscall(long number, long a, long b, long c, long d, long e,
                                     long f) asm("syscall");

int HardenedPrctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d) {
  PrctlFunction* const next = next_prctl.load(std::memory_order_relaxed);
  if (next == nullptr || option == PR_SET_SECCOMP) return PrctlSlow(option, a, b, c, d);
  return next(option, a, b, c, d);
}

long HardenedSyscall(long number, long a, long b, long c, long d, long e, long f) {
  SyscallFunction* const next = next_syscall.load(std::memory_order_relaxed);
  if (next == nullptr || number == SYS_seccomp || number == SYS_prctl) {
    return SyscallSlow(number, a, b, c, d, e, f);
  }
  return next(number, a, b, c, d, e, f);
}

}  // extern "C"

}  // namespace hardened::shim
