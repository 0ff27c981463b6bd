#include "hardened/fork.h"

#include "hardened/core/heap_registry.h"
#include "hardened/core/run.h"
#include "hardened/heap_plugs.h"
#include "hardened/prim/fork_guard.h"
#include "hardened/zero_size.h"

namespace hardened {
namespace {

void BeforeFork() {
  zero_size_slots.LockForFork();
  core::heap_registry.LockForFork();
  core::run_cache.LockForFork();
  core::held_runs.LockForFork();
  core::held_traced_runs.LockForFork();
}
void AfterForkInParent() {
  core::held_traced_runs.UnlockAfterFork(/*in_child=*/false);
  core::held_runs.UnlockAfterFork(/*in_child=*/false);
  core::run_cache.UnlockAfterFork(/*in_child=*/false);
  core::heap_registry.UnlockAfterFork(/*in_child=*/false);
  zero_size_slots.UnlockAfterFork(/*in_child=*/false);
}
void AfterForkInChild() {
  core::held_traced_runs.UnlockAfterFork(/*in_child=*/true);
  core::held_runs.UnlockAfterFork(/*in_child=*/true);
  core::run_cache.UnlockAfterFork(/*in_child=*/true);
  core::heap_registry.UnlockAfterFork(/*in_child=*/true);
  zero_size_slots.UnlockAfterFork(/*in_child=*/true);
  RenewAfterFork();
}

}  // namespace

void EnsureForkHandlers() {
  prim::InstallForkHandlers(&BeforeFork, &AfterForkInParent, &AfterForkInChild);
}

}  // namespace hardened
