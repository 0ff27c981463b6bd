#include "hardened/prim/check.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>

#include "hardened/prim/raw_writer.h"

namespace hardened::prim {
namespace {

// The thread id whose check failed last, 0: none.
constinit std::atomic<uint64_t> g_failed_thread{0};

}  // namespace

void CheckFailed(const char* file, int line, const char* condition) {
  RawWriter out;
  out.Text("hardened: internal error: ").Text(file).Char(':');
  out.Decimal(static_cast<uint64_t>(line)).Text(": ").Text(condition).Char('\n');
  out.Flush(STDERR_FILENO);
  const auto self = static_cast<uint64_t>(syscall(SYS_gettid));
  if (g_failed_thread.exchange(self, std::memory_order_relaxed) == self) AbortWithoutHandler();
  abort();
}

void AbortWithoutHandler() {
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  sigaction(SIGABRT, &action, nullptr);
  abort();
}

}  // namespace hardened::prim
