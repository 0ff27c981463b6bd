// Level standard, the default: for servers. Slots are placed at random over their whole slab.

#ifndef POLICIES_STANDARD_H_
#define POLICIES_STANDARD_H_

#include "hardened/features.h"

namespace hardened::policies {

struct Standard {
  static constexpr Features kFeatures = {
      .name = "standard",
      .core = {.placement = {.window_bytes = 0},
               .collect_into_magazine = false,
               .random_run_guards = true},
      .exact_size = true,
  };
};

}  // namespace hardened::policies

#endif  // POLICIES_STANDARD_H_
