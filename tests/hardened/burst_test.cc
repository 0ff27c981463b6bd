// burst_test: what stays in memory after a burst. A program of its own: nothing was there before.

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "tests/hardened/heap_under_test.h"
#include "tests/support/resident.h"
#include "tests/support/seeded_stream.h"

namespace hardened {
namespace {

constexpr const Features& kFeatures = HeapUnderTest::kFeatures;

// Allocates `bytes` in small blocks of random sizes, all written to.
std::vector<char*> Burst(size_t bytes, SeededStream& random) {
  std::vector<char*> blocks;
  for (size_t live = 0; live < bytes;) {
    const size_t size = 16 + random.Below(1024);
    blocks.push_back(Allocate(size));
    memset(blocks.back(), 1, size);
    live += size;
  }
  return blocks;
}

// Freed in an order in which each slab keeps some blocks to the end.
TEST(BurstTest, MemoryGoesBackWithoutAnotherCall) {
  constexpr size_t kBytes = 128 << 20;
  SeededStream random(17);
  Free(Allocate(1));
  const size_t before = ResidentKib();
  ASSERT_GT(before, 0u);
  std::vector<char*> blocks = Burst(kBytes, random);
  const size_t peak = ResidentKib();
  EXPECT_GT(peak, kBytes >> 10);
  std::shuffle(blocks.begin(), blocks.end(), std::mt19937(1));
  for (char* block : blocks) Free(block);
  const size_t after = ResidentKib();
  printf("KiB in memory: %zu before, %zu at the peak, %zu after\n", before, peak, after);
  // Dirty spans 16 MiB, sparse slabs 8, what magazines pin and metadata; and a page for each slot
  // in the quarantine, to which the last ones of many slabs went.
  const size_t held = kFeatures.quarantine.bytes == 0
                          ? 0
                          : kFeatures.quarantine.bytes / kFeatures.quarantine.WeightOf(528);
  EXPECT_LT(after, before + (40 << 10) + held * 4);
}

}  // namespace
}  // namespace hardened
