// Level standard, the default: for servers. Slots are placed at random over their whole slab,
// overflows are found when the allocation ends, freed slots are wiped and wait before re-use.

#ifndef POLICIES_STANDARD_H_
#define POLICIES_STANDARD_H_

#include "hardened/features.h"

namespace hardened::policies {

struct Standard {
  static constexpr Features kFeatures = {
      .name = "standard",
      .core = {.placement = {.window_bytes = 0},
               .record_shift = 2,
               .collect_into_magazine = false,
               .random_run_guards = true,
               .run_gap_slices = 3,
               .delay_runs = true,
               .isolate_classes = true,
               .guard_slab_interval = 8},
      .exact_size = true,
      .canary = true,
      // Two cache lines: beyond, a wipe costs more than everything else together.
      .wipe_limit = 128,
      // 6,272 slots up to 80 bytes, which is what a request of 64 and its canary take: each waits
      // for at least 4,096 frees.
      .quarantine = {.bytes = 490 << 10, .least_weight = 80, .big_factor = 4},
      .sample_interval = 50'000,
      .explain_faults = true,
      .zero_size_faults = true,
      .check_stated_size = true,
      .actions = EventActions{}
                     .With(Event::kMismatch, EventAction::kReport)
                     .With(Event::kSizedDelete, EventAction::kReport),
  };
};

}  // namespace hardened::policies

#endif  // POLICIES_STANDARD_H_
