// Features: what a level switches on, as one value.
//
// A level is a constexpr Features with designated initialisers (policies/); an unknown name does
// not compile, an incoherent combination neither. Heap<Policy> is instantiated with it, so a
// feature that is off leaves no instruction.

#ifndef HARDENED_FEATURES_H_
#define HARDENED_FEATURES_H_

#include "hardened/core/heap_state.h"

namespace hardened {

struct Features {
  // The level's name in reports.
  const char* name = "";
  // Numbers for core: placement of slots, purge, runs.
  core::CoreOptions core = {};
  // The exact size of each request is kept: malloc_usable_size(p) is what was asked for. Off: it is
  // the size of the slot.
  bool exact_size = false;
};

constexpr bool IsCoherent(const Features& features) { return features.name[0] != '\0'; }

// A policy is a type with a coherent kFeatures.
template <class Policy>
concept HardeningPolicy = IsCoherent(Policy::kFeatures);

}  // namespace hardened

#endif  // HARDENED_FEATURES_H_
