#include "hardened/fault_report.h"

#include <time.h>
#include <ucontext.h>

#include <atomic>

#include "hardened/bad_pointer.h"
#include "hardened/core/heap_state.h"
#include "hardened/core/run.h"
#include "hardened/guarded_sample.h"
#include "hardened/heap_plugs.h"
#include "hardened/prim/kernel.h"

namespace hardened {
namespace {

using prim::CorruptionKind;
using prim::CorruptionReport;
using prim::SignalAction;

// Of the flags of a default action those that the handler can carry: they mean nothing for it.
constexpr unsigned long kCarriedFlags = SA_RESTART | SA_NOCLDSTOP | SA_NOCLDWAIT;

// Twice the process whose fault is being explained, one more when it has been. With the process,
// since a child of fork has its own faults, and one of vfork shares this word.
constinit std::atomic<uint64_t> explained{0};

// Whether the heap itself protects the page of `address`. What holds live objects is the program's
// to protect: a fault there is none of ours.
bool IsGuard(uintptr_t address) {
  const core::Arena* arena = core::heap_state.FindArena(address);
  if (arena == nullptr) return false;
  const core::SliceDescriptor& slice = arena->SliceAt(address);
  if (slice.use == core::SliceUse::kSlab && !slice.released) return false;
  const core::Run* run = FindRun(address);
  return run == nullptr || address - run->pages >= run->page_bytes ||
         !core::IsLive(run->record.load(std::memory_order_relaxed));
}

// The report about an access to `address`, memory of the heap, that faulted.
CorruptionReport ReportAbout(uintptr_t address) {
  CorruptionReport report = DescribeAddress(address, "a fault");
  report.kind = CorruptionKind::kHeapOverflow;
  const core::Run* run = FindRun(address);
  if (run == nullptr) return report;
  report.in_run = true;
  report.in_slab = false;
  report.slot_start = run->data;
  report.slot_size = run->page_bytes;
  report.requested_size = run->requested;
  report.owner_thread = run->thread_id;
  const bool in_data = address - run->pages < run->page_bytes;
  if (in_data && !core::IsLive(run->record.load(std::memory_order_relaxed))) {
    report.kind = CorruptionKind::kUseAfterFree;
  }
  if (run->trace != nullptr) {
    const Trace& trace = *static_cast<const Trace*>(run->trace);
    report.alloc_stack = trace.allocated.frames.data();
    report.alloc_stack_size = trace.allocated.size;
    report.free_stack = trace.freed.frames.data();
    report.free_stack_size = trace.freed.size;
  }
  return report;
}

// Gives the thread that explains a second.
void WaitForExplanation(uint64_t begun) {
  for (int i = 0; i < 100 && explained.load(std::memory_order_acquire) == begun; ++i) {
    const timespec pause = {.tv_sec = 0, .tv_nsec = 10'000'000};
    prim::kernel::SystemCall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &pause, nullptr);
  }
}

// si_code of a fault; other positive ones are faults, too, but never ours.
bool IsAccessFault(const siginfo_t& info) {
  return info.si_code == SEGV_MAPERR || info.si_code == SEGV_ACCERR;
}

// Runs with SIGSEGV blocked. Whatever it is, the process is about to end.
void OnFault(int signal, siginfo_t* info, void* /*context*/) {
  ExplainFault(*info);
  prim::SetSignalAction(signal, SignalAction{});
  // A fault happens again, with the same facts, as soon as this returns. Who sent a signal does not
  // do it again; nor does the kernel, which says SI_KERNEL for faults without an address, but also
  // when it sends one by itself. It arrives when this returns.
  if (info->si_code > 0 && info->si_code != SI_KERNEL) return;
  if (prim::SendToThisThread(signal, info)) return;
  // Not allowed to (a sandbox): a fault under a blocked signal cannot fail to end the process.
  volatile uintptr_t nowhere = 1;
  *reinterpret_cast<volatile char*>(nowhere) = 0;
}

}  // namespace

void ExplainFault(const siginfo_t& info) {
  const uint64_t begun = static_cast<uint64_t>(prim::kernel::SystemCall(SYS_getpid)) << 1;
  uint64_t seen = explained.load(std::memory_order_acquire);
  if ((seen & ~uint64_t{1}) == begun) return WaitForExplanation(begun);
  if (info.si_code <= 0) return;
  const uintptr_t address = reinterpret_cast<uintptr_t>(info.si_addr);
  if (!IsAccessFault(info) || !IsGuard(address)) return;
  if (!explained.compare_exchange_strong(seen, begun, std::memory_order_acq_rel)) {
    return WaitForExplanation(begun);
  }
  prim::PrintLastCorruption(ReportAbout(address));
  explained.store(begun | 1, std::memory_order_release);
}

bool IsFaultHandler(const SignalAction& action) {
  return action.handler == reinterpret_cast<uintptr_t>(&OnFault);
}

SignalAction WithoutFaultHandler(const SignalAction& action) {
  if (!IsFaultHandler(action)) return action;
  return {.flags = action.flags & kCarriedFlags, .mask = action.mask};
}

void InstallFaultHandler() {
  if (!core::heap_state.started() || !active_features->explain_faults) return;
  SignalAction action;
  if (prim::GetSignalAction(SIGSEGV, &action) != 0 ||
      action.handler != reinterpret_cast<uintptr_t>(SIG_DFL) ||
      (action.flags & ~kCarriedFlags) != 0) {
    return;
  }
  action.handler = reinterpret_cast<uintptr_t>(&OnFault);
  action.flags |= SA_SIGINFO | SA_ONSTACK;
  prim::SetSignalAction(SIGSEGV, action);
}

void RemoveFaultHandler() {
  SignalAction action;
  if (prim::GetSignalAction(SIGSEGV, &action) == 0 && IsFaultHandler(action)) {
    prim::SetSignalAction(SIGSEGV, WithoutFaultHandler(action));
  }
}

}  // namespace hardened
