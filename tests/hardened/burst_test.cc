// burst_test: what stays in memory after a burst. A program of its own: nothing was there before.

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "tests/hardened/heap_under_test.h"
#include "tests/support/proc_numbers.h"
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

constexpr size_t kBytes = size_t{2} << 30;

// What was in memory, in KiB.
struct Burst {
  size_t peak = 0;
  size_t after = 0;
};

// 2 GiB of which an eighth stays. Without another call, and at once.
Burst MakeABurst() {
  SeededStream random(17);
  Free(Allocate(1));
  const size_t before = ResidentKib();
  const std::vector<char*> staying = Allocated(kBytes / 8, random);
  const std::vector<char*> blocks = Allocated(kBytes / 8 * 7, random);
  const size_t tables = (staying.size() + blocks.size()) * sizeof(char*) / 1024;
  Burst burst;
  burst.peak = ResidentKib() - before - tables;
  FreeInRows(blocks);
  burst.after = ResidentKib() - before - tables;
  for (char* block : staying) Free(block);
  return burst;
}

// In a process whose heap has not started. All zero when it fails.
Burst BurstInAChild() {
  Burst burst;
  int ends[2];
  if (pipe(ends) != 0) return burst;
  const pid_t child = fork();
  if (child == 0) {
    burst = MakeABurst();
    _exit(write(ends[1], &burst, sizeof(burst)) == sizeof(burst) ? 0 : 1);
  }
  close(ends[1]);
  const bool got = read(ends[0], &burst, sizeof(burst)) == sizeof(burst);
  close(ends[0]);
  int status = -1;
  const bool ended = child > 0 && waitpid(child, &status, 0) == child && status == 0;
  return got && ended ? burst : Burst{};
}

TEST(BurstTest, LittleMoreStaysInMemoryThanWhatLives) {
  if (NumberBehind("/proc/meminfo", "MemAvailable:") < kBytes / 1024 * 3 / 2) {
    GTEST_SKIP() << "too little memory is available";
  }
  // At paranoid 8 MiB of slots wait in the quarantine, each on a page of its own.
  const double wanted = kFeatures.quarantine.bytes > (4 << 20) ? 2.0 : 1.2;
  // 1.187 at strict, and seldom 0.01 more: what waits to be purged depends on the machine's pace.
  double least = INFINITY;
  for (int i = 0; i < 4 && least >= wanted; ++i) {
    const Burst burst = BurstInAChild();
    ASSERT_GT(burst.peak, kBytes / 1024);
    const double ratio = static_cast<double>(burst.after) / (kBytes / 8 / 1024);
    printf("KiB in memory: %zu at the peak, %zu after, %.3f times what lives\n", burst.peak,
           burst.after, ratio);
    least = std::min(least, ratio);
  }
  EXPECT_LT(least, wanted);
}

}  // namespace
}  // namespace hardened
