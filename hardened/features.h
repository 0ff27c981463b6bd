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

// The kinds of misuse that a policy can treat differently.
enum class Event : uint8_t {
  kDoubleFree,      // free, realloc or usable_size of a freed pointer
  kInvalidFree,     // of an address in the heap where no allocation starts
  kForeignPointer,  // of an address outside the heap
  kMismatch,        // an allocation ended by the wrong call
  kSizedDelete,     // ... or with the wrong size
  kCanary,          // bytes behind (or in front of) a request have changed
  kWriteAfterFree,  // free memory is not zero any more
};
inline constexpr unsigned kEventCount = 7;

// What happens then. In every case it is counted, and the memory concerned is never handed out
// again (mismatches apart, which are no damage).
enum class EventAction : uint8_t {
  kAbort,   // one report, then SIGABRT
  kReport,  // one report, and the program goes on
  kIgnore,  // the program goes on
};

struct EventActions {
  EventAction of[kEventCount] = {};  // indexed by Event

  constexpr EventAction operator[](Event event) const { return of[static_cast<unsigned>(event)]; }
  // The same with one changed; for level headers.
  constexpr EventActions With(Event event, EventAction action) const {
    EventActions changed = *this;
    changed.of[static_cast<unsigned>(event)] = action;
    return changed;
  }
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
  // The last bytes of the left neighbour are checked as well, and free neighbours for being zero;
  // so slots have a second canary in their last bytes.
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
  // The size that a sized free states is compared with the exact one.
  bool check_stated_size = false;
  EventActions actions = {};
};

constexpr bool IsCoherent(const Features& features) {
  return features.name[0] != '\0' &&
         // The canary starts at the exact end, and its life lies beside the record.
         (!features.canary || (features.exact_size && features.core.record_shift == 2)) &&
         (!features.check_neighbours || features.canary) &&
         // The sweep looks for both words of the canary.
         (!features.sweep || features.check_neighbours) &&
         // Slabs that wait for their class do not go away under a sweep (EmptySlabs::TryHold).
         (!features.sweep || features.core.isolate_classes) &&
         (!features.check_on_allocate || features.wipe_limit > 0) &&
         (!features.check_stated_size || features.exact_size) &&
         // Only a slab that keeps its address space may have a guard that is never moved.
         (features.core.guard_slab_interval == 0 || features.core.isolate_classes) &&
         // Slots that other threads freed must not pass by the quarantine.
         (features.quarantine.bytes == 0 || !features.core.collect_into_magazine);
}

// A policy is a type with a coherent kFeatures.
template <class Policy>
concept HardeningPolicy = IsCoherent(Policy::kFeatures);

}  // namespace hardened

#endif  // HARDENED_FEATURES_H_
