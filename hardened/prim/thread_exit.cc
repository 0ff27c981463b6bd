#include "hardened/prim/thread_exit.h"

#include <pthread.h>

#include <atomic>

#include "hardened/prim/check.h"

namespace hardened::prim {
namespace {

constinit pthread_key_t g_key{};
// Release in RegisterThreadExit() pairs with acquire in ArmThreadExit(): who sees it sees g_key.
constinit std::atomic<bool> g_has_key{false};

}  // namespace

bool RegisterThreadExit(void (*callback)(void*)) {
  HARDENED_CHECK(!g_has_key.load(std::memory_order_relaxed));
  if (pthread_key_create(&g_key, callback) != 0) return false;
  g_has_key.store(true, std::memory_order_release);
  return true;
}

bool ArmThreadExit(void* value) {
  HARDENED_DCHECK(value != nullptr);
  return g_has_key.load(std::memory_order_acquire) && pthread_setspecific(g_key, value) == 0;
}

void DisarmThreadExit() {
  if (g_has_key.load(std::memory_order_acquire)) pthread_setspecific(g_key, nullptr);
}

}  // namespace hardened::prim
