#include "hardened/prim/fork_guard.h"

#include <pthread.h>

#include <atomic>

// Of glibc; other libraries have none.
extern "C" [[gnu::weak]] void _IO_list_lock();
extern "C" [[gnu::weak]] void _IO_list_unlock();

namespace hardened::prim {
namespace {

constinit std::atomic<bool> g_installed{false};
using Handler = void (*)();
constinit Handler g_prepare = nullptr;
constinit Handler g_parent = nullptr;

// glibc takes its lock on the list of streams after the prepare handlers, and elsewhere holds a
// stream while it allocates: the list comes first, or fork() deadlocks with fflush(nullptr). In the
// child glibc resets that lock itself.
void Prepare() {
  if (_IO_list_lock != nullptr) _IO_list_lock();
  g_prepare();
}
void Parent() {
  g_parent();
  if (_IO_list_unlock != nullptr) _IO_list_unlock();
}

}  // namespace

bool InstallForkHandlers(void (*prepare)(), void (*parent)(), void (*child)()) {
  if (g_installed.exchange(true, std::memory_order_acq_rel)) return true;
  g_prepare = prepare;
  g_parent = parent;
  if (pthread_atfork(&Prepare, &Parent, child) == 0) return true;
  g_installed.store(false, std::memory_order_release);
  return false;
}

bool ForkHandlersInstalled() { return g_installed.load(std::memory_order_acquire); }

}  // namespace hardened::prim
