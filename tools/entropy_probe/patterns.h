// What the probe measures in one process. Each pattern makes the same calls in every process, so
// that all that differs between two processes is the allocator's doing.

#ifndef TOOLS_ENTROPY_PROBE_PATTERNS_H_
#define TOOLS_ENTROPY_PROBE_PATTERNS_H_

#include "tools/entropy_probe/samples.h"

struct Pattern {
  const char* name;
  const char* what;
  void (*run)(Samples& samples);
};

inline constexpr int kPatterns = 9;
extern const Pattern patterns[kPatterns];

// Forks `forks` times while 16 threads allocate. Ends the process when a child hangs or fails.
void ForkStorm(int forks);

#endif  // TOOLS_ENTROPY_PROBE_PATTERNS_H_
