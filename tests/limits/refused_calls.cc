// Refused calls: a sandbox that is entered after the start, and denies what a heap asks of the
// kernel.

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <barrier>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <string>
#include <thread>

#include "tests/limits/scenario.h"
#include "tests/prim/deny_system_calls.h"
#include "tests/stress/shadow_stress.h"

namespace {

constexpr size_t kMib = 1 << 20;

// Returns: whether a child of fork() can use the heap, and free what its parent allocated.
bool AChildWorks() {
  void* inherited = malloc(100);
  const pid_t child = fork();
  if (child == 0) {
    const std::string failure = RunShadowStress(
        SystemAllocationTable(),
        {.seed = 3, .threads = 1, .operations = 2'000, .live_limit = kMib, .largest = 1 << 17});
    Require(failure.empty(), "in a child: %s", failure.c_str());
    free(inherited);
    _exit(kGood);
  }
  free(inherited);
  int status = -1;
  return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

void Stress(size_t operations) {
  const std::string failure = RunShadowStress(SystemAllocationTable(), {.seed = 4,
                                                                        .threads = 1,
                                                                        .operations = operations,
                                                                        .live_limit = 16 * kMib,
                                                                        .largest = 1 << 18});
  Require(failure.empty(), "%s", failure.c_str());
}

void RefusedAfterTheStart() {
  Stress(10'000);
  const uint64_t before = Counters().guards_refused;
  if (!hardened::prim::DenySystemCalls({SYS_getrandom, SYS_mprotect, SYS_madvise, SYS_mremap},
                                       EPERM)) {
    CannotRunHere("no seccomp filters");
  }
  Stress(Size(500'000, 2'000'000));
  const uint64_t refused = Counters().guards_refused - before;
  Print("%zu guards were refused", size_t{refused});
  Require(refused > 0, "no guard was counted as refused");
  Require(AChildWorks(), "a forked child failed");
}

// From the first instruction: guards are mprotect, and nothing can be dropped.
void WithoutMadvise() {
  if (!Again()) {
    if (!hardened::prim::DenySystemCalls({SYS_madvise}, EPERM)) CannotRunHere("no seccomp filters");
    RunAgain();
  }
  Stress(20'000);
}

// What the heap hands out next in a child of fork().
std::array<void*, 32> DrawInChild() {
  std::array<void*, 32> drawn = {};
  int ends[2];
  Require(pipe(ends) == 0, "no pipe");
  const pid_t child = fork();
  if (child == 0) {
    for (void*& block : drawn) block = malloc(232);
    _exit(write(ends[1], drawn.data(), sizeof(drawn)) == sizeof(drawn) ? kGood : kFailed);
  }
  close(ends[1]);
  Require(read(ends[0], drawn.data(), sizeof(drawn)) == sizeof(drawn), "a child failed");
  close(ends[0]);
  Require(waitpid(child, nullptr, 0) == child, "no child");
  return drawn;
}

// From the first instruction: the random state is copied by fork(), and its handlers alone renew
// it.
void WithoutWipeOnFork() {
  if (!Again()) {
    if (!hardened::prim::DenyAdvice(MADV_WIPEONFORK, EINVAL)) CannotRunHere("no seccomp filters");
    RunAgain();
  }
  Stress(20'000);
  Require(AChildWorks(), "a forked child failed");
  const std::array<void*, 32> first = DrawInChild();
  const std::array<void*, 32> second = DrawInChild();
  size_t equal = 0;
  for (size_t i = 0; i < first.size(); ++i) equal += first[i] == second[i];
  // Of 500 free slots more than 8 of 32 in fewer than one run of 10^15; a sample may be one more.
  Require(equal <= 9, "%zu of 32 addresses are the same in two children", equal);
}

// A child of fork() that enters a sandbox before it allocates: its randomness is there already.
void ForbiddenEntropyInAChild() {
  Stress(20'000);
  free(malloc(0));
  const pid_t child = fork();
  if (child == 0) {
    if (!hardened::prim::ForbidSystemCalls({SYS_getrandom, SYS_openat})) _exit(kCannotRunHere);
    free(malloc(0));
    Stress(2'000);
    std::thread([] { free(malloc(100)); }).join();
    _exit(kGood);
  }
  int status = -1;
  Require(child > 0 && waitpid(child, &status, 0) == child, "no child");
  if (WIFEXITED(status) && WEXITSTATUS(status) == kCannotRunHere) {
    CannotRunHere("no seccomp filters");
  }
  Require(status == 0, "the child ended with status %d", status);
}

constexpr size_t kThreads = 600;
constexpr size_t kStackBytes = 64 << 10;

// More heaps than the first pages have random streams for, when the next ones are refused: their
// threads get null, and later threads take over the heaps of earlier ones.
void ThreadsWithoutRandomStreams() {
  static std::barrier<> all_have_tried(kThreads + 1);
  static std::atomic<size_t> served = 0;
  static std::atomic<size_t> refused = 0;
  // Mapped and known to the heap while that is allowed.
  char* const stacks = static_cast<char*>(mmap(
      nullptr, kThreads * kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  Require(stacks != MAP_FAILED, "no stacks");
  Stress(10'000);
  // Pages of random streams lie between two without access, and are reserved with them.
  if (!hardened::prim::DenyThirdArgument(SYS_mmap, PROT_NONE, ENOMEM)) {
    CannotRunHere("no seccomp filters");
  }
  const auto start = [stacks](size_t i, void* (*run)(void*)) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, stacks + i * kStackBytes, kStackBytes);
    pthread_t thread;
    const int error = pthread_create(&thread, &attributes, run, nullptr);
    Require(error == 0, "thread %zu was refused: %d", i, error);
    return thread;
  };
  static pthread_t threads[kThreads];
  for (size_t i = 0; i < kThreads; ++i) {
    threads[i] = start(i, [](void*) -> void* {
      for (int attempt = 0; attempt < 3; ++attempt) {
        void* block = malloc(100);
        if (block == nullptr) Require(errno == ENOMEM, "errno %d", errno);
        ++(block == nullptr ? refused : served);
        free(block);
      }
      all_have_tried.arrive_and_wait();
      return nullptr;
    });
  }
  all_have_tried.arrive_and_wait();
  for (const pthread_t thread : threads) pthread_join(thread, nullptr);
  Print("%zu calls of 600 threads were served, %zu refused", served.load(), refused.load());
  Require(served > 0 && refused > 0, "%zu served, %zu refused", served.load(), refused.load());
  const auto use_heap = [](void*) -> void* {
    static void* blocks[2'000];
    for (size_t i = 0; i < std::size(blocks); ++i) {
      blocks[i] = malloc(i * 7 + 1);
      Require(blocks[i] != nullptr, "%zu bytes refused", i * 7 + 1);
      memset(blocks[i], 1, i * 7 + 1);
    }
    for (void* block : blocks) free(block);
    return nullptr;
  };
  pthread_join(start(0, use_heap), nullptr);
  use_heap(nullptr);
}

}  // namespace

const Scenario kRefusedCallScenarios[] = {
    {"RefusedAfterTheStart", RefusedAfterTheStart},
    {"WithoutMadvise", WithoutMadvise},
    {"WithoutWipeOnFork", WithoutWipeOnFork},
    {"ForbiddenEntropyInAChild", ForbiddenEntropyInAChild},
    {"ThreadsWithoutRandomStreams", ThreadsWithoutRandomStreams},
};
const size_t kRefusedCallScenarioCount = std::size(kRefusedCallScenarios);
