// Secrets: the keys of the protections, on pages of their own.
//
// Out of core dumps and read-only except while a forked child adds the keys of its epoch. They are
// never copied into a report.
//
// Threads: read by any thread; changed by InitialiseSecrets() before the first allocation and by
// AdvanceEpoch() in the child of a fork, where there is one thread.

#ifndef HARDENED_SECRETS_H_
#define HARDENED_SECRETS_H_

#include <cstdint>

#include "hardened/prim/sealed.h"

namespace hardened {

// A life is 16 bits: the epoch in the upper 4, a number in the lower 12.
inline constexpr unsigned kEpochShift = 12;
inline constexpr uint16_t kLifeMask = (1 << kEpochShift) - 1;
inline constexpr uint16_t kMaxEpoch = 15;

struct CanaryKeys {
  uint64_t multiplier;  // odd
  uint64_t newest;      // epochs[Secrets::epoch]
  uint64_t epochs[kMaxEpoch + 1];
};

struct Secrets {
  CanaryKeys canary;
  uint16_t epoch;  // forks between the first process and this one; stays at kMaxEpoch
};

struct SecretsLocation {
  const Secrets* at = nullptr;
};

[[gnu::visibility("hidden")]] extern prim::Sealed<SecretsLocation> secrets_location;

// Requires: InitialiseSecrets() has succeeded.
inline const Secrets& AllSecrets() { return *secrets_location->at; }

// Draws the keys and seals their location. Returns: false when there is no memory for them.
bool InitialiseSecrets();

// In the child of a fork: a new key for what is allocated from now on. From the kMaxEpoch-th fork
// of a chain on the key stays.
void AdvanceEpoch();

}  // namespace hardened

#endif  // HARDENED_SECRETS_H_
