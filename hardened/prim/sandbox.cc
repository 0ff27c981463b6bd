#include "hardened/prim/sandbox.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "hardened/prim/kernel.h"

namespace hardened::prim {

constinit std::atomic<Sandbox> internal::sandbox{Sandbox::kUnknown};
[[gnu::tls_model("initial-exec")]] constinit thread_local bool internal::strict_thread = false;

namespace {

// MADV_PAGEOUT, the last advice before Linux 5.14.
constexpr long kLastOldAdvice = 21;
// For other threads to leave their calls: yields of the processor.
constexpr int kPatience = 1000;

Sandbox Look() {
  const long mode = kernel::internal::SystemCall6(SYS_prctl, PR_GET_SECCOMP, 0, 0, 0, 0, 0);
  const Sandbox found = mode == 0 ? Sandbox::kNone : Sandbox::kInherited;
  Sandbox known = Sandbox::kUnknown;
  return internal::sandbox.compare_exchange_strong(known, found, std::memory_order_relaxed) ? found
                                                                                            : known;
}

bool IsNew(long number, long advice) {
  return number == kernel::kMseal || number == SYS_process_madvise ||
         (number == SYS_madvise && advice > kLastOldAdvice);
}

}  // namespace

constinit std::atomic<uint32_t> CallPermit::calls_in_flight_{0};

Sandbox CurrentSandbox() {
  const Sandbox known = internal::sandbox.load(std::memory_order_relaxed);
  return known == Sandbox::kUnknown ? Look() : known;
}

void EnterSandbox() {
  // With the same order in CallPermit::Ask(): either it sees the sandbox or its call is seen here.
  if (internal::sandbox.exchange(Sandbox::kEntered, std::memory_order_seq_cst) == Sandbox::kEntered)
    return;
  for (int i = 0; i < kPatience; ++i) {
    if (CallPermit::calls_in_flight_.load(std::memory_order_seq_cst) == 0) return;
    kernel::internal::SystemCall6(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
  }
}

void LeaveSandbox() { internal::sandbox.store(Sandbox::kNone, std::memory_order_relaxed); }

bool SetStrictThread(bool strict) {
  const bool before = internal::strict_thread;
  internal::strict_thread = strict;
  return before;
}

bool IsStrictThread() { return internal::strict_thread; }

CallPermit::Answer CallPermit::Ask(long number, long advice) {
  const bool counted = !internal::IsOnlyThread();
  if (counted) calls_in_flight_.fetch_add(1, std::memory_order_seq_cst);
  Sandbox sandbox = internal::sandbox.load(std::memory_order_seq_cst);
  if (sandbox == Sandbox::kUnknown) sandbox = Look();
  if (sandbox == Sandbox::kNone || (sandbox == Sandbox::kInherited && !IsNew(number, advice))) {
    return counted ? Answer::kCounted : Answer::kYes;
  }
  if (counted) calls_in_flight_.fetch_sub(1, std::memory_order_release);
  return Answer::kNo;
}

}  // namespace hardened::prim
