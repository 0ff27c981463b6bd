// Scenario: what one process does near a limit of the machine, checking itself.
//
// limits_test runs each in a process of its own, on a preloaded level: what one of them leaves
// behind (filters of system calls, locked memory, page tables) must not reach another. A scenario
// returns when all is well; else it ends the process by Require() or CannotRunHere().
//
// LIMITS_FULL=1 in the environment asks for the sizes that are promised, instead of those that a
// test run on every change can afford.

#ifndef TESTS_LIMITS_SCENARIO_H_
#define TESTS_LIMITS_SCENARIO_H_

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstddef>

#include "hardened/hardened.h"
#include "tests/limits/exit_codes.h"
#include "tests/preload/library_under_test.h"

struct Scenario {
  const char* name;
  void (*run)();
};

// The scenarios of each file, with their sizes.
extern const Scenario kAddressSpaceScenarios[];
extern const size_t kAddressSpaceScenarioCount;
extern const Scenario kThreadCacheScenarios[];
extern const size_t kThreadCacheScenarioCount;
extern const Scenario kGuardScenarios[];
extern const size_t kGuardScenarioCount;
extern const Scenario kSmallMachineScenarios[];
extern const size_t kSmallMachineScenarioCount;
extern const Scenario kRefusedCallScenarios[];
extern const size_t kRefusedCallScenarioCount;

// Writes a line without allocating.
[[gnu::format(printf, 2, 0)]] inline void SayLine(int fd, const char* format, va_list arguments) {
  char text[512];
  int length = vsnprintf(text, sizeof(text) - 1, format, arguments);
  if (length > static_cast<int>(sizeof(text)) - 2) length = sizeof(text) - 2;
  text[length] = '\n';
  static_cast<void>(!write(fd, text, static_cast<size_t>(length) + 1));
}

// A figure for the reader of the test's log.
[[gnu::format(printf, 1, 2)]] inline void Print(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  SayLine(STDOUT_FILENO, format, arguments);
  va_end(arguments);
}

// Ends the process as failed unless `good`, saying why.
[[gnu::format(printf, 2, 3)]] inline void Require(bool good, const char* format, ...) {
  if (good) return;
  va_list arguments;
  va_start(arguments, format);
  SayLine(STDERR_FILENO, format, arguments);
  va_end(arguments);
  _exit(kFailed);
}

// Ends the process when the machine does not allow the scenario.
[[noreturn, gnu::format(printf, 1, 2)]] inline void CannotRunHere(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  SayLine(STDERR_FILENO, format, arguments);
  va_end(arguments);
  _exit(kCannotRunHere);
}

// Returns: `full` when LIMITS_FULL is set, else `usual`.
inline size_t Size(size_t usual, size_t full) {
  return getenv("LIMITS_FULL") == nullptr ? usual : full;
}

// All zero on libc.
inline hardened_counters Counters() {
  hardened_counters counters = {};
  const LibraryUnderTest library = LibraryUnderTest::Find();
  if (library.get_counters != nullptr) library.get_counters(&counters);
  return counters;
}

// Executes this program once more, for the same scenario: what the caller set up is in force from
// the first instruction of the new process, in which Again() is true.
[[noreturn]] void RunAgain();
bool Again();

#endif  // TESTS_LIMITS_SCENARIO_H_
