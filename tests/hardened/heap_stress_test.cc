// heap_stress_test: many threads on Heap<Policy> directly, under ThreadSanitizer too.

#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tests/hardened/heap_under_test.h"
#include "tests/stress/shadow_stress.h"

namespace hardened {
namespace {

#if defined(__SANITIZE_THREAD__)
#define TESTS_UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TESTS_UNDER_TSAN 1
#endif
#endif

AllocationTable Table() {
  return {
      .malloc = [](size_t size) -> void* { return Allocate(size); },
      .calloc = [](size_t count, size_t size) -> void* { return AllocateZeroed(count * size); },
      .realloc = [](void* block, size_t size) -> void* {
        return block == nullptr ? Allocate(size) : Reallocate(block, size);
      },
      .aligned_alloc = [](size_t alignment, size_t size) -> void* {
        return AllocateAligned(alignment, size);
      },
      .free = Free,
      .malloc_usable_size = UsableSize,
  };
}

#ifdef TESTS_UNDER_TSAN
constexpr uint64_t kShare = 10;
#elif defined(NDEBUG)
constexpr uint64_t kShare = 1;
#else
constexpr uint64_t kShare = 4;
#endif

TEST(HeapStressTest, OneThreadKeepsContentsAndLiveBlocksDisjoint) {
  EXPECT_EQ(RunShadowStress(Table(), {.seed = 1, .threads = 1, .operations = 30'000 / kShare}), "");
}

TEST(HeapStressTest, EightThreadsKeepContentsWhileTheyPassBlocksAround) {
  EXPECT_EQ(RunShadowStress(Table(), {.seed = 2,
                                      .operations = 8'000 / kShare,
                                      .live_limit = size_t{100} << 20,
                                      .largest = size_t{1} << 20}),
            "");
}

TEST(HeapStressTest, EightThreadsOnSmallBlocksOnly) {
  EXPECT_EQ(RunShadowStress(Table(), {.seed = 3, .operations = 100'000 / kShare, .largest = 1024}),
            "");
}

TEST(HeapStressTest, ThreadsComeAndGoWithLiveBlocks) {
  EXPECT_EQ(RunShadowStress(Table(), {.seed = 4,
                                      .lives = static_cast<unsigned>(200 / kShare),
                                      .operations = 300,
                                      .largest = 4096}),
            "");
}

// Every block is freed by another thread than the one that made it.
TEST(HeapStressTest, ProducersAndConsumersReachASteadyState) {
  Table();
  constexpr int kRounds = 40;
  constexpr size_t kBlocks = 2000;
  size_t committed = 0;
  std::vector<char*> blocks(kBlocks);
  for (int round = 0; round < kRounds; ++round) {
    std::thread([&blocks, round] {
      for (size_t i = 0; i < kBlocks; ++i) {
        blocks[i] = Allocate(16 + i % 500);
        blocks[i][0] = static_cast<char>(round);
      }
    }).join();
    std::thread([&blocks, round] {
      for (char* block : blocks) {
        EXPECT_EQ(block[0], static_cast<char>(round));
        Free(block);
      }
    }).join();
    if (round == 4) committed = core::heap_state.Counters().committed_bytes;
  }
  EXPECT_LE(core::heap_state.Counters().committed_bytes, 2 * committed);
}

}  // namespace
}  // namespace hardened
