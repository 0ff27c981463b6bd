// run_test: allocations of pages of their own, and what becomes of them when they are freed.

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "tests/hardened/heap_under_test.h"
#include "tests/support/resident.h"

namespace hardened {
namespace {

constexpr const Features& kFeatures = HeapUnderTest::kFeatures;
constexpr bool kHolds = kFeatures.core.run_hold_bytes > 0;

// Whether an access to the page faults; the kernel tries.
bool Faults(const char* page) {
  return syscall(SYS_clock_gettime, CLOCK_MONOTONIC, page) == -1 && errno == EFAULT;
}

size_t FirstThatIsNot(const char* block, size_t bytes, char value) {
  size_t at = 0;
  while (at < bytes && block[at] == value) ++at;
  return at;
}

// A run that waits in the cache is made to fit; whatever its size was, it is an allocation.
TEST(RunTest, ARunOfAnotherSizeFromTheCacheCanBeFreedAndResized) {
  constexpr size_t kCount = 8;
  std::vector<char*> runs(kCount);
  for (const size_t first : {100'000, 900'000, 3 << 20}) {
    size_t bytes = first;
    for (int round = 0; round < 12; ++round, bytes -= bytes / 64) {
      for (char*& run : runs) {
        run = Allocate(bytes);
        std::memset(run, round, bytes);
      }
      for (char*& run : runs) {
        ASSERT_GE(UsableSize(run), bytes);
        run = Reallocate(run, bytes + 1000);
        ASSERT_EQ(run[bytes - 1], round);
        Free(run);
      }
    }
  }
}

// Whatever holds them: the last ones keep their memory, older and larger ones are guards.
TEST(RunTest, FreedRunsFaultWhileTheyAreHeld) {
  if (!kHolds) GTEST_SKIP() << "this level holds none";
  // No more than strict holds of a burst, some time after the last one.
  if (kFeatures.core.hold_by_rate) usleep(2'100'000);
  constexpr struct {
    size_t bytes;
    size_t count;
  } kRuns[] = {{5 << 20, 1},  {20 << 20, 1}, {700'000, 40},
               {70'000, 100}, {300'000, 50}, {520'000, 20}};
  for (const auto& [bytes, count] : kRuns) {
    std::vector<char*> runs(count);
    for (char*& run : runs) {
      run = Allocate(bytes);
      std::memset(run, 1, bytes);
    }
    for (char* run : runs) Free(run);
    for (const char* run : runs) EXPECT_TRUE(Faults(run + bytes / 2)) << bytes;
  }
}

TEST(RunTest, AHeldRunLosesItsMemoryWithTimeAndStillFaults) {
  if (!kHolds) GTEST_SKIP() << "this level holds none";
  constexpr size_t kBytes = 500'000;
  std::vector<char*> runs(8);
  for (char*& run : runs) {
    run = Allocate(kBytes);
    std::memset(run, 1, kBytes);
  }
  const size_t before = ResidentKib();
  for (char* run : runs) Free(run);
  for (int i = 0; i < 2; ++i) {
    usleep(300'000);
    Free(Allocate(kBytes));
  }
  EXPECT_LT(ResidentKib(), before - runs.size() * kBytes / 1024 * 3 / 4);
  for (const char* run : runs) EXPECT_TRUE(Faults(run + kBytes / 2));
}

// They come back when there is no time for more guards.
TEST(RunTest, WhatWasHiddenIsHandedOutWithoutItsContents) {
  if (!kHolds) GTEST_SKIP() << "this level holds none";
  constexpr size_t kBytes = 70'000;
  int again = 0;
  for (int attempt = 0; attempt < 20 && again == 0; ++attempt) {
    // A guard that costs all the time there is for a while.
    Free(Allocate(size_t{120} << 20));
    std::set<const char*> seen;
    for (int i = 0; i < 200; ++i) {
      char* run = Allocate(kBytes);
      again += !seen.insert(run).second;
      ASSERT_EQ(FirstThatIsNot(run, kBytes, 0), kBytes) << i;
      std::memset(run, 0x5a, kBytes);
      Free(run);
    }
    if (!kFeatures.core.hold_by_rate) return;
  }
  EXPECT_GT(again, 0);
}

// Without a limit each pair would fault for every page.
TEST(RunTest, RunsThatComeAndGoAllTheTimeKeepTheirMemory) {
  if (kHolds && !kFeatures.core.hold_by_rate) GTEST_SKIP() << "all are held at this level";
  constexpr size_t kBytes = 256 << 10;
  constexpr size_t kPages = kBytes / 4096;
  constexpr long kPairs = 20'000;
  rusage before, after;
  getrusage(RUSAGE_SELF, &before);
  for (long i = 0; i < kPairs; ++i) {
    char* run = Allocate(kBytes);
    for (size_t page = 0; page < kPages; ++page) run[page * 4096] = 1;
    Free(run);
  }
  getrusage(RUSAGE_SELF, &after);
  const long faults = after.ru_minflt - before.ru_minflt;
  printf("%ld faults for %ld pages\n", faults, kPairs * static_cast<long>(kPages));
  EXPECT_LT(faults, kPairs * static_cast<long>(kPages) / 4);
}

}  // namespace
}  // namespace hardened
