// launch: runs a program and writes down what the whole process tree cost.
//
//   launch FIGURES RUNS PROGRAM [ARGUMENT...]
//
// Runs PROGRAM with this process's environment and files, RUNS times one after
// another, and writes one line per run to the file FIGURES: CPU and wall
// nanoseconds, peak RSS in KiB of the largest process, and the exit status.
// Descendants that were waited for count too.
//
// Linked statically: the loader preloads nothing into it, and it is small.
// The kernel counts the memory of whoever calls exec into the peak RSS of what
// is executed, so a Python parent would hide the size of small programs.

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace {

constexpr int64_t kNanosecondsPerSecond = 1'000'000'000;

[[noreturn]] void Die(const char* message) {
  perror(message);
  _exit(127);
}

int64_t Wall() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * kNanosecondsPerSecond + now.tv_nsec;
}

int64_t Nanoseconds(const timeval& time) {
  return int64_t{time.tv_sec} * kNanosecondsPerSecond + int64_t{time.tv_usec} * 1000;
}

// Whoever is killed takes its child along: no run may outlive the benchmark.
void DieWithParent() { prctl(PR_SET_PDEATHSIG, SIGKILL); }

// Runs `program` once and writes its line. Returns: its exit status.
int RunOnce(char** program, int figures) {
  const int64_t start = Wall();
  const pid_t child = fork();
  if (child < 0) Die("launch: fork");
  if (child == 0) {
    DieWithParent();
    execvp(program[0], program);
    Die(program[0]);
  }
  int status = 0;
  rusage usage = {};
  while (wait4(child, &status, 0, &usage) != child) {
  }
  const int64_t wall = Wall() - start;
  const int exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  dprintf(figures, "%lld %lld %ld %d\n",
          static_cast<long long>(Nanoseconds(usage.ru_utime) + Nanoseconds(usage.ru_stime)),
          static_cast<long long>(wall), usage.ru_maxrss, exit_status);
  return exit_status;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    fputs("usage: launch FIGURES RUNS PROGRAM [ARGUMENT...]\n", stderr);
    return 2;
  }
  DieWithParent();
  const int figures = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (figures < 0) Die(argv[1]);
  int status = 0;
  for (long runs = strtol(argv[2], nullptr, 10); runs > 0 && status == 0; --runs) {
    status = RunOnce(argv + 3, figures);
  }
  return status;
}
