// Staging: small helpers for programs that commit crimes against the heap.
//
// None of them allocates: the heap sees what the crime does and nothing else.

#ifndef TESTS_MISUSE_STAGING_H_
#define TESTS_MISUSE_STAGING_H_

#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/misuse/exit_codes.h"

// dprintf would allocate a buffer, and free it beside what was just damaged.
[[gnu::format(printf, 2, 3)]] inline void Say(int fd, const char* format, ...) {
  char text[256];
  va_list arguments;
  va_start(arguments, format);
  const int length = vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (write(fd, text, static_cast<size_t>(length)) != length) _exit(kBadArguments);
}

[[noreturn]] inline void Exit(int code, const char* why) {
  Say(STDERR_FILENO, "misuse: %s\n", why);
  _exit(code);
}

inline void* At(void* block, ptrdiff_t offset) { return static_cast<char*>(block) + offset; }

inline bool IsReadable(uintptr_t address) {
  static int ends[2];
  static const bool opened = pipe(ends) == 0;
  char byte;
  if (!opened) Exit(kBadArguments, "no pipe");
  // EFAULT when not.
  return write(ends[1], reinterpret_cast<const void*>(address), 1) == 1 &&
         read(ends[0], &byte, 1) == 1;
}

// True of a block whose pages lie between two guards: a guarded sample, or a run.
inline bool IsBetweenGuards(const void* block, size_t size) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto address = reinterpret_cast<uintptr_t>(block);
  return !IsReadable(address / page * page - 1) &&
         !IsReadable((address + size + page - 1) / page * page);
}

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
