#include "hardened/prim/fork_guard.h"

#include <pthread.h>

#include <atomic>

namespace hardened::prim {
namespace {

constinit std::atomic<bool> g_installed{false};

}  // namespace

bool InstallForkHandlers(void (*prepare)(), void (*parent)(), void (*child)()) {
  if (g_installed.exchange(true, std::memory_order_acq_rel)) return true;
  if (pthread_atfork(prepare, parent, child) == 0) return true;
  g_installed.store(false, std::memory_order_release);
  return false;
}

bool ForkHandlersInstalled() { return g_installed.load(std::memory_order_acquire); }

}  // namespace hardened::prim
