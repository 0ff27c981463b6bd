// Level light: every bad free is detected; nothing else costs time. For programs that were never
// meant to pay for hardening.

#ifndef POLICIES_LIGHT_H_
#define POLICIES_LIGHT_H_

#include "hardened/features.h"

namespace hardened::policies {

struct Light {
  static constexpr Features kFeatures = {
      .name = "light",
      .core = {.placement = {.window_bytes = 256}},
      // A sample costs some 12 us, all told.
      .sample_interval = 500'000,
      .explain_faults = true,
      .actions = EventActions{}
                     .With(Event::kMismatch, EventAction::kIgnore)
                     .With(Event::kSizedDelete, EventAction::kIgnore),
  };
};

}  // namespace hardened::policies

#endif  // POLICIES_LIGHT_H_
