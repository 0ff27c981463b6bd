// threads.h: starts and ends the threads of a benchmark pattern.

#ifndef TOOLS_BENCHMARKS_THREADS_H_
#define TOOLS_BENCHMARKS_THREADS_H_

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>

#include "measure.h"

namespace bench {

inline constexpr int kMostThreads = 64;

inline cpu_set_t AllowedCpus() {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) Die("sched_getaffinity failed");
  return allowed;
}

// The `index`-th CPU that this process may use (in a ring).
inline cpu_set_t OneCpu(int index) {
  const cpu_set_t allowed = AllowedCpus();
  int skip = index % CPU_COUNT(&allowed);
  int cpu = 0;
  while (!CPU_ISSET(cpu, &allowed) || skip-- > 0) ++cpu;
  cpu_set_t chosen;
  CPU_ZERO(&chosen);
  CPU_SET(cpu, &chosen);
  return chosen;
}

// Binds a coming thread to a CPU: left alone, the scheduler often keeps two
// short threads on one, where they never meet inside the allocator.
inline void BindToCpu(pthread_attr_t* attributes, int index) {
  const cpu_set_t chosen = OneCpu(index);
  pthread_attr_setaffinity_np(attributes, sizeof(chosen), &chosen);
}

// Keeps the calling thread, and those that it starts, on one CPU. For threads
// that run one after another: waking a second CPU for each would cost more than
// all they do, and how often that happens is up to the scheduler.
class OnOneCpu {
 public:
  OnOneCpu() : before_(AllowedCpus()) { Set(OneCpu(0)); }
  ~OnOneCpu() { Set(before_); }
  OnOneCpu(const OnOneCpu&) = delete;
  OnOneCpu& operator=(const OnOneCpu&) = delete;

 private:
  static void Set(const cpu_set_t& cpus) {
    if (sched_setaffinity(0, sizeof(cpus), &cpus) != 0) Die("sched_setaffinity failed");
  }
  cpu_set_t before_;
};

// Runs `body(0)` to `body(count - 1)` in a thread each, spread over the CPUs,
// to their end. Requires: count <= kMostThreads.
template <typename Body>
void InThreads(int count, Body body) {
  struct Start {
    Body* body;
    int index;
  };
  Start starts[kMostThreads];
  pthread_t threads[kMostThreads];
  for (int i = 0; i < count; ++i) {
    starts[i] = {&body, i};
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    BindToCpu(&attributes, i);
    const int error = pthread_create(
        &threads[i], &attributes,
        [](void* argument) -> void* {
          Start* start = static_cast<Start*>(argument);
          (*start->body)(start->index);
          return nullptr;
        },
        &starts[i]);
    if (error != 0) Die("pthread_create failed");
    pthread_attr_destroy(&attributes);
  }
  for (int i = 0; i < count; ++i) pthread_join(threads[i], nullptr);
}

// Waits asleep, also across signals.
inline void Wait(sem_t* semaphore) {
  while (sem_wait(semaphore) != 0) {
  }
}

}  // namespace bench

#endif  // TOOLS_BENCHMARKS_THREADS_H_
