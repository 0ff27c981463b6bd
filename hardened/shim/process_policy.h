// ProcessPolicy: what holds in this process, resolved once from the build, the system's policy
// files, the program and the environment (policies/resolve.h), and sealed.
//
// Threads: any. Nothing here allocates; what is wrong with a source is written to fd 2, at most
// kMaxLines lines in a process.

#ifndef HARDENED_SHIM_PROCESS_POLICY_H_
#define HARDENED_SHIM_PROCESS_POLICY_H_

#include "hardened/prim/sealed.h"
#include "policies/resolve.h"

namespace hardened::shim {

struct ProcessPolicy {
  policies::ResolvedPolicy resolved;
  // In the language of HARDENED_OPTIONS; ends with a NUL.
  char text[1024] = {};
};

// The policy of this process. The first call resolves it.
const ProcessPolicy& ThisProcessPolicy();

// Whether this library leaves the process alone: it does what would be done without it, and nothing
// else. Where a policy file says `disable`, and beside valgrind and the runtimes of sanitizers,
// which have to see every allocation. Never in a library of one level, which has no way around its
// heap.
bool LeavesProcessAlone();

}  // namespace hardened::shim

#endif  // HARDENED_SHIM_PROCESS_POLICY_H_
