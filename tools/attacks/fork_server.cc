// Goal: what one child of a server revealed holds in its next child.
#include <sys/prctl.h>
#include <sys/wait.h>

#include "tools/attacks/attack.h"

constexpr size_t kNext = 32;
constexpr size_t kBehind = 16;
struct Seen {
  char* blocks[kNext];
  char behind[kNext][kBehind];
};

// Allocates kNext blocks and looks at what is behind each.
Seen Look() {
  Seen seen;
  for (size_t i = 0; i < kNext; ++i) {
    seen.blocks[i] = Get();
    memcpy(seen.behind[i], seen.blocks[i] + kSize, kBehind);
  }
  return seen;
}

// Runs in a child of the server.
// Returns: what it returned; ends like the child when that was killed.
template <class Function>
auto InChild(Function function) {
  decltype(function()) result = {};
  int pipes[2];
  pipe(pipes);
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(kLongestSeconds);
    result = function();
    write(pipes[1], &result, sizeof result);
    _exit(0);
  }
  close(pipes[1]);
  read(pipes[0], &result, sizeof result);
  close(pipes[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) raise(WTERMSIG(status));
  return result;
}

void Serve() {
  static char* live[1000];
  for (char*& block : live) block = Get();
  for (size_t i = 0; i < 1000; i += 3) free(live[i]);
}

// COUNT: how many of the next addresses must agree.
Verdict Addresses() {
  Serve();
  const Seen learned = InChild(Look);
  const Seen next = InChild(Look);
  size_t equal = 0;
  for (size_t i = 0; i < kNext; ++i) equal += learned.blocks[i] == next.blocks[i];
  return equal >= kCount ? kSucceeded : kFailed;
}

// The next child overflows a block at an address that the first one had, with what was behind it.
// COUNT: allocations to come by such an address.
Verdict Canary() {
  Serve();
  const Seen learned = InChild(Look);
  return InChild([&learned] {
    for (size_t i = 0; i < kCount; ++i) {
      char* block = Get();
      for (size_t j = 0; j < kNext; ++j) {
        if (block != learned.blocks[j]) continue;
        memcpy(block + kSize, learned.behind[j], kBehind);
        free(block);
        return kSucceeded;
      }
    }
    return kFailed;
  });
}
