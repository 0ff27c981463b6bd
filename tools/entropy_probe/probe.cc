// entropy_probe: what tools/entropy and tests/randomness run, in fresh processes under a preloaded
// allocator.
//
//   entropy_probe PATTERN                          measure once; int64 values on stdout
//   entropy_probe columns PATTERN                  the names of those values
//   entropy_probe launch PATTERN PROCESSES JOBS    in many fresh processes (launcher.h)
//   entropy_probe storm FORKS                      forks of a process with 16 threads
//   entropy_probe library                          the file that malloc came from
//   entropy_probe list                             the patterns
//
// The patterns call malloc and free by name and nothing else that allocates.

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/entropy_probe/launcher.h"
#include "tools/entropy_probe/patterns.h"
#include "tools/entropy_probe/samples.h"

namespace {

// No process outlives its parent's patience for long.
constexpr unsigned kMostSeconds = 600;

int RunPattern(const char* name, bool names) {
  static Samples samples;
  for (const Pattern& pattern : patterns) {
    if (strcmp(pattern.name, name) != 0) continue;
    alarm(kMostSeconds);
    pattern.run(samples);
    // Without the exit handlers: 20,000 objects are nobody's to free.
    _exit(samples.Write(names) ? 0 : 1);
  }
  dprintf(STDERR_FILENO, "entropy_probe: no pattern %s\n", name);
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  const char* const command = argc > 1 ? argv[1] : "";
  if (argc == 5 && strcmp(command, "launch") == 0) {
    return Launch(argv[2], atoi(argv[3]), atoi(argv[4])) ? 0 : 1;
  }
  if (argc == 3 && strcmp(command, "columns") == 0) return RunPattern(argv[2], /*names=*/true);
  if (argc == 3 && strcmp(command, "storm") == 0) {
    alarm(10 * kMostSeconds);
    ForkStorm(atoi(argv[2]));
    return 0;
  }
  if (argc == 2 && strcmp(command, "library") == 0) {
    Dl_info info = {};
    puts(dladdr(reinterpret_cast<void*>(&malloc), &info) != 0 ? info.dli_fname : "");
    return 0;
  }
  if (argc == 2 && strcmp(command, "list") == 0) {
    for (const Pattern& pattern : patterns) printf("%-10s %s\n", pattern.name, pattern.what);
    return 0;
  }
  if (argc == 2) return RunPattern(command, /*names=*/false);
  dprintf(STDERR_FILENO,
          "usage: entropy_probe PATTERN | columns PATTERN | library | list |\n"
          "       launch PATTERN PROCESSES JOBS | storm FORKS\n");
  return 2;
}
