#include "hardened/bounds/loops.h"

#include <cstddef>
#include <numeric>
#include <vector>

#include "gtest/gtest.h"

namespace hardened::bounds {
namespace {

TEST(LoopsTest, OverlappingBytesAreMovedWhole) {
  for (size_t from = 0; from < 20; ++from) {
    for (size_t to = 0; to < 20; ++to) {
      for (size_t bytes = 0; bytes < 20; ++bytes) {
        std::vector<char> block(40);
        std::iota(block.begin(), block.end(), char{1});
        std::vector<char> expected = block;
        for (size_t i = 0; i < bytes; ++i) expected[to + i] = block[from + i];
        EXPECT_EQ(MoveByLoop(&block[to], &block[from], bytes), &block[to]);
        ASSERT_EQ(block, expected) << from << " " << to << " " << bytes;
      }
    }
  }
}

TEST(LoopsTest, ExactlySoManyAreFilled) {
  for (size_t count = 0; count < 20; ++count) {
    std::vector<wchar_t> block(20, L'-');
    std::vector<wchar_t> expected = block;
    for (size_t i = 0; i < count; ++i) expected[i] = L'x';
    EXPECT_EQ(FillByLoop(block.data(), L'x', count), block.data());
    EXPECT_EQ(block, expected);
  }
}

}  // namespace
}  // namespace hardened::bounds
