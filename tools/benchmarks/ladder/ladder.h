// The policies of tools/bench --ladder: one for each protection, and for each sum of protections on
// the way from light to strict.
//
// A step takes what one protection needs from a policy, so the rungs follow the policies. Each
// library is built with one of the structs below; rungs.bzl lists them.

#ifndef TOOLS_BENCHMARKS_LADDER_LADDER_H_
#define TOOLS_BENCHMARKS_LADDER_LADDER_H_

#include <cstddef>
#include <cstdint>

#include "hardened/features.h"
#include "policies/light.h"
#include "policies/standard.h"
#include "policies/strict.h"

namespace hardened::ladder {

inline constexpr const Features& kLight = policies::Light::kFeatures;
inline constexpr const Features& kStandard = policies::Standard::kFeatures;
inline constexpr const Features& kStrict = policies::Strict::kFeatures;

constexpr Features Named(const char* name, Features features) {
  features.name = name;
  return features;
}

// ---- steps: `features` with one protection as `level` has it, and what that cannot do without

constexpr Features AddRandomPlacement(Features features, const Features& level) {
  features.core.placement = level.core.placement;
  features.core.collect_into_magazine = level.core.collect_into_magazine;
  return features;
}

constexpr Features AddExactSize(Features features, const Features& level) {
  features.exact_size = level.exact_size;
  return features;
}

constexpr Features AddMismatch(Features features, const Features& level) {
  features = AddExactSize(features, level);
  features.check_stated_size = level.check_stated_size;
  features.actions = level.actions;
  return features;
}

constexpr Features AddCanary(Features features, const Features& level) {
  features = AddExactSize(features, level);
  features.core.record_shift = level.core.record_shift;
  features.canary = level.canary;
  return features;
}

constexpr Features AddNeighbours(Features features, const Features& level) {
  features = AddCanary(features, level);
  features.check_neighbours = level.check_neighbours;
  return features;
}

constexpr Features AddWipe(Features features, size_t limit) {
  features.wipe_limit = limit;
  return features;
}

constexpr Features AddCheckOnAllocate(Features features, const Features& level) {
  features = AddWipe(features, level.wipe_limit);
  features.check_on_allocate = level.check_on_allocate;
  features.quarantine.check_interval = level.quarantine.check_interval;
  return features;
}

constexpr Features AddQuarantine(Features features, const Features& level) {
  features.core.collect_into_magazine = level.core.collect_into_magazine;
  features.quarantine = level.quarantine;
  return features;
}

constexpr Features AddRunGuards(Features features, const Features& level) {
  features.core.random_run_guards = level.core.random_run_guards;
  features.core.run_gap_slices = level.core.run_gap_slices;
  features.core.delay_runs = level.core.delay_runs;
  return features;
}

constexpr Features AddEndAlignedRuns(Features features, const Features& level) {
  features.core.end_aligned_runs = level.core.end_aligned_runs;
  return features;
}

constexpr Features AddRunHold(Features features, const Features& level) {
  features.core.run_hold_bytes = level.core.run_hold_bytes;
  return features;
}

constexpr Features AddIsolation(Features features, const Features& level) {
  features.core.isolate_classes = level.core.isolate_classes;
  features.core.guard_slab_interval = level.core.guard_slab_interval;
  return features;
}

constexpr Features AddZeroSizeFaults(Features features, const Features& level) {
  features.zero_size_faults = level.zero_size_faults;
  return features;
}

constexpr Features AddSampling(Features features, uint32_t interval) {
  features.sample_interval = interval;
  return features;
}

constexpr Features AddExplainFaults(Features features, bool explain) {
  features.explain_faults = explain;
  return features;
}

// ---- rungs: light with one protection more or less

struct RandomPlacement {
  static constexpr Features kFeatures =
      Named("random_placement", AddRandomPlacement(kLight, kStandard));
};
struct ExactSize {
  static constexpr Features kFeatures = Named("exact_size", AddExactSize(kLight, kStandard));
};
struct Mismatch {
  static constexpr Features kFeatures = Named("mismatch", AddMismatch(kLight, kStandard));
};
struct Canary {
  static constexpr Features kFeatures = Named("canary", AddCanary(kLight, kStandard));
};
struct Neighbours {
  static constexpr Features kFeatures = Named("neighbours", AddNeighbours(kLight, kStrict));
};
struct Wipe128 {
  static constexpr Features kFeatures = Named("wipe_128", AddWipe(kLight, 128));
};
struct Wipe1024 {
  static constexpr Features kFeatures = Named("wipe_1024", AddWipe(kLight, 1024));
};
struct WipeAll {
  static constexpr Features kFeatures = Named("wipe_all", AddWipe(kLight, core::kMaxSlotSize));
};
struct CheckOnAllocate {
  static constexpr Features kFeatures =
      Named("check_on_allocate", AddCheckOnAllocate(kLight, kStrict));
};
struct Quarantine {
  static constexpr Features kFeatures = Named("quarantine", AddQuarantine(kLight, kStandard));
};
struct IsolateClasses {
  static constexpr Features kFeatures = Named("isolate_classes", AddIsolation(kLight, kStandard));
};
struct ZeroSizeFaults {
  static constexpr Features kFeatures =
      Named("zero_size_faults", AddZeroSizeFaults(kLight, kStandard));
};
struct Sampling10000 {
  static constexpr Features kFeatures = Named("sampling_10000", AddSampling(kLight, 10'000));
};
struct WithoutSampling {
  static constexpr Features kFeatures = Named("without_sampling", AddSampling(kLight, 0));
};
struct WithoutExplainFaults {
  static constexpr Features kFeatures =
      Named("without_explain_faults", AddExplainFaults(kLight, false));
};
struct RunGuards {
  static constexpr Features kFeatures = Named("run_guards", AddRunGuards(kLight, kStandard));
};
struct EndAlignedRuns {
  static constexpr Features kFeatures =
      Named("end_aligned_runs", AddEndAlignedRuns(kLight, kStrict));
};
struct RunHold {
  static constexpr Features kFeatures = Named("run_hold", AddRunHold(kLight, kStrict));
};

// ---- rungs from light to standard, each with all before it

struct StandardRandomPlacement {
  static constexpr Features kFeatures =
      Named("standard_random_placement", AddRandomPlacement(kLight, kStandard));
};
struct StandardExactSize {
  static constexpr Features kFeatures =
      Named("standard_exact_size", AddExactSize(StandardRandomPlacement::kFeatures, kStandard));
};
struct StandardCanary {
  static constexpr Features kFeatures =
      Named("standard_canary", AddCanary(StandardExactSize::kFeatures, kStandard));
};
struct StandardWipe {
  static constexpr Features kFeatures =
      Named("standard_wipe", AddWipe(StandardCanary::kFeatures, kStandard.wipe_limit));
};
struct StandardQuarantine {
  static constexpr Features kFeatures =
      Named("standard_quarantine", AddQuarantine(StandardWipe::kFeatures, kStandard));
};
struct StandardRunGuards {
  static constexpr Features kFeatures =
      Named("standard_run_guards", AddRunGuards(StandardQuarantine::kFeatures, kStandard));
};
struct StandardIsolateClasses {
  static constexpr Features kFeatures =
      Named("standard_isolate_classes", AddIsolation(StandardRunGuards::kFeatures, kStandard));
};
struct StandardSampling {
  static constexpr Features kFeatures =
      Named("standard_sampling",
            AddSampling(StandardIsolateClasses::kFeatures, kStandard.sample_interval));
};
struct StandardZeroSizeFaults {
  static constexpr Features kFeatures =
      Named("standard_zero_size_faults", AddZeroSizeFaults(StandardSampling::kFeatures, kStandard));
};
// Whatever is left.
struct StandardAll {
  static constexpr Features kFeatures = Named("standard_all", kStandard);
};

// ---- rungs from standard to strict, each with all before it

struct StrictNeighbours {
  static constexpr Features kFeatures =
      Named("strict_neighbours", AddNeighbours(kStandard, kStrict));
};
struct StrictWipe {
  static constexpr Features kFeatures =
      Named("strict_wipe", AddWipe(StrictNeighbours::kFeatures, kStrict.wipe_limit));
};
struct StrictCheckOnAllocate {
  static constexpr Features kFeatures =
      Named("strict_check_on_allocate", AddCheckOnAllocate(StrictWipe::kFeatures, kStrict));
};
struct StrictQuarantine {
  static constexpr Features kFeatures =
      Named("strict_quarantine", AddQuarantine(StrictCheckOnAllocate::kFeatures, kStrict));
};
struct StrictEndAlignedRuns {
  static constexpr Features kFeatures =
      Named("strict_end_aligned_runs", AddEndAlignedRuns(StrictQuarantine::kFeatures, kStrict));
};
struct StrictRunHold {
  static constexpr Features kFeatures =
      Named("strict_run_hold", AddRunHold(StrictEndAlignedRuns::kFeatures, kStrict));
};
struct StrictGuardSlabs {
  static constexpr Features kFeatures =
      Named("strict_guard_slabs", AddIsolation(StrictRunHold::kFeatures, kStrict));
};
struct StrictSampling {
  static constexpr Features kFeatures =
      Named("strict_sampling", AddSampling(StrictGuardSlabs::kFeatures, kStrict.sample_interval));
};
// Whatever is left.
struct StrictAll {
  static constexpr Features kFeatures = Named("strict_all", kStrict);
};

}  // namespace hardened::ladder

#endif  // TOOLS_BENCHMARKS_LADDER_LADDER_H_
