// The process's start and end. The first allocation registers the fork handlers; a program that
// forks before it allocates gets them from the constructor. By the first allocation, too,
// descriptor 2 may be something else than at the start, and a sandbox may hide the policy files.

#include "hardened/fork.h"
#include "hardened/heap_plugs.h"
#include "hardened/prim/error_stream.h"
#include "hardened/shim/process_policy.h"
#include "hardened/shim/signals.h"
#include "hardened/sweep.h"

namespace hardened::shim {
namespace {

[[gnu::constructor]] void Begin() {
  prim::NoteErrorStream();
  FindSignalFunctions();
  ThisProcessPolicy();
  if (!LeavesProcessAlone()) EnsureForkHandlers();
}

[[gnu::destructor]] void SweepAtExit() {
  if (active_features->sweep) SweepEverything();
}

}  // namespace
}  // namespace hardened::shim
