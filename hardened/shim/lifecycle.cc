// What must happen at the process's turning points: fork handlers, registered by a constructor.

#include "hardened/core/run.h"
#include "hardened/core/thread_heap.h"
#include "hardened/heap_plugs.h"
#include "hardened/prim/fork_guard.h"

namespace hardened::shim {
namespace {

// Lock order: registry, arenas, run cache (ARCHITECTURE.md#fork).
void BeforeFork() {
  core::heap_registry.LockForFork();
  core::run_cache.LockForFork();
}
void AfterForkInParent() {
  core::run_cache.UnlockAfterFork(/*in_child=*/false);
  core::heap_registry.UnlockAfterFork(/*in_child=*/false);
}
void AfterForkInChild() {
  core::run_cache.UnlockAfterFork(/*in_child=*/true);
  core::heap_registry.UnlockAfterFork(/*in_child=*/true);
  RenewAfterFork();
}

[[gnu::constructor]] void InstallHandlers() {
  prim::InstallForkHandlers(&BeforeFork, &AfterForkInParent, &AfterForkInChild);
}

}  // namespace
}  // namespace hardened::shim
