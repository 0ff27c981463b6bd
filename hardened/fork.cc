#include "hardened/fork.h"

#include "hardened/core/run.h"
#include "hardened/core/thread_heap.h"
#include "hardened/heap_plugs.h"
#include "hardened/prim/fork_guard.h"

namespace hardened {
namespace {

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

}  // namespace

void EnsureForkHandlers() {
  prim::InstallForkHandlers(&BeforeFork, &AfterForkInParent, &AfterForkInChild);
}

}  // namespace hardened
