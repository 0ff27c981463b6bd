// One scenario of a program that forks, named by the first argument. Ends with 0 when every process
// and thread got memory and came to its end; a hang ends by alarm.

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

extern "C" void StartHandlersWorker();
extern char** environ;

namespace {

constexpr unsigned kAlarmSeconds = 300;

[[noreturn]] void Die(const char* why) {
  fprintf(stderr, "scenario: %s\n", why);
  _exit(1);
}
void Expect(bool good, const char* why) {
  if (!good) Die(why);
}

uint32_t Next(uint32_t& state) {
  state ^= state << 13;
  state ^= state >> 17;
  return state ^= state << 5;
}

// Allocates, resizes and frees blocks of all sizes, which keep what was written to them.
void Churn(uint32_t& random, int steps) {
  constexpr uint32_t kBlocks = 64;
  unsigned char* blocks[kBlocks] = {};
  size_t sizes[kBlocks] = {};
  for (int i = 0; i < steps; ++i) {
    const uint32_t k = Next(random) % kBlocks;
    const unsigned char mark = static_cast<unsigned char>(k + 1);
    if (blocks[k] != nullptr) {
      if (sizes[k] > 0 && (blocks[k][0] != mark || blocks[k][sizes[k] - 1] != mark)) abort();
      if (Next(random) % 4 != 0 || sizes[k] == 0) {
        free(blocks[k]);
        blocks[k] = nullptr;
        continue;
      }
      sizes[k] = 1 + Next(random) % 3000;
      blocks[k] = static_cast<unsigned char*>(realloc(blocks[k], sizes[k]));
    } else {
      const uint32_t kind = Next(random) % 100;
      const uint32_t most = kind < 70 ? 500 : kind < 90 ? 9'000 : kind < 98 ? 200'000 : 2'000'000;
      sizes[k] = kind == 99 ? 0 : Next(random) % most;
      blocks[k] = static_cast<unsigned char*>(malloc(sizes[k]));
    }
    if (blocks[k] == nullptr) abort();
    if (sizes[k] > 0) blocks[k][0] = blocks[k][sizes[k] - 1] = mark;
  }
  for (unsigned char* block : blocks) free(block);
}

void UseStreams() {
  FILE* file = fopen("/etc/passwd", "r");
  char line[100];
  if (file != nullptr) {
    if (fgets(line, sizeof(line), file) == nullptr) line[0] = 0;
    fclose(file);
  }
  file = fopen("/dev/null", "w");
  if (file == nullptr) return;
  fputs("x", file);
  fflush(nullptr);
  fclose(file);
}

// Of the fork of a signal handler.
volatile sig_atomic_t is_child = 0;

void WaitFor(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    // A signal handler made this a child, which has none.
    if (errno == ECHILD && is_child) return;
    if (errno != EINTR) Die("waitpid");
  }
  if (status != 0) {
    fprintf(stderr, "scenario: a child ended with %#x\n", static_cast<unsigned>(status));
    _exit(2);
  }
}

// What a child does: allocates, starts threads that do, and forks again. Then exits.
[[noreturn]] void LiveAsChild(int generations) {
  alarm(kAlarmSeconds);
  uint32_t random = static_cast<uint32_t>(getpid());
  Churn(random, 200);
  std::vector<std::thread> threads;
  for (uint32_t i = 1; i <= 3; ++i) {
    threads.emplace_back([i] {
      uint32_t own = i;
      Churn(own, 100);
      UseStreams();
    });
  }
  UseStreams();
  if (generations > 0) {
    const pid_t child = fork();
    if (child == 0) LiveAsChild(generations - 1);
    Expect(child > 0, "fork");
    WaitFor(child);
  }
  for (std::thread& thread : threads) thread.join();
  Churn(random, 200);
  _exit(0);
}

// ---- A process of one thread, whose child starts threads.
void ThreadsOfTheChild() {
  UseStreams();
  const pid_t child = fork();
  if (child == 0) LiveAsChild(1);
  WaitFor(child);
}

// ---- Handlers of another library (handlers.cc).
void Handlers() {
  free(malloc(10));
  StartHandlersWorker();
  std::atomic<bool> stop = false;
  std::thread busy([&] {
    uint32_t random = 5;
    while (!stop) Churn(random, 100);
  });
  for (int i = 0; i < 5; ++i) {
    const pid_t child = fork();
    if (child == 0) LiveAsChild(1);
    WaitFor(child);
  }
  stop = true;
  busy.join();
}

// ---- Threads that allocate, read the user database and use streams, while others fork.
void Storm() {
  std::atomic<bool> stop = false;
  std::vector<std::thread> others;
  for (uint32_t i = 1; i <= 2; ++i) {
    others.emplace_back([&, i] {
      uint32_t random = i;
      while (!stop) Churn(random, 100);
    });
  }
  others.emplace_back([&] {
    while (!stop) UseStreams();
  });
  others.emplace_back([&] {
    while (!stop) getpwuid(static_cast<uid_t>(rand()));
  });
  std::vector<std::thread> forking;
  for (int i = 0; i < 2; ++i) {
    forking.emplace_back([] {
      for (int j = 0; j < 8; ++j) {
        const pid_t child = fork();
        if (child == 0) LiveAsChild(2);
        Expect(child > 0, "fork");
        WaitFor(child);
      }
    });
  }
  for (std::thread& thread : forking) thread.join();
  stop = true;
  for (std::thread& thread : others) thread.join();
}

