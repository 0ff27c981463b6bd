#include "hardened/prim/sandbox.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "hardened/prim/kernel.h"

namespace hardened::prim {
namespace {

// MADV_PAGEOUT, the last advice before Linux 5.14.
constexpr long kLastOldAdvice = 21;
// For other threads to leave their calls: yields of the processor.
constexpr int kPatience = 1000;

constinit std::atomic<Sandbox> g_sandbox{Sandbox::kUnknown};
[[gnu::tls_model("initial-exec")]] constinit thread_local bool t_strict = false;

Sandbox Look() {
  const long mode = kernel::internal::SystemCall6(SYS_prctl, PR_GET_SECCOMP, 0, 0, 0, 0, 0);
  const Sandbox found = mode == 0 ? Sandbox::kNone : Sandbox::kInherited;
  Sandbox known = Sandbox::kUnknown;
  return g_sandbox.compare_exchange_strong(known, found, std::memory_order_relaxed) ? found : known;
}

// Of every filter under which a malloc can live.
bool IsPlain(long number, long advice) {
  switch (number) {
    case SYS_mmap:
    case SYS_munmap:
    case SYS_mprotect:
    case SYS_futex:
    case SYS_write:
      return true;
    case SYS_madvise:
      return advice == MADV_DONTNEED;
    default:
      return false;
  }
}

bool IsNew(long number, long advice) {
  return number == kernel::kMseal || (number == SYS_madvise && advice > kLastOldAdvice);
}

}  // namespace

constinit std::atomic<uint32_t> CallPermit::calls_in_flight_{0};

Sandbox CurrentSandbox() {
  const Sandbox known = g_sandbox.load(std::memory_order_relaxed);
  return known == Sandbox::kUnknown ? Look() : known;
}

void EnterSandbox() {
  // With the same order in CallPermit(): either it sees the sandbox or its call is seen here.
  if (g_sandbox.exchange(Sandbox::kEntered, std::memory_order_seq_cst) == Sandbox::kEntered) return;
  for (int i = 0; i < kPatience; ++i) {
    if (CallPermit::calls_in_flight_.load(std::memory_order_seq_cst) == 0) return;
    kernel::internal::SystemCall6(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
  }
}

void LeaveSandbox() { g_sandbox.store(Sandbox::kNone, std::memory_order_relaxed); }

bool SetStrictThread(bool strict) {
  const bool before = t_strict;
  t_strict = strict;
  return before;
}

bool IsStrictThread() { return t_strict; }

CallPermit::CallPermit(long number, long advice) {
  if (t_strict) [[unlikely]] {
    granted_ = number == SYS_write;
    return;
  }
  granted_ = true;
  if (IsPlain(number, advice)) return;
  calls_in_flight_.fetch_add(1, std::memory_order_seq_cst);
  counted_ = true;
  Sandbox sandbox = g_sandbox.load(std::memory_order_seq_cst);
  if (sandbox == Sandbox::kUnknown) sandbox = Look();
  granted_ =
      sandbox == Sandbox::kNone || (sandbox == Sandbox::kInherited && !IsNew(number, advice));
}

}  // namespace hardened::prim
