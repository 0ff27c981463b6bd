// Level paranoid: for programs where a detected attack is worth any slowdown, and for testing.
// Strict with a long quarantine, a guard behind every slab, and a sweep over all canaries.

#ifndef POLICIES_PARANOID_H_
#define POLICIES_PARANOID_H_

#include "hardened/features.h"

namespace hardened::policies {

struct Paranoid {
  static constexpr Features kFeatures = {
      .name = "paranoid",
      .core = {.placement = {.window_bytes = 0},
               .record_shift = 2,
               .collect_into_magazine = false,
               .random_run_guards = true,
               .run_gap_slices = 23,
               .delay_runs = true,
               .end_aligned_runs = true,
               .run_hold_bytes = size_t{1} << 30,
               .isolate_classes = true,
               .guard_slab_interval = 1},
      .exact_size = true,
      .canary = true,
      .check_neighbours = true,
      .wipe_limit = core::kMaxSlotSize,
      .check_on_allocate = true,
      .quarantine = {.bytes = 8 << 20, .least_weight = 256},
      .sweep = true,
      .sample_interval = 100,
      .explain_faults = true,
      .zero_size_faults = true,
      .check_stated_size = true,
  };
};

}  // namespace hardened::policies

#endif  // POLICIES_PARANOID_H_
