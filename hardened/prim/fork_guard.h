// fork_guard: handlers around fork().
//
// `prepare` handlers run in reverse order of registration, so the earliest one runs last: the
// preload libraries are linked to be initialised first, and others install with the first
// allocation. That is for speed alone: handlers of others that run later, and libc itself (the
// database of name services, the list of streams), allocate, or wait for threads that do; what
// `prepare` leaves locked must yield to them (lock.h).
// vfork(), clone() and raw system calls run no handlers.
//
// Threads: InstallForkHandlers() once; ForkHandlersInstalled() from any thread.

#ifndef HARDENED_PRIM_FORK_GUARD_H_
#define HARDENED_PRIM_FORK_GUARD_H_

namespace hardened::prim {

// Registers the three with pthread_atfork(). May allocate (libc's list): not with a lock held. A
// second call changes nothing. Returns: false if libc has no room.
bool InstallForkHandlers(void (*prepare)(), void (*parent)(), void (*child)());

// Whether InstallForkHandlers() succeeded: proof that its caller was linked in.
bool ForkHandlersInstalled();

}  // namespace hardened::prim

#endif  // HARDENED_PRIM_FORK_GUARD_H_
