// Features: what a level switches on, as one value.
//
// A level is a constexpr Features with designated initialisers (policies/); an unknown name does
// not compile, an incoherent combination neither. Heap<Policy> is instantiated with it, so a
// feature that is off leaves no instruction.

#ifndef HARDENED_FEATURES_H_
#define HARDENED_FEATURES_H_

#include <cstddef>
#include <cstdint>

#include "hardened/core/heap_state.h"
#include "hardened/quarantine.h"

namespace hardened {

// What happens when an allocation is ended by the wrong call, or with the wrong size.
enum class MismatchAction : uint8_t {
  kIgnore,  // counted
  kReport,  // one report, and the program goes on
  kAbort,   // one report, then SIGABRT
};

struct Features {
  // The level's name in reports.
  const char* name = "";
  // Numbers for core: placement of slots, purge, runs, isolation of classes.
  core::CoreOptions core = {};
  // The exact size of each request is kept: malloc_usable_size(p) is what was asked for. Off: it is
  // the size of the slot.
  bool exact_size = false;
  // Secret bytes behind every request, checked when it ends.
  bool canary = false;
  // The last bytes of the left neighbour are checked as well, and free neighbours for being zero.
  bool check_neighbours = false;
  // Slots up to this size are zeroed when they are freed. 0: none.
  size_t wipe_limit = 0;
  // Wiped memory is looked at again when it is handed out, not only when it leaves the quarantine.
  bool check_on_allocate = false;
  // Freed slots held back from re-use.
  QuarantineLimits quarantine = {};
  // The canaries of all allocations are looked at bit by bit while the program runs, and at exit.
  bool sweep = false;
  // One in this many allocations is a guarded sample; 0: none.
  uint32_t sample_interval = 0;
  // Faults on guards are explained by a SIGSEGV handler.
  bool explain_faults = false;
  // Allocations of zero bytes have an address that faults on any access.
  bool zero_size_faults = false;
  MismatchAction mismatch = MismatchAction::kIgnore;
};

constexpr bool IsCoherent(const Features& features) {
  return features.name[0] != '\0' &&
         // The canary starts at the exact end, and its life lies beside the record.
         (!features.canary || (features.exact_size && features.core.record_shift == 2)) &&
         (!features.check_neighbours || features.canary) && (!features.sweep || features.canary) &&
         (!features.check_on_allocate || features.wipe_limit > 0) &&
         // Slots that other threads freed must not pass by the quarantine.
         (features.quarantine.bytes == 0 || !features.core.collect_into_magazine);
}

// A policy is a type with a coherent kFeatures.
template <class Policy>
concept HardeningPolicy = IsCoherent(Policy::kFeatures);

}  // namespace hardened

#endif  // HARDENED_FEATURES_H_
