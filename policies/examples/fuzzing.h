// Level fuzzing: for programs under a fuzzer, where every bug must show and nothing must last. An
// example of a custom level.
//
// Everything is checked as early as it can be, freed memory is not used again before an input ends,
// one allocation in 16 lies between guards (HARDENED_OPTIONS=sample=1/N changes that), and random
// numbers come from a fixed seed.
//
// A level is a header like this one. A library is built with it, in a BUILD file of this workspace,
// by
//
//   load("//tools/bazel:copts.bzl", "header_policy_copts", "malloc_library")
//
//   cc_library(
//       name = "my_level",
//       hdrs = ["my_level.h"],
//       deps = ["//hardened:protections"],
//   )
//
//   malloc_library(
//       name = "mine",
//       copts = header_policy_copts("my/folder/my_level.h", "my::Level", "strict"),
//       policy = ":my_level",
//   )
//
// which makes malloc_mine, for cc_binary(malloc = ...), and libhardened_mine.so, to preload.
// fuzzers/backing_allocator does it with this header.

#ifndef POLICIES_EXAMPLES_FUZZING_H_
#define POLICIES_EXAMPLES_FUZZING_H_

#include "hardened/features.h"

namespace hardened::policies {

struct Fuzzing {
  static constexpr Features kFeatures = {
      .name = "fuzzing",
      .core = {.placement = {.window_bytes = 0},
               .record_shift = 2,
               .collect_into_magazine = false,
               .random_run_guards = true,
               .end_aligned_runs = true,
               .run_cache_bytes = 0,
               .run_hold_bytes = 64 << 20,
               .isolate_classes = false,
               .guard_slab_interval = 0,
               .seed = 1,
               .seeded = true},
      .exact_size = true,
      .canary = true,
      .check_neighbours = true,
      .wipe_limit = core::kMaxSlotSize,
      // Every slot is looked at when it is handed out, so none needs to be when it leaves.
      .check_on_allocate = true,
      .quarantine = {.bytes = 1 << 20, .least_weight = 64, .check_interval = 0},
      .sample_interval = 16,
      // The fuzzing engine must have installed its handler before ours: the library does it late.
      .explain_faults = false,
      // Allocations of nothing are placed like any other, by the seed alone. The canary fills them.
      .zero_size_faults = false,
      .check_stated_size = true,
  };
};

}  // namespace hardened::policies

#endif  // POLICIES_EXAMPLES_FUZZING_H_
