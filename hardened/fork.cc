#include "hardened/fork.h"

#include "hardened/core/heap_registry.h"
#include "hardened/core/run.h"
#include "hardened/heap_plugs.h"
#include "hardened/prim/fork_guard.h"
#include "hardened/prim/lock.h"
#include "hardened/prim/start_guard.h"
#include "hardened/zero_size.h"

namespace hardened {
namespace {

void BeforeFork() {
  prim::BeginFork();
  prim::FreezeStart();
  // Also where the policy leaves the process to libc's malloc.
  if (!core::heap_state.started()) return;
  zero_size_slots.FreezeForFork();
  core::heap_registry.FreezeForFork();
  core::run_cache.FreezeForFork();
  core::held_runs.FreezeForFork();
  core::held_traced_runs.FreezeForFork();
}

void AfterForkInParent() {
  if (!prim::EndForkInParent()) return;
  core::held_traced_runs.ThawAfterFork();
  core::held_runs.ThawAfterFork();
  core::run_cache.ThawAfterFork();
  core::heap_registry.ThawAfterFork();
  zero_size_slots.ThawAfterFork();
  prim::ThawStart();
}

void AfterForkInChild() {
  prim::EndForkInChild();
  const bool whole = prim::MendStartInChild();
  // Where this very thread is starting the heap, it goes on with that below the signal handler.
  if (prim::ThreadIsStarting() || (whole && !core::heap_state.started())) return;
  core::held_traced_runs.MendInChild();
  core::held_runs.MendInChild();
  core::run_cache.MendInChild();
  core::heap_registry.MendInChild();
  zero_size_slots.MendInChild();
  RenewAfterFork();
}

}  // namespace

void EnsureForkHandlers() {
  prim::InstallForkHandlers(&BeforeFork, &AfterForkInParent, &AfterForkInChild);
}

}  // namespace hardened
