// threads_test: what threads and many live objects cost in memory and maps.
// Figures are read from /proc; nothing here is timed.
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/preload/library_under_test.h"
#include "tests/preload/pattern.h"
#include "tests/support/kernel_guards.h"
#include "tests/support/proc_numbers.h"
#include "tests/support/resident.h"

namespace {

TEST(LibraryTest, TheExpectedLibraryIsInCharge) {
  const LibraryUnderTest library = LibraryUnderTest::Find();
  if (LibraryUnderTest::ExpectedLevel() == "none") {
    EXPECT_EQ(library.get_counters, nullptr);
  } else {
    ASSERT_NE(library.level, nullptr);
    EXPECT_EQ(library.level(), LibraryUnderTest::ExpectedLevel());
  }
}

// Returns: whether the objects kept their contents.
bool PrintCostOf64ByteObjects() {
  constexpr size_t kCount = 100000;
  static void* blocks[kCount];
  std::memset(blocks, 1, sizeof blocks);
  const size_t before_kib = ResidentKib();
  for (void*& block : blocks) {
    block = std::malloc(64);
    FillPattern(block, 64, 1);
  }
  const size_t cost_kib = ResidentKib() - before_kib;
  std::printf("100,000 objects of 64 bytes: %zu KiB more resident, %.1f bytes each\n", cost_kib,
              double(cost_kib) * 1024 / kCount);
  std::fflush(stdout);
  for (void* block : blocks) {
    if (!HasPattern(block, 64, 1)) return false;
    std::free(block);
  }
  return true;
}

// The figure has no bound. In a child, so that what the child's heap keeps hides
// nothing from the tests below.
TEST(ObjectCostTest, PrintsTheResidentCostOf64ByteObjects) {
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) _exit(PrintCostOf64ByteObjects() ? 0 : 1);
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

void* const kFailed = reinterpret_cast<void*>(1);

// A short thread: takes the block its predecessor left, checks and frees it,
// allocates through many classes, and leaves one block live.
void* ShortThread(void* left_behind) {
  if (left_behind != nullptr) {
    if (!HasPattern(left_behind, 500, 500)) return kFailed;
    std::free(left_behind);
  }
  void* blocks[40];
  for (size_t i = 0; i < 40; ++i) {
    blocks[i] = std::malloc(16 + i * i * 10);
    FillPattern(blocks[i], 16 + i * i * 10, i);
  }
  for (size_t i = 0; i < 40; ++i) {
    if (!HasPattern(blocks[i], 16 + i * i * 10, i)) return kFailed;
    std::free(blocks[i]);
  }
  void* leave = std::malloc(500);
  FillPattern(leave, 500, 500);
  return leave;
}

TEST(ThreadCostTest, TenThousandShortThreadsLeaveNothingBehind) {
  const LibraryUnderTest library = LibraryUnderTest::Find();
  void* left_behind = nullptr;
  size_t early_kib = 0, early_maps = 0;
  hardened_counters early = {};
  for (int i = 1; i <= 10000; ++i) {
    pthread_t thread;
    ASSERT_EQ(pthread_create(&thread, nullptr, ShortThread, left_behind), 0);
    pthread_join(thread, &left_behind);
    ASSERT_NE(left_behind, kFailed) << "thread " << i;
    if (i == 1000) {
      early_kib = ResidentKib();
      early_maps = CountMaps();
      if (library.get_counters != nullptr) library.get_counters(&early);
    }
  }
  const size_t late_kib = ResidentKib(), late_maps = CountMaps();
  hardened_counters late = {};
  if (library.get_counters != nullptr) library.get_counters(&late);
  std::free(left_behind);
  std::printf("after 1,000 threads: %zu KiB, %zu maps; after 10,000: %zu KiB, %zu maps\n", early_kib,
              early_maps, late_kib, late_maps);
  ASSERT_GT(early_kib, 0u);
  EXPECT_LE(late_kib, early_kib + 4096);
  EXPECT_LE(late_maps, early_maps + 16);
  EXPECT_EQ(late.live_slots + late.live_runs, early.live_slots + early.live_runs);
}

TEST(ObjectMapsTest, OneHundredThousandMixedObjectsNeedFewMaps) {
  constexpr size_t kCount = 100000;
  std::vector<void*> blocks(kCount);
  auto size_of = [](size_t i) { return 1 + (i * 7919) % 2048; };
  for (size_t i = 0; i < kCount; ++i) {
    blocks[i] = std::malloc(size_of(i));
    FillPattern(blocks[i], size_of(i), i);
  }
  const size_t maps = CountMaps();
  std::printf("100,000 objects of 1 to 2,048 bytes: %zu maps, %zu KiB resident\n", maps,
              ResidentKib());
  // Guards are mappings where the kernel has no others: up to a quarter of those allowed.
  EXPECT_LE(maps, 200 + (KernelHasGuards() ? 0 : FirstNumber("/proc/sys/vm/max_map_count") / 4));
  for (size_t i = 0; i < kCount; ++i) {
    ASSERT_TRUE(HasPattern(blocks[i], size_of(i), i)) << i;
    std::free(blocks[i]);
  }
}

}  // namespace
