// thread_exit: a callback when a thread ends.
//
// One pthread key for the process. The key's destructors run in rounds: whoever allocates in a
// later destructor arms again, and the callback runs again in the next round. After
// PTHREAD_DESTRUCTOR_ITERATIONS rounds (4 in glibc and musl) the thread ends without one, and libc
// itself frees memory after the last round. So the callback is "give back what you can", may run
// several times per thread, and what a thread does after it must be correct without it. It does not
// run for the main thread at exit(), nor for threads that are gone after fork().
//
// Threads: RegisterThreadExit() once, before any ArmThreadExit(); the rest from any thread.

#ifndef HARDENED_PRIM_THREAD_EXIT_H_
#define HARDENED_PRIM_THREAD_EXIT_H_

namespace hardened::prim {

// Creates the key. `callback` gets the value that the ending thread was armed with.
// Allocates nothing. Returns: false if the process is out of keys; ArmThreadExit() is then without
// effect. A second call fails a check. Keeps errno.
bool RegisterThreadExit(void (*callback)(void*));

// Runs the callback with `value` (not null) when the calling thread ends. Arming again replaces the
// value.
// Allocates nothing in musl, and nothing in glibc if fewer than 32 keys existed at registration;
// else glibc calls calloc() once per thread, from here: the calling thread's heap must be usable
// before it arms. Returns: whether the callback will run.
bool ArmThreadExit(void* value);

// Disarms the calling thread.
void DisarmThreadExit();

}  // namespace hardened::prim

#endif  // HARDENED_PRIM_THREAD_EXIT_H_
