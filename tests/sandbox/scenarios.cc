// scenarios NAME [again]: what one process does in a sandbox or under a limit that came after its
// start, checking itself. sandbox_test runs each on every level, and on libc's malloc as control.
//
// Exits with 0 when all is well, with 1 when not (standard error says what), with 3 when the
// machine does not allow it.

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>

#include "tests/preload/pattern.h"
#include "tests/support/proc_numbers.h"

namespace {

constexpr size_t kKib = 1 << 10, kMib = 1 << 20, kGib = 1 << 30;

enum Exit : int { kGood = 0, kFailed = 1, kCannotRunHere = 3 };

const char* program;
const char* scenario;
bool again;

[[noreturn, gnu::format(printf, 2, 3)]] void End(Exit code, const char* format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  const int length = vsnprintf(text, sizeof(text) - 1, format, arguments);
  va_end(arguments);
  text[length] = '\n';
  static_cast<void>(!write(STDERR_FILENO, text, static_cast<size_t>(length) + 1));
  _exit(code);
}

#define REQUIRE(condition) \
  if (!(condition)) End(kFailed, "%s:%d: %s (errno %d)", __FILE__, __LINE__, #condition, errno)

[[noreturn]] void RunAgain() {
  execl(program, program, scenario, "again", nullptr);
  End(kFailed, "execl failed");
}

// ---- what a program does with its heap

constexpr size_t kBlocks = 3000;
void* blocks[kBlocks];

// Small blocks, runs that grow and shrink, zeroed and aligned ones. `may_fail`: null is an answer.
void UseHeap(int rounds, bool may_fail = false) {
  for (int round = 0; round < rounds; ++round) {
    for (size_t i = 0; i < kBlocks; ++i) {
      const size_t size = i * 13 % 3000 + 1;
      blocks[i] = i % 7 == 0 ? calloc(1, size) : malloc(size);
      REQUIRE(blocks[i] != nullptr || may_fail);
      if (blocks[i] != nullptr) FillPattern(blocks[i], size, i);
    }
    for (size_t i = 0; i < kBlocks; ++i) {
      REQUIRE(blocks[i] == nullptr || HasPattern(blocks[i], i * 13 % 3000 + 1, i));
      free(blocks[i]);
    }
    for (size_t i = 0; i < 30; ++i) {
      const size_t size = 100'000 + i * 50'000;
      void* run = i % 3 == 0 ? aligned_alloc(1 << 14, size) : malloc(size);
      REQUIRE(run != nullptr || may_fail);
      if (run == nullptr) continue;
      FillPattern(run, 5000, i);
      for (const size_t resized : {2 * size, size / 2, 6 * kMib}) {
        void* moved = realloc(run, resized);
        REQUIRE(moved != nullptr || may_fail);
        if (moved != nullptr) run = moved;
        REQUIRE(HasPattern(run, 5000, i));
      }
      free(run);
    }
  }
}

void* UseHeapInAThread(void*) {
  for (size_t i = 0; i < 5000; ++i) {
    void* block = Opaque(malloc(i));
    REQUIRE(block != nullptr);
    free(block);
  }
  return nullptr;
}

void StartThreads(int count) {
  for (int i = 0; i < count; ++i) {
    pthread_t thread;
    const int error = pthread_create(&thread, nullptr, UseHeapInAThread, nullptr);
    if (error != 0) End(kFailed, "thread %d was refused: %d", i, error);
    pthread_join(thread, nullptr);
  }
}

// ---- filters

enum class Way { kPrctl, kSeccompCall, kPrctlCall };

bool Install(sock_filter* filter, size_t size, Way way) {
  sock_fprog rules = {.len = static_cast<unsigned short>(size), .filter = filter};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return false;
  switch (way) {
    case Way::kPrctl:
      return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &rules) == 0;
    case Way::kSeccompCall:
      return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &rules) == 0;
    case Way::kPrctlCall:
      return syscall(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &rules, 0, 0) == 0;
  }
  return false;
}

// Kills for anything but the plainest calls and those of `others`.
void EnterPlainFilter(std::initializer_list<unsigned> others, Way way = Way::kPrctl) {
  constexpr unsigned kPlain[] = {SYS_mmap,  SYS_munmap, SYS_mprotect,   SYS_futex,
                                 SYS_write, SYS_exit,   SYS_exit_group, SYS_rt_sigreturn};
  sock_filter filter[80];
  size_t size = 0;
  filter[size++] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr));
  const auto allow = [&](unsigned number) {
    filter[size++] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1);
    filter[size++] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  };
  for (const unsigned number : kPlain) allow(number);
  for (const unsigned number : others) allow(number);
  // glibc tries clone3 before clone.
  filter[size++] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1);
  filter[size++] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS);
  filter[size++] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 2);
  filter[size++] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[2]));
  allow(MADV_DONTNEED);
  filter[size++] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
  if (!Install(filter, size, way)) End(kCannotRunHere, "no seccomp filters");
}

