// calls_test: what the library asks of the kernel, counted: at start-up, and for guarded samples.

#include <errno.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/misuse/child_process.h"
#include "tests/support/kernel_guards.h"

namespace {

using Calls = std::map<long, int>;

int Sum(const Calls& calls) {
  int sum = 0;
  for (const auto& [number, count] : calls) sum += count;
  return sum;
}

// Of calls about memory.
int MemoryCalls(const Calls& calls) {
  int sum = 0;
  for (const long number :
       {SYS_mmap, SYS_munmap, SYS_mprotect, SYS_madvise, SYS_mremap, SYS_process_madvise}) {
    const auto found = calls.find(number);
    if (found != calls.end()) sum += found->second;
  }
  return sum;
}

// The system calls of a program from its execve on; empty when they cannot be traced.
Calls Count(std::vector<std::string> arguments, std::vector<std::string> environment) {
  const auto pointers = [](std::vector<std::string>& texts) {
    std::vector<char*> result;
    for (std::string& text : texts) result.push_back(text.data());
    result.push_back(nullptr);
    return result;
  };
  std::vector<char*> argv = pointers(arguments);
  std::vector<char*> envp = pointers(environment);
  const pid_t child = fork();
  if (child == 0) {
    if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) _exit(1);
    execve(argv[0], argv.data(), envp.data());
    _exit(1);
  }
  int status = 0;
  waitpid(child, &status, 0);  // behind its execve
  Calls calls;
  if (!WIFSTOPPED(status)) return calls;
  ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
  for (;;) {
    ptrace(PTRACE_SYSCALL, child, nullptr, nullptr);
    waitpid(child, &status, 0);
    if (!WIFSTOPPED(status)) break;
    if (WSTOPSIG(status) != (SIGTRAP | 0x80)) continue;
    __ptrace_syscall_info info = {};
    if (ptrace(PTRACE_GET_SYSCALL_INFO, child, sizeof(info), &info) <= 0) {
      kill(child, SIGKILL);
      waitpid(child, &status, 0);
      return {};
    }
    if (info.op == PTRACE_SYSCALL_INFO_ENTRY) ++calls[static_cast<long>(info.entry.nr)];
  }
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
  return calls;
}

// process_madvise of the process itself, without a descriptor (Linux 6.14).
bool KernelTakesManyAdvices() {
  struct {
    void* start;
    size_t bytes;
  } nothing = {nullptr, 0};
  return syscall(SYS_process_madvise, -10001, &nothing, 1, kGuardInstall, 0) == 0 ||
         (errno != EBADF && errno != ENOSYS && errno != EPERM);
}

struct Case {
  std::string level;
  bool chosen_at_run_time;
};

class CallsTest : public testing::TestWithParam<Case> {
 protected:
  std::vector<std::string> Environment(const std::string& options = "") {
    const std::string name = GetParam().chosen_at_run_time ? "env" : GetParam().level;
    return {"LD_PRELOAD=" + AbsolutePath("LIBRARY_" + name), "HARDENED_LEVEL=" + GetParam().level,
            "HARDENED_OPTIONS=" + options};
  }
  std::string probe_ = AbsolutePath("PROBE");
};

// Measured: 10 of ld.so for the library, 3 of the library when it is loaded, and at the first
// allocation 18 (light) to 25 (paranoid).
TEST_P(CallsTest, AProgramThatAllocatesNothingHasNoHeap) {
  const Calls without = Count({probe_, "nothing"}, {});
  if (without.empty()) GTEST_SKIP() << "children cannot be traced here";
  EXPECT_LE(Sum(Count({probe_, "nothing"}, Environment())), Sum(without) + 14);
}

TEST_P(CallsTest, TheFirstAllocationAsksFewThings) {
  if (!KernelHasGuards()) GTEST_SKIP() << "guards take more";
  const Calls without = Count({probe_, "nothing"}, {});
  if (without.empty()) GTEST_SKIP() << "children cannot be traced here";
  EXPECT_LE(Sum(Count({probe_, "one"}, Environment())), Sum(without) + 40);
}

// 500 samples. Each that is freed becomes a guard; what else there is to do is done for 16 at once.
TEST_P(CallsTest, ASampleTakesOneCallAndLittleMore) {
  if (!KernelHasGuards() || !KernelTakesManyAdvices()) GTEST_SKIP() << "guards take more";
  constexpr int kPairs = 5'000'000;
  constexpr int kSamples = kPairs / 10'000;
  const std::vector<std::string> run = {probe_, "pairs", std::to_string(kPairs)};
  const Calls without = Count(run, Environment("sample=0"));
  if (without.empty()) GTEST_SKIP() << "children cannot be traced here";
  const Calls with = Count(run, Environment("sample=1/10000"));
  // Their number is random, with a deviation of a fortieth.
  EXPECT_LE(MemoryCalls(with), MemoryCalls(without) + kSamples * 3 / 2);
  EXPECT_GE(MemoryCalls(with), MemoryCalls(without) + kSamples / 2) << "there were no samples";
}

// More than are held at a time, 64.
TEST_P(CallsTest, APlaceThatWasUsedBeforeIsGuardedAgain) {
  for (const char* mode : {"past", "before", "freed"}) {
    const ChildResult result = RunChild({.arguments = {probe_, mode},
                                         .environment = Environment("sample=1/10000"),
                                         .timeout_seconds = 300});
    EXPECT_EQ(result.signal, SIGSEGV) << mode << ": " << result.Describe();
  }
}

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const char* level : {"light", "standard", "strict", "paranoid"}) {
    cases.push_back({level, false});
    cases.push_back({level, true});
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(, CallsTest, testing::ValuesIn(Cases()), [](const auto& info) {
  return info.param.level + (info.param.chosen_at_run_time ? "_chosen" : "");
});

}  // namespace
