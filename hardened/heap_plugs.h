// HeapPlugs: what the protections keep for each thread heap, in the room that core leaves them.

#ifndef HARDENED_HEAP_PLUGS_H_
#define HARDENED_HEAP_PLUGS_H_

#include <cstdint>

#include "absl/base/attributes.h"
#include "hardened/core/thread_heap.h"
#include "hardened/features.h"
#include "hardened/quarantine.h"
#include "hardened/secrets.h"

namespace hardened {

struct HeapPlugs {
  Quarantine quarantine;
  uint16_t life_bits;  // epoch of the lives of this heap's allocations, and what hides their number
  bool sampling;       // the countdowns run
};
static_assert(sizeof(HeapPlugs) <= sizeof(core::HeapFront::plug));

ABSL_ATTRIBUTE_ALWAYS_INLINE inline HeapPlugs& PlugsOf(core::HeapFront& heap) {
  return *reinterpret_cast<HeapPlugs*>(heap.plug);
}

// A life for what is handed out now. `number` is any that differs from one life of a slot to the
// next, and from one run to the next in its place, until the next RenewLives().
ABSL_ATTRIBUTE_ALWAYS_INLINE inline uint16_t NewLife(core::HeapFront& heap, uint64_t number) {
  return static_cast<uint16_t>((number & kLifeMask) ^ PlugsOf(heap).life_bits);
}

// A countdown begins anew: without this, lives would come from its few values where samples are
// frequent.
inline void RenewLives(core::ThreadHeap& heap) {
  PlugsOf(heap).life_bits ^= heap.random().Next16() & kLifeMask;
}

// Holds back a wiped slot that nobody owns any more.
void KeepInQuarantine(core::ThreadHeap& heap, core::MagazineEntry entry,
                      core::SizeClass size_class);

// For a heap with a home (ThreadHeap::Reset): its plugs go on as those of a new heap, but for the
// samples, whose first places follow from `salt`. Requires: its quarantine holds nothing.
void ResetPlugs(core::ThreadHeap& heap, uint64_t salt);

// No allocation of this heap is a sample from now on.
void StopSampling(core::ThreadHeap& heap);

// A socket for who decides about this process: changes the features of the level before they are
// sealed. Called once, before the first allocation; must not allocate. Weak: without the shim's
// policy engine it obeys HARDENED_SEED and nothing else.
void ConfigureFeatures(Features* features);

// Starts the heap of the process with a level: policy, secrets, plugs, constants. Idempotent.
// Returns: false when there is not enough memory, and to a thread that is already at it.
bool StartHeap(const Features& features);

// In the child of a fork: new keys, new lives.
void RenewAfterFork();

// The features in force. Default values before StartHeap().
[[gnu::visibility("hidden")]] extern prim::Sealed<Features> active_features;

}  // namespace hardened

#endif  // HARDENED_HEAP_PLUGS_H_