// ---- A signal handler forks, wherever it came in; parent and child go on with what it
// interrupted.

constexpr int kForksInHandler = 60;
volatile sig_atomic_t forks_in_handler = 0;

void ArmTimer() {
  itimerval timer = {};
  timer.it_value.tv_usec = 300 + forks_in_handler * 37 % 700;
  setitimer(ITIMER_REAL, &timer, nullptr);
}

void ForkInHandler(int) {
  if (is_child || forks_in_handler >= kForksInHandler) return;
  const int saved_errno = errno;
  forks_in_handler = forks_in_handler + 1;
  const pid_t child = fork();
  if (child == 0) {
    is_child = 1;
  } else {
    WaitFor(child);
    ArmTimer();
  }
  errno = saved_errno;
}

void HandleAlarm() {
  struct sigaction action = {};
  action.sa_handler = ForkInHandler;
  action.sa_flags = SA_RESTART;
  sigaction(SIGALRM, &action, nullptr);
  ArmTimer();
}

void BecomeChild() {
  signal(SIGALRM, SIG_DFL);
  LiveAsChild(0);
}

void ForksInHandlerOfOneThread() {
  HandleAlarm();
  uint32_t random = 7;
  while (forks_in_handler < kForksInHandler && !is_child) {
    Churn(random, 100);
    // Forks meet forks as well.
    if (Next(random) % 16 == 0) {
      const pid_t child = fork();
      if (child == 0 && !is_child) _exit(0);
      if (!is_child) WaitFor(child);
    }
  }
  if (is_child) BecomeChild();
}

void ForksInHandlerOfManyThreads() {
  std::atomic<bool> stop = false;
  std::vector<std::thread> others;
  // From their first moment on: a child of theirs would never stop.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  for (uint32_t i = 1; i <= 2; ++i) {
    others.emplace_back([&, i] {
      uint32_t random = i;
      while (!stop) Churn(random, 100);
    });
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  HandleAlarm();
  uint32_t random = 7;
  while (forks_in_handler < kForksInHandler && !is_child) Churn(random, 100);
  if (is_child) BecomeChild();
  stop = true;
  for (std::thread& thread : others) thread.join();
}

// ---- What starts processes without fork handlers, or around them.
int ExecuteTrue(void*) {
  execl("/bin/true", "true", nullptr);
  _exit(1);
}

void OtherWays() {
  std::atomic<bool> stop = false;
  std::thread busy([&] {
    uint32_t random = 5;
    while (!stop) Churn(random, 100);
  });
  for (int i = 0; i < 10; ++i) {
    Expect(system("exit 0") == 0, "system");
    FILE* pipe = popen("echo hello", "r");
    char line[20] = {};
    Expect(pipe != nullptr && fgets(line, sizeof(line), pipe) != nullptr && line[0] == 'h',
           "popen");
    Expect(pclose(pipe) == 0, "pclose");
    pid_t child = 0;
    char name[] = "true";
    char* arguments[] = {name, nullptr};
    Expect(posix_spawn(&child, "/bin/true", nullptr, nullptr, arguments, environ) == 0, "spawn");
    WaitFor(child);
    child = vfork();
    if (child == 0) {
      execl("/bin/true", "true", nullptr);
      _exit(1);
    }
    WaitFor(child);
    alignas(16) static char stack[64 << 10];
    child = clone(ExecuteTrue, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, nullptr);
    WaitFor(child);
  }
  stop = true;
  busy.join();
  const pid_t child = fork();
  if (child == 0) {
    Expect(daemon(0, 1) == 0, "daemon");
    LiveAsChild(1);
  }
  WaitFor(child);
}

// ---- The library comes late (LATE_LIBRARY), by dlopen(), into a process that has threads.
void Late() {
  const char* library = getenv("LATE_LIBRARY");
  if (library != nullptr) Expect(dlopen(library, RTLD_NOW | RTLD_GLOBAL) != nullptr, "dlopen");
  Storm();
}

// ---- Start-up asks functions that allocate (asker.cc).
void Asked() {
  free(malloc(1));
  uint32_t random = 3;
  Churn(random, 1000);
  std::thread([] {
    uint32_t own = 4;
    Churn(own, 100);
  }).join();
  const auto how_often = reinterpret_cast<int (*)()>(dlsym(RTLD_DEFAULT, "HowOftenAsked"));
  Expect(how_often != nullptr && how_often() > 0, "nobody asked");
  const pid_t child = fork();
  if (child == 0) LiveAsChild(1);
  WaitFor(child);
}

struct Scenario {
  const char* name;
  void (*run)();
};
constexpr Scenario kScenarios[] = {
    {"ThreadsOfTheChild", ThreadsOfTheChild},
    {"Handlers", Handlers},
    {"Storm", Storm},
    {"ForksInHandlerOfOneThread", ForksInHandlerOfOneThread},
    {"ForksInHandlerOfManyThreads", ForksInHandlerOfManyThreads},
    {"OtherWays", OtherWays},
    {"Late", Late},
    {"Asked", Asked},
};

}  // namespace

int main(int argc, char** argv) {
  for (const Scenario& scenario : kScenarios) {
    if (argc < 2 || strcmp(scenario.name, argv[1]) != 0) continue;
    scenario.run();
    return 0;
  }
  return 3;
}
