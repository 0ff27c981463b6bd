// What must happen around fork(): every lock of the heap is frozen before and thaws after it, and
// the child gets randomness and keys of its own.
//
// In the child a lock that is not frozen but held guards something that a thread, which is not
// there, was changing; or the forking thread itself, below a signal handler. Either way the child
// drops it and goes on without: memory is lost, nothing waits and nothing is reported. Below a
// signal handler the interrupted code goes on in the child, too; it may finish what it was doing
// with what was dropped.
//
// Order of the locks: start, zero-size slots, registry, empty slabs, list of arenas, each arena,
// run cache, held runs (ARCHITECTURE.md, "Fork").

#ifndef HARDENED_FORK_H_
#define HARDENED_FORK_H_

namespace hardened {

// Registers the handlers, once. May allocate: not with a lock held.
void EnsureForkHandlers();

}  // namespace hardened

#endif  // HARDENED_FORK_H_
