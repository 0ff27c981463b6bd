// What must happen around fork(): every lock of the heap is taken before and released after it, and
// the child gets randomness and keys of its own.
//
// Lock order: zero-size slots, registry, empty slabs, list of arenas, each arena, run cache,
// held runs (ARCHITECTURE.md, "Fork").

#ifndef HARDENED_FORK_H_
#define HARDENED_FORK_H_

namespace hardened {

// Registers the handlers, once. May allocate: not with a lock held.
void EnsureForkHandlers();

}  // namespace hardened

#endif  // HARDENED_FORK_H_
