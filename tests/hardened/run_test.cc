// run_test: allocations of pages of their own, and what becomes of them when they are freed.

#include <cstring>
#include <vector>

#include "gtest/gtest.h"
#include "tests/hardened/heap_under_test.h"

namespace hardened {
namespace {

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

}  // namespace
}  // namespace hardened
