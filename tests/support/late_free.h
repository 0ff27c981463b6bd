// AtTheEndOfAThread: what a thread does when its exit has begun and its heap is given back.
//
// Threads: any.

#ifndef TESTS_SUPPORT_LATE_FREE_H_
#define TESTS_SUPPORT_LATE_FREE_H_

#include <pthread.h>

// Calls `use`, which should use the heap, in a thread, and at its exit `late`, behind the
// destructor that gives the heap back. Waits for both. Returns: whether there was a thread.
inline bool AtTheEndOfAThread(void (*use)(), void (*late)()) {
  struct Ending {
    void (*use)();
    void (*late)();
    pthread_key_t key;
    bool again;
  } ending = {use, late, {}, true};
  const auto destroy = [](void* argument) {
    Ending& ending = *static_cast<Ending*>(argument);
    // Those of all keys run before any runs again.
    if (ending.again) {
      ending.again = false;
      pthread_setspecific(ending.key, argument);
    } else {
      ending.late();
    }
  };
  const auto run = [](void* argument) -> void* {
    const Ending& ending = *static_cast<Ending*>(argument);
    ending.use();
    pthread_setspecific(ending.key, argument);
    return nullptr;
  };
  if (pthread_key_create(&ending.key, destroy) != 0) return false;
  pthread_t thread;
  const bool made = pthread_create(&thread, nullptr, run, &ending) == 0;
  if (made) pthread_join(thread, nullptr);
  pthread_key_delete(ending.key);
  return made;
}

#endif  // TESTS_SUPPORT_LATE_FREE_H_