// Browsers of before 2025: madvise by its advice.
void EnterAdviceFilter(Way way) {
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 4),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[2])),
      // Advice that Linux had in 2018.
      BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 21, 0, 2),
      BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 100, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  if (!Install(filter, std::size(filter), way)) End(kCannotRunHere, "no seccomp filters");
}

void APlainFilterLetsTheHeapLive() {
  UseHeap(2);
  EnterPlainFilter({});
  UseHeap(4);
}

void AFilterBeforeTheFirstAllocation() {
  EnterPlainFilter({});
  UseHeap(2);
}

void AFilterThroughSyscall() {
  UseHeap(1);
  EnterPlainFilter({}, Way::kSeccompCall);
  UseHeap(2);
}

void AFilterThroughSyscallOfPrctl() {
  UseHeap(1);
  EnterPlainFilter({}, Way::kPrctlCall);
  UseHeap(2);
}

void ThreadsStartUnderAFilter() {
  UseHeap(1);
  StartThreads(2);
  EnterPlainFilter({SYS_clone, SYS_rt_sigprocmask, SYS_set_robust_list, SYS_rseq});
  StartThreads(8);
  UseHeap(1);
}

// Two children that cannot ask for entropy do not draw alike.
void ForksUnderAFilterDrawApart() {
  UseHeap(1);
  auto* drawn = static_cast<uintptr_t(*)[32]>(
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  EnterPlainFilter({SYS_clone, SYS_rt_sigprocmask, SYS_set_robust_list, SYS_wait4, SYS_gettid});
  for (int i = 0; i < 2; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      for (uintptr_t& address : drawn[i]) address = reinterpret_cast<uintptr_t>(malloc(232));
      UseHeap(1);
      _exit(kGood);
    }
    int status = -1;
    REQUIRE(child > 0 && waitpid(child, &status, 0) == child && status == 0);
  }
  if (getenv("LD_PRELOAD") == nullptr) return;
  size_t equal = 0;
  for (size_t i = 0; i < 32; ++i) equal += drawn[0][i] == drawn[1][i];
  // Of 500 free slots more than 8 of 32 in fewer than one run of 10^15; a sample may be one more.
  REQUIRE(equal <= 9);
}

void SignalsAreTheProgramsUnderAFilter() {
  static volatile sig_atomic_t handled = 0;
  UseHeap(1);
  EnterPlainFilter({SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_getpid, SYS_gettid, SYS_tgkill});
  for (const int number : {SIGUSR1, SIGSEGV}) {
    struct sigaction action = {}, found = {};
    action.sa_handler = [](int) { handled = handled + 1; };
    REQUIRE(sigaction(number, &action, nullptr) == 0);
    REQUIRE(sigaction(number, nullptr, &found) == 0 && found.sa_handler == action.sa_handler);
    raise(number);
  }
  REQUIRE(handled == 2);
  UseHeap(1);
}

void AFilterThatKnowsTheAdviceOf2018() {
  UseHeap(2);
  EnterAdviceFilter(Way::kPrctl);
  UseHeap(4);
  StartThreads(3);
}

void AnInheritedFilterThatKnowsTheAdviceOf2018() {
  if (!again) {
    EnterAdviceFilter(Way::kSeccompCall);
    RunAgain();
  }
  UseHeap(4);
  StartThreads(3);
}

// Another thread installs the filter for all while the heap is busy.
void AFilterForAllThreadsAmidTheirCalls() {
  static volatile bool stop = false;
  UseHeap(1);
  pthread_t threads[2];
  for (pthread_t& thread : threads) {
    REQUIRE(pthread_create(
                &thread, nullptr,
                [](void*) -> void* {
                  for (size_t i = 0; !stop; ++i) {
                    void* run = malloc(100'000 + i % 64 * 65'536);
                    REQUIRE(run != nullptr);
                    memset(run, 1, 4096);
                    run = realloc(run, 3 * kMib);
                    free(run);
                  }
                  return nullptr;
                },
                nullptr) == 0);
  }
  usleep(20'000);
  EnterAdviceFilter(Way::kSeccompCall);
  usleep(20'000);
  stop = true;
  for (const pthread_t thread : threads) pthread_join(thread, nullptr);
  UseHeap(1);
}

// ---- strict mode

void StrictMode(bool by_prctl) {
  UseHeap(3);
  const long result = by_prctl ? prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT)
                               : syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 0, nullptr);
  if (result != 0) End(kCannotRunHere, "no strict mode");
  UseHeap(3, /*may_fail=*/true);
  syscall(SYS_exit, kGood);
}
void StrictModeByPrctl() { StrictMode(true); }
void StrictModeBySyscall() { StrictMode(false); }

