// Staging: small helpers for programs that commit crimes against the heap.
//
// None of them allocates: the heap sees what the crime does and nothing else.

#ifndef TESTS_MISUSE_STAGING_H_
#define TESTS_MISUSE_STAGING_H_

#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/misuse/exit_codes.h"

[[noreturn]] inline void Exit(int code, const char* why) {
  dprintf(STDERR_FILENO, "misuse: %s\n", why);
  _exit(code);
}

inline void* At(void* block, ptrdiff_t offset) { return static_cast<char*>(block) + offset; }

// By pthread_create: std::thread would allocate, perhaps the very slot just freed.
template <typename Function>
void InAnotherThread(Function function) {
  pthread_t thread;
  auto run = [](void* argument) -> void* {
    (*static_cast<Function*>(argument))();
    return nullptr;
  };
  if (pthread_create(&thread, nullptr, run, &function) != 0) Exit(kBadArguments, "no thread");
  pthread_join(thread, nullptr);
}

#endif  // TESTS_MISUSE_STAGING_H_
