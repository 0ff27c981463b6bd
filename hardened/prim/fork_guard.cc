#include "hardened/prim/fork_guard.h"

#include <pthread.h>

#include <atomic>

#include "hardened/prim/check.h"

namespace hardened::prim {
namespace {

constinit std::atomic<bool> g_installed{false};

}  // namespace

bool InstallForkHandlers(void (*prepare)(), void (*parent)(), void (*child)()) {
  HARDENED_CHECK(!g_installed.load(std::memory_order_relaxed));
  if (pthread_atfork(prepare, parent, child) != 0) return false;
  g_installed.store(true, std::memory_order_release);
  return true;
}

bool ForkHandlersInstalled() { return g_installed.load(std::memory_order_acquire); }

}  // namespace hardened::prim
