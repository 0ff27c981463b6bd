// Level strict: for programs that handle hostile input. Standard, and runs end against their guard.

#ifndef POLICIES_STRICT_H_
#define POLICIES_STRICT_H_

#include "hardened/features.h"

namespace hardened::policies {

struct Strict {
  static constexpr Features kFeatures = {
      .name = "strict",
      .core = {.placement = {.window_bytes = 0},
               .collect_into_magazine = false,
               .random_run_guards = true,
               .end_aligned_runs = true},
      .exact_size = true,
  };
};

}  // namespace hardened::policies

#endif  // POLICIES_STRICT_H_
