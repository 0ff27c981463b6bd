// Level strict: for programs that handle hostile input. Standard with everything wiped and checked
// again, a longer quarantine, and runs that end against their guard.

#ifndef POLICIES_STRICT_H_
#define POLICIES_STRICT_H_

#include "hardened/features.h"

namespace hardened::policies {

struct Strict {
  static constexpr Features kFeatures = {
      .name = "strict",
      .core = {.placement = {.window_bytes = 0},
               .record_shift = 2,
               .collect_into_magazine = false,
               .random_run_guards = true,
               .run_gap_slices = 23,
               .delay_runs = true,
               .end_aligned_runs = true,
               .run_hold_bytes = 256 << 20,
               .isolate_classes = true,
               .guard_slab_interval = 2},
      .exact_size = true,
      .canary = true,
      .check_neighbours = true,
      .wipe_limit = core::kMaxSlotSize,
      .check_on_allocate = true,
      .quarantine = {.bytes = 1 << 20, .least_weight = 128, .big_factor = 2},
      .sample_interval = 10'000,
      .explain_faults = true,
      .zero_size_faults = true,
      .check_stated_size = true,
  };
};

}  // namespace hardened::policies

#endif  // POLICIES_STRICT_H_
