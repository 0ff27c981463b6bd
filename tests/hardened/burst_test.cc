// burst_test: what stays in memory after a burst. A program of its own: nothing was there before.

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <numeric>
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
std::vector<char*> Allocated(size_t bytes, SeededStream& random) {
  std::vector<char*> blocks;
  for (size_t live = 0; live < bytes;) {
    const size_t size = 16 + random.Below(512);
    blocks.push_back(Allocate(size));
    memset(blocks.back(), 1, size);
    live += size;
  }
  return blocks;
}

// Rows of neighbours are freed together, the rows in random order, as programs do.
void FreeInRows(const std::vector<char*>& blocks) {
  constexpr size_t kRow = 64;
  std::vector<size_t> rows((blocks.size() + kRow - 1) / kRow);
  std::iota(rows.begin(), rows.end(), size_t{0});
  std::shuffle(rows.begin(), rows.end(), std::mt19937(1));
  for (const size_t row : rows) {
    const size_t end = std::min(blocks.size(), (row + 1) * kRow);
    for (size_t i = row * kRow; i < end; ++i) Free(blocks[i]);
  }
}

// 2 GiB of which an eighth stays. Without another call, and at once.
TEST(BurstTest, LittleMoreStaysInMemoryThanWhatLives) {
  constexpr size_t kBytes = size_t{2} << 30;
  SeededStream random(17);
  Free(Allocate(1));
  const size_t before = ResidentKib();
  ASSERT_GT(before, 0u);
  const std::vector<char*> staying = Allocated(kBytes / 8, random);
  const std::vector<char*> blocks = Allocated(kBytes / 8 * 7, random);
  const size_t tables = (staying.size() + blocks.size()) * sizeof(char*) / 1024;
  const size_t peak = ResidentKib() - before - tables;
  EXPECT_GT(peak, kBytes / 1024);
  FreeInRows(blocks);
  const size_t after = ResidentKib() - before - tables;
  const double ratio = static_cast<double>(after) / (kBytes / 8 / 1024);
  printf("KiB in memory: %zu at the peak, %zu after, %.3f times what lives\n", peak, after, ratio);
  // At paranoid 8 MiB of slots wait in the quarantine, each on a page of its own.
  EXPECT_LT(ratio, kFeatures.quarantine.bytes > (4 << 20) ? 2.0 : 1.2);
  for (char* block : staying) Free(block);
}

}  // namespace
}  // namespace hardened
