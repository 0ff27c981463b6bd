#include "hardened/prim/check.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>

#include "hardened/prim/raw_writer.h"
#include "hardened/prim/system_info.h"

namespace hardened::prim {
namespace {

// The thread that is ending the process, 0: none.
constinit std::atomic<uint64_t> g_dying_thread{0};

}  // namespace

void CheckFailed(const char* file, int line, const char* condition) {
  RawWriter out;
  out.Text("hardened: internal error: ").Text(file).Char(':');
  out.Decimal(static_cast<uint64_t>(line)).Text(": ").Text(condition).Char('\n');
  out.Flush(STDERR_FILENO);
  if (ThreadIsDying()) AbortWithoutHandler();
  MarkThreadDying();
  abort();
}

void MarkThreadDying() { g_dying_thread.store(ThreadId(), std::memory_order_relaxed); }

bool ThreadIsDying() {
  const uint64_t dying = g_dying_thread.load(std::memory_order_relaxed);
  return dying != 0 && dying == ThreadId();
}

void AbortWithoutHandler() {
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  sigaction(SIGABRT, &action, nullptr);
  abort();
}

}  // namespace hardened::prim
