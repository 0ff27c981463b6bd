#include "hardened/prim/check.h"

#include <signal.h>

#include <atomic>
#include <cstdint>

#include "hardened/prim/error_stream.h"
#include "hardened/prim/kernel.h"
#include "hardened/prim/raw_writer.h"
#include "hardened/prim/sandbox.h"
#include "hardened/prim/signals.h"
#include "hardened/prim/system_info.h"

namespace hardened::prim {
namespace {

// The thread that is ending the process, 0: none.
constinit std::atomic<uint64_t> g_dying_thread{0};

void UnblockAndRaiseAbort() {
  SetBlockedSignals(BlockSignals(0) & ~SetOf(SIGABRT));
  SendToThisThread(SIGABRT, nullptr);
}

}  // namespace

void CheckFailed(const char* file, int line, const char* condition) {
  RawWriter out;
  out.Text("hardened: internal error: ").Text(file).Char(':');
  out.Decimal(static_cast<uint64_t>(line)).Text(": ").Text(condition).Char('\n');
  WriteMessage(out.view());
  if (ThreadIsDying()) AbortWithoutHandler();
  MarkThreadDying();
  Abort();
}

void MarkThreadDying() {
  LeaveSandbox();
  g_dying_thread.store(ThreadId(), std::memory_order_relaxed);
}

bool ThreadIsDying() {
  const uint64_t dying = g_dying_thread.load(std::memory_order_relaxed);
  return dying != 0 && dying == ThreadId();
}

void Abort() {
  UnblockAndRaiseAbort();
  AbortWithoutHandler();
}

void AbortWithoutHandler() {
  SetSignalAction(SIGABRT, SignalAction{});
  UnblockAndRaiseAbort();
  // The first process of a container gets no signal whose action is the default.
  for (;;) kernel::SystemCallUnasked(SYS_exit_group, 128 + SIGABRT);
}

}  // namespace hardened::prim