// ---- the functions that are passed on

void PrctlAndSyscallDoWhatTheyDid() {
  REQUIRE(syscall(SYS_getpid) == getpid());
  errno = 0;
  REQUIRE(syscall(-1) == -1 && errno == ENOSYS);
  // Six arguments.
  const int file = open("/proc/self/exe", O_RDONLY);
  REQUIRE(file >= 0);
  char* mapped = reinterpret_cast<char*>(
      syscall(SYS_mmap, nullptr, size_t{4096}, PROT_READ, MAP_PRIVATE, file, off_t{0}));
  REQUIRE(mapped != MAP_FAILED && memcmp(mapped, "\177ELF", 4) == 0);
  REQUIRE(syscall(SYS_munmap, mapped, size_t{4096}) == 0);
  char name[16] = "";
  REQUIRE(prctl(PR_SET_NAME, "a name") == 0);
  REQUIRE(prctl(PR_GET_NAME, name) == 0 && strcmp(name, "a name") == 0);
  errno = 0;
  REQUIRE(prctl(PR_SET_NAME, 1) == -1 && errno == EFAULT);
  errno = 0;
  REQUIRE(prctl(-1, 0, 0, 0, 0) == -1 && errno == EINVAL);
  // What libseccomp asks to learn what the kernel has: no filter is installed.
  errno = 0;
  REQUIRE(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, nullptr) == -1);
  REQUIRE(errno == EFAULT);
  REQUIRE(prctl(PR_GET_SECCOMP) == 0);
  UseHeap(1);
}

// With libpassed_on.so preloaded behind the heap's library, or alone.
void WhatAnotherLibraryTakesReachesIt() {
  auto* const calls = reinterpret_cast<long (*)()>(dlsym(RTLD_DEFAULT, "passed_on_calls"));
  if (calls == nullptr) return;
  const long before = calls();
  REQUIRE(syscall(SYS_getpid) == getpid() && calls() == before + 1);
  REQUIRE(prctl(PR_SET_NAME, "a name") == 0 && calls() == before + 2);
  UseHeap(1);
  REQUIRE(calls() == before + 2);
  EnterPlainFilter({SYS_prctl});
  UseHeap(1);
  // Once for PR_SET_NO_NEW_PRIVS, once for the filter.
  REQUIRE(calls() == before + 4);
}

// ---- limits that the process sets for itself

void SetLimit(__rlimit_resource resource, size_t bytes) {
  rlimit limit = {bytes, bytes};
  REQUIRE(setrlimit(resource, &limit) == 0);
}

