// reuse_test: free memory of large blocks that the program would take again, and when it goes. A
// program of its own: nothing was there before.

#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <vector>

#include "gtest/gtest.h"
#include "tests/hardened/heap_under_test.h"
#include "tests/support/proc_numbers.h"
#include "tests/support/resident.h"
#include "tests/support/seeded_stream.h"

namespace hardened {
namespace {

constexpr const Features& kFeatures = HeapUnderTest::kFeatures;
constexpr size_t kMiB = 1 << 20;
constexpr size_t kLive = 20;

uint64_t Faults() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_minflt);
}

// A block of 5 to 25 MiB, every page touched. Returns: its pages in *pages, added to what is there.
char* AllocateLarge(SeededStream& random, uint64_t* pages) {
  const size_t bytes = 5 * kMiB + random.Below(20 * kMiB);
  char* block = Allocate(bytes);
  for (size_t at = 0; at < bytes; at += 4096) block[at] = 1;
  *pages += bytes / 4096;
  return block;
}

TEST(ReuseTest, LargeBlocksThatAreReplacedKeepMemoryUntilTheProgramRests) {
  if (kFeatures.core.run_hold_bytes > 0) GTEST_SKIP() << "freed runs are held at this level";
  if (NumberBehind("/proc/meminfo", "MemAvailable:") < 1 << 20) {
    GTEST_SKIP() << "too little memory is available";
  }
  SeededStream random(18);
  Free(Allocate(100'000));
  const size_t before = ResidentKib();
  std::vector<char*> blocks(kLive);
  uint64_t pages = 0;
  for (char*& block : blocks) block = AllocateLarge(random, &pages);
  // The share of pages that fault: 0.5 to 0.7 at fixed limits, up to 0.2 now. Each round may be
  // slow, and memory goes with time as well.
  double least = 1;
  for (int round = 0; round < 6; ++round) {
    pages = 0;
    const uint64_t faults = Faults();
    for (size_t i = 0; i < 4 * kLive; ++i) {
      char*& block = blocks[random.Below(kLive)];
      Free(block);
      block = AllocateLarge(random, &pages);
    }
    const double share = static_cast<double>(Faults() - faults) / static_cast<double>(pages);
    printf("%.2f of the pages faulted\n", share);
    least = std::min(least, share);
  }
  EXPECT_LT(least, 0.35);

  for (char* block : blocks) Free(block);
  for (int i = 0; i < 4; ++i) {
    usleep(260'000);
    Free(Allocate(100'000));
  }
  EXPECT_LT(ResidentKib(), before + 16 * kMiB / 1024);
}

}  // namespace
}  // namespace hardened
