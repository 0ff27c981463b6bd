// Small machines: limits on memory, locked memory, no /proc.

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <iterator>
#include <string>
#include <vector>

#include "tests/limits/scenario.h"
#include "tests/preload/pattern.h"
#include "tests/stress/shadow_stress.h"
#include "tests/support/proc_numbers.h"
#include "tests/support/resident.h"

namespace {

constexpr size_t kMib = 1 << 20;
// Of address space, a cage and its metadata among it.
constexpr size_t kLockedBytes = size_t{2} << 40;

// Everything that a heap does, by one thread and by two, with few live bytes: from standard on the
// address space of a slab serves its class for ever, and a stress meets all classes in each thread.
void Stress() {
  for (const unsigned threads : {1u, 2u}) {
    const std::string failure =
        RunShadowStress(SystemAllocationTable(), {.seed = 5,
                                                  .threads = threads,
                                                  .lives = 2,
                                                  .operations = 10'000,
                                                  .live_limit = 8 * kMib / threads,
                                                  .largest = kMib / 4});
    Require(failure.empty(), "%s", failure.c_str());
  }
}

// Live blocks in a list through themselves. Returns: their number when malloc gave null.
size_t Fill(size_t size, void**& list) {
  for (size_t count = 0;; ++count) {
    errno = 0;
    auto** block = static_cast<void**>(malloc(size));
    if (block == nullptr) {
      Require(errno == ENOMEM, "errno is %d", errno);
      return count;
    }
    memset(block, 1, size);
    *block = list;
    list = block;
  }
}

// In a process of its own, twice: as much as there is, then all of it freed.
void UseUpMemory(size_t size, size_t limit) {
  const pid_t child = fork();
  if (child == 0) {
    size_t counts[2];
    for (size_t& count : counts) {
      void** list = nullptr;
      count = Fill(size, list);
      while (list != nullptr) {
        void** block = list;
        list = static_cast<void**>(*block);
        free(block);
      }
    }
    Print("blocks of %zu bytes: %zu MiB of %zu, then %zu", size, counts[0] * size / kMib,
          limit / kMib, counts[1] * size / kMib);
    Require(counts[0] * size >= limit / 2, "only %zu MiB", counts[0] * size / kMib);
    Require(counts[1] >= counts[0] / 2, "only %zu blocks the second time", counts[1]);
    _exit(kGood);
  }
  int status = -1;
  Require(child > 0 && waitpid(child, &status, 0) == child && status == 0, "a child failed");
}

// RLIMIT_DATA counts what vm.overcommit_memory=2 accounts: private pages that can be written. It
// stands in for it, since a test must not change the machine.
void ALimitOnWritablePages() {
  constexpr size_t kLimit = 256 * kMib;
  if (!Again()) {
    const rlimit limit = {kLimit, kLimit};
    Require(setrlimit(RLIMIT_DATA, &limit) == 0, "no RLIMIT_DATA");
    RunAgain();
  }
  for (const size_t size : {size_t{1000}, size_t{100'000}, 4 * kMib}) UseUpMemory(size, kLimit);
  Stress();
}

// What is resident while 118 MiB live, half of which was freed and allocated anew, twice.
void LiveMemory() {
  constexpr size_t kBlocks = 40'000;
  const auto size_of = [](size_t i) { return i % 100 == 0 ? 160'000 : 16 + i * 7919 % 3000; };
  std::vector<void*> blocks(kBlocks, nullptr);
  size_t live = 0;
  for (int round = 0; round < 3; ++round) {
    for (size_t i = round == 0 ? 0 : 1; i < kBlocks; i += round == 0 ? 1 : 2) {
      if (blocks[i] != nullptr) {
        Require(HasPattern(blocks[i], size_of(i), i), "block %zu lost its contents", i);
        free(blocks[i]);
        live -= size_of(i);
      }
      // Zero even when what was freed could not be dropped.
      blocks[i] = calloc(1, size_of(i));
      Require(blocks[i] != nullptr, "no memory");
      Require(FirstNonZero(blocks[i], size_of(i)) == size_of(i), "calloc: not zero");
      FillPattern(blocks[i], size_of(i), i);
      live += size_of(i);
    }
  }
  // The first line is what limits_test reads.
  Print("%zu KiB resident", ResidentKib());
  Print("%zu KiB live, %zu guards refused", live / 1024, size_t{Counters().guards_refused});
  for (size_t i = 0; i < kBlocks; ++i) {
    Require(HasPattern(blocks[i], size_of(i), i), "block %zu lost its contents", i);
    free(blocks[i]);
  }
}

// Before the constructors of every library, so before the first allocation: mlockall() ends with
// the program that calls it, so the process cannot be started again under it.
bool locked;
void LockAllInPreinit(int argc, char** argv, char**) {
  if (argc < 2 || strncmp(argv[1], "Locked", 6) != 0) return;
  // Beyond RLIMIT_MEMLOCK nothing can be mapped any more, with any malloc.
  locked = mlockall(MCL_FUTURE) == 0;
  if (!locked) return;
  void* probe = mmap(nullptr, kLockedBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  locked = probe != MAP_FAILED && munmap(probe, kLockedBytes) == 0;
  if (!locked) munlockall();
}
[[gnu::section(".preinit_array"), gnu::used]] void (*preinit)(int, char**,
                                                              char**) = LockAllInPreinit;

void RequireLocked() {
  if (!locked) CannotRunHere("RLIMIT_MEMLOCK does not allow to lock memory");
  Require(NumberBehind("/proc/self/status", "VmLck:") > 0, "nothing is locked");
}

void LockedMemory() {
  RequireLocked();
  LiveMemory();
}

void LockedStress() {
  RequireLocked();
  Stress();
}

void WithoutProc() {
  if (!Again()) {
    const int flags = CLONE_NEWNS | (geteuid() == 0 ? 0 : CLONE_NEWUSER);
    if (unshare(flags) != 0 || mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("none", "/proc", "tmpfs", 0, nullptr) != 0) {
      CannotRunHere("no mount namespaces here: %s", strerror(errno));
    }
    RunAgain();
  }
  Require(access("/proc/self", F_OK) != 0, "/proc is there");
  Stress();
}

// What 5,000,000 pairs leave in memory.
void MemoryAfterPairs() {
  // A huge page more or less would be all there is to see.
  if (!Again() && prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0) RunAgain();
  for (int i = 0; i < 5'000'000; ++i) free(malloc(64));
  Print("%zu", AnonymousKib());
}

}  // namespace

const Scenario kSmallMachineScenarios[] = {
    {"Stress", Stress},
    {"ALimitOnWritablePages", ALimitOnWritablePages},
    {"LiveMemory", LiveMemory},
    {"LockedMemory", LockedMemory},
    {"LockedStress", LockedStress},
    {"MemoryAfterPairs", MemoryAfterPairs},
    {"WithoutProc", WithoutProc},
};
const size_t kSmallMachineScenarioCount = std::size(kSmallMachineScenarios);
