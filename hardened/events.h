// Events: what happens when a misuse was found. The policy says for each kind of it whether the
// process ends, or one report is written and the program goes on, or it goes on in silence.
//
// Some damage cannot be survived and always ends the process: a link that does not decode, a slot
// that two threads freed at once, an access to a guard.
//
// Threads: any; no lock, no allocation.

#ifndef HARDENED_EVENTS_H_
#define HARDENED_EVENTS_H_

#include <cstdint>

#include "hardened/features.h"
#include "hardened/prim/corruption_report.h"

namespace hardened {

// The event that a report of `kind` belongs to.
// Returns: false for what always ends the process.
bool EventOf(prim::CorruptionKind kind, Event* event);

// Counts the event, then does what the policy says: returns when the program is to go on. Keeps
// errno.
[[gnu::cold, gnu::noinline]] void HandleEvent(const prim::CorruptionReport& report);

// Events of this kind so far, whatever was done about them.
uint64_t EventCount(Event event);

}  // namespace hardened

#endif  // HARDENED_EVENTS_H_
