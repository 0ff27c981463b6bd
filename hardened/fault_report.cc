#include "hardened/fault_report.h"

#include <signal.h>

#include <atomic>

#include "hardened/bad_pointer.h"
#include "hardened/core/heap_state.h"
#include "hardened/core/run.h"
#include "hardened/guarded_sample.h"

namespace hardened {
namespace {

using prim::CorruptionKind;
using prim::CorruptionReport;

constinit struct sigaction previous_action = {};
constinit std::atomic<bool> explained{false};

// Runs what was there before us. Without a handler, the default action: the fault happens again
// when this handler returns, and ends the process.
void Chain(int signal, siginfo_t* info, void* context) {
  if ((previous_action.sa_flags & SA_SIGINFO) != 0) {
    previous_action.sa_sigaction(signal, info, context);
    return;
  }
  if (previous_action.sa_handler != SIG_DFL && previous_action.sa_handler != SIG_IGN) {
    previous_action.sa_handler(signal);
    return;
  }
  sigaction(signal, &previous_action, nullptr);
}

void OnFault(int signal, siginfo_t* info, void* context) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(info->si_addr);
  // si_code > 0: the kernel saw a fault; nobody sent the signal. Once is enough: what the chained
  // handler does about it is not ours to explain again.
  if (info->si_code > 0 && core::heap_state.FindArena(address) != nullptr &&
      !explained.exchange(true, std::memory_order_relaxed)) {
    prim::PrintCorruption(ExplainFault(address));
  }
  Chain(signal, info, context);
}

}  // namespace

CorruptionReport ExplainFault(uintptr_t address) {
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

void InstallFaultHandler() {
  struct sigaction action = {};
  action.sa_sigaction = &OnFault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  struct sigaction before = {};
  if (sigaction(SIGSEGV, nullptr, &before) != 0) return;
  previous_action = before;
  sigaction(SIGSEGV, &action, nullptr);
}

}  // namespace hardened
