#include "tools/entropy_probe/launcher.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

namespace {

constexpr int kMostVariables = 200;

bool WaitForOne() {
  int status = 0;
  pid_t child;
  do {
    child = waitpid(-1, &status, 0);
  } while (child < 0 && errno == EINTR);
  if (child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0) return true;
  if (WIFSIGNALED(status)) {
    dprintf(STDERR_FILENO, "entropy_probe: a process was killed by %s\n",
            strsignal(WTERMSIG(status)));
  } else {
    dprintf(STDERR_FILENO, "entropy_probe: a process ended with status %d\n", WEXITSTATUS(status));
  }
  return false;
}

}  // namespace

bool Launch(const char* pattern, int processes, int at_once) {
  static char preload[4096], seed[64];
  char* variables[kMostVariables + 3];
  int count = 0;
  for (char** variable = environ; *variable != nullptr && count < kMostVariables; ++variable) {
    if (strncmp(*variable, "PROBE_", 6) != 0) variables[count++] = *variable;
  }
  if (const char* library = getenv("PROBE_PRELOAD")) {
    snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", library);
    variables[count++] = preload;
  }
  const char* const first_seed = getenv("PROBE_SEED");
  if (first_seed != nullptr) variables[count++] = seed;
  variables[count] = nullptr;

  char* const arguments[] = {const_cast<char*>("entropy_probe"), const_cast<char*>(pattern),
                             nullptr};
  int running = 0;
  bool well = true;
  for (int i = 0; i < processes && well; ++i) {
    if (running == at_once) {
      well &= WaitForOne();
      --running;
    }
    if (first_seed != nullptr) {
      snprintf(seed, sizeof(seed), "HARDENED_SEED=%lld", atoll(first_seed) + i);
    }
    pid_t child;
    const int error = posix_spawn(&child, "/proc/self/exe", nullptr, nullptr, arguments, variables);
    if (error != 0) {
      dprintf(STDERR_FILENO, "entropy_probe: cannot start a process: %s\n", strerror(error));
      well = false;
      break;
    }
    ++running;
  }
  for (; running > 0; --running) well &= WaitForOne();
  return well;
}