void LittleAddressSpaceIsTaken() {
  for (size_t size = 1; size < 100'000; size *= 2) free(Opaque(malloc(size)));
  const size_t pages = FirstNumber("/proc/self/statm");
  if (pages == 0) End(kCannotRunHere, "no /proc");
  if (pages * 4 > 64 * kKib) End(kFailed, "%zu KiB of address space", pages * 4);
}

void ALimitOnAddressSpaceHolds() {
  free(Opaque(malloc(10)));
  SetLimit(RLIMIT_AS, kGib);
  StartThreads(3);
  void* mapped =
      mmap(nullptr, 100 * kMib, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(mapped != MAP_FAILED);
  munmap(mapped, 100 * kMib);
  void* library = dlopen("libm.so.6", RTLD_NOW);
  REQUIRE(library != nullptr);
  errno = 0;
  REQUIRE(Opaque(malloc(2 * kGib)) == nullptr && errno == ENOMEM);
  void* most = Opaque(malloc(500 * kMib));
  REQUIRE(most != nullptr);
  free(most);
  UseHeap(1);
}

// After all was freed, the limit has room for what the program maps itself.
void EverythingFreedLeavesTheAccount(__rlimit_resource resource, size_t size) {
  constexpr size_t kLimit = 256 * kMib;
  static void* all[kLimit / 900];
  free(Opaque(malloc(10)));
  SetLimit(resource, kLimit);
  size_t count = 0;
  while (count < std::size(all) && (all[count] = malloc(size)) != nullptr) {
    memset(all[count], 1, std::min<size_t>(size, 64));
    ++count;
  }
  REQUIRE(count * size > 60 * kMib);
  for (size_t i = 0; i < count; ++i) free(all[i]);
  StartThreads(3);
  void* mapped =
      mmap(nullptr, 80 * kMib, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(mapped != MAP_FAILED);
  munmap(mapped, 80 * kMib);
  UseHeap(1);
}
void FreedSlotsLeaveTheAccountOfData() { EverythingFreedLeavesTheAccount(RLIMIT_DATA, 20'000); }
void FreedRunsLeaveTheAccountOfData() { EverythingFreedLeavesTheAccount(RLIMIT_DATA, 300'000); }
void FreedSlotsLeaveTheAccountOfAddresses() { EverythingFreedLeavesTheAccount(RLIMIT_AS, 20'000); }
void FreedRunsLeaveTheAccountOfAddresses() { EverythingFreedLeavesTheAccount(RLIMIT_AS, 300'000); }

// ---- what was never handed out

void MemoryNeverHandedOutFaults() {
  for (const size_t size : {16, 100, 1000, 9000, 60000}) {
    for (int i = 0; i < 50; ++i) blocks[i] = Opaque(malloc(size));
    auto* highest = static_cast<volatile char*>(*std::max_element(blocks, blocks + 50));
    const pid_t child = fork();
    if (child == 0) {
      // The fault may be explained.
      close(STDERR_FILENO);
      for (size_t at = 0; at < kMib + size; at += 4096) highest[at] = 1;
      _exit(kGood);
    }
    int status = -1;
    REQUIRE(child > 0 && waitpid(child, &status, 0) == child);
    if (!WIFSIGNALED(status)) End(kFailed, "1 MiB behind a block of %zu was written to", size);
  }
}

// What the program maps where the heap would grow stays the program's.
void SomebodyElseInTheWayOfTheHeap() {
  constexpr size_t kBytes = 64 * kKib;
  const auto start = reinterpret_cast<uintptr_t>(Opaque(malloc(100))) & ~(kBytes - 1);
  void* foreign[8] = {};
  for (size_t i = 0; i < std::size(foreign); ++i) {
    void* hint = reinterpret_cast<void*>(start + (size_t{8} << i) * kMib);
    foreign[i] = mmap(hint, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(foreign[i] != MAP_FAILED);
    FillPattern(foreign[i], kBytes, 1000 + i);
  }
  constexpr size_t kCount = 400;
  for (size_t i = 0; i < kCount; ++i) {
    blocks[i] = malloc(kMib - i % 2 * 900 * kKib);
    REQUIRE(blocks[i] != nullptr);
    FillPattern(blocks[i], 100 * kKib, i);
  }
  for (size_t i = 0; i < std::size(foreign); ++i) {
    REQUIRE(HasPattern(foreign[i], kBytes, 1000 + i));
  }
  for (size_t i = 0; i < kCount; ++i) {
    REQUIRE(HasPattern(blocks[i], 100 * kKib, i));
    free(blocks[i]);
  }
  UseHeap(1);
  for (size_t i = 0; i < std::size(foreign); ++i) {
    REQUIRE(HasPattern(foreign[i], kBytes, 1000 + i));
  }
}

// ---- the stack

constexpr size_t kStackBytes = 256 * kKib;
ucontext_t main_context, coroutine;

// Runs `body` on a painted stack. Returns: the bytes that it used.
size_t StackOf(void (*body)()) {
  auto* stack = static_cast<unsigned char*>(
      mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  REQUIRE(stack != MAP_FAILED);
  memset(stack, 0xa5, kStackBytes);
  REQUIRE(getcontext(&coroutine) == 0);
  coroutine.uc_stack.ss_sp = stack;
  coroutine.uc_stack.ss_size = kStackBytes;
  coroutine.uc_link = &main_context;
  makecontext(&coroutine, body, 0);
  REQUIRE(swapcontext(&main_context, &coroutine) == 0);
  size_t unused = 0;
  while (unused < kStackBytes && stack[unused] == 0xa5) ++unused;
  return kStackBytes - unused;
}

void RequireSmallStack() {
  const size_t first = StackOf([] { free(Opaque(malloc(40))); });
  const size_t later = StackOf([] {
    for (size_t i = 0; i < kBlocks; ++i) blocks[i] = malloc(i * 7 % 9000);
    for (size_t i = 0; i < kBlocks; ++i) free(blocks[i]);
    for (size_t i = 0; i < 300; ++i) {
      void* run = Opaque(malloc(70'000 + i * 5000));
      run = Opaque(realloc(run, 3'000'000));
      free(run);
    }
  });
  printf("stack of the first malloc: %zu, of what follows: %zu\n", first, later);
  fflush(stdout);
  REQUIRE(first <= 3584 && later <= 3584);
}

void TheFirstMallocTakesLittleStack() { RequireSmallStack(); }

// Of root in a namespace of its own, in which /etc has nothing else.
void TheFirstMallocWithAPolicyFileTakesLittleStack() {
  if (again) return RequireSmallStack();
  const uid_t user = getuid();
  const gid_t group = getgid();
  const auto write_file = [](const char* path, const char* text) {
    const int file = open(path, O_WRONLY);
    const auto length = static_cast<ssize_t>(strlen(text));
    if (file < 0 || write(file, text, static_cast<size_t>(length)) != length) {
      End(kCannotRunHere, "cannot write to %s", path);
    }
    close(file);
  };
  char map[64];
  if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) End(kCannotRunHere, "no user namespaces");
  write_file("/proc/self/setgroups", "deny");
  snprintf(map, sizeof(map), "0 %u 1", user);
  write_file("/proc/self/uid_map", map);
  snprintf(map, sizeof(map), "0 %u 1", group);
  write_file("/proc/self/gid_map", map);
  umask(022);
  if (mount("none", "/etc", "tmpfs", 0, "mode=755") != 0 || mkdir("/etc/hardened", 0755) != 0 ||
      mkdir("/etc/hardened/policy.d", 0755) != 0) {
    End(kCannotRunHere, "no file system of its own");
  }
  for (const char* path : {"/etc/hardened/policy", "/etc/hardened/policy.d/more.policy"}) {
    FILE* policy = fopen(path, "w");
    REQUIRE(policy != nullptr);
    for (int i = 0; i < 20; ++i) fprintf(policy, "/**/*scenario*s sample=1/400\n* sample=1/500\n");
    fclose(policy);
  }
  RunAgain();
}

struct Scenario {
  const char* name;
  void (*run)();
};
#define SCENARIO(name) \
  { #name, name }
constexpr Scenario kScenarios[] = {
    SCENARIO(APlainFilterLetsTheHeapLive),
    SCENARIO(AFilterBeforeTheFirstAllocation),
    SCENARIO(AFilterThroughSyscall),
    SCENARIO(AFilterThroughSyscallOfPrctl),
    SCENARIO(ThreadsStartUnderAFilter),
    SCENARIO(ForksUnderAFilterDrawApart),
    SCENARIO(SignalsAreTheProgramsUnderAFilter),
    SCENARIO(AFilterThatKnowsTheAdviceOf2018),
    SCENARIO(AnInheritedFilterThatKnowsTheAdviceOf2018),
    SCENARIO(AFilterForAllThreadsAmidTheirCalls),
    SCENARIO(StrictModeByPrctl),
    SCENARIO(StrictModeBySyscall),
    SCENARIO(PrctlAndSyscallDoWhatTheyDid),
    SCENARIO(WhatAnotherLibraryTakesReachesIt),
    SCENARIO(LittleAddressSpaceIsTaken),
    SCENARIO(ALimitOnAddressSpaceHolds),
    SCENARIO(FreedSlotsLeaveTheAccountOfData),
    SCENARIO(FreedRunsLeaveTheAccountOfData),
    SCENARIO(FreedSlotsLeaveTheAccountOfAddresses),
    SCENARIO(FreedRunsLeaveTheAccountOfAddresses),
    SCENARIO(MemoryNeverHandedOutFaults),
    SCENARIO(SomebodyElseInTheWayOfTheHeap),
    SCENARIO(TheFirstMallocTakesLittleStack),
    SCENARIO(TheFirstMallocWithAPolicyFileTakesLittleStack),
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    for (const Scenario& one : kScenarios) puts(one.name);
    return kGood;
  }
  alarm(120);
  program = argv[0];
  scenario = argv[1];
  again = argc > 2;
  for (const Scenario& one : kScenarios) {
    if (strcmp(one.name, scenario) != 0) continue;
    one.run();
    // Not exit(): a filter may forbid what it does.
    _exit(kGood);
  }
  End(kFailed, "no such scenario");
}
