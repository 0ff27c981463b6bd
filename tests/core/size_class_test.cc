#include "hardened/core/size_class.h"

#include <sys/types.h>

#include <algorithm>
#include <vector>

#include "gtest/gtest.h"
#include "hardened/core/slice.h"

namespace hardened::core {
namespace {

// The sizes as the comment of the header states them, by counting up.
std::vector<size_t> ReferenceSizes() {
  std::vector<size_t> sizes;
  for (size_t size = 16; size <= 128; size += 16) sizes.push_back(size);
  for (size_t base = 128; base < 65536; base *= 2) {
    for (size_t step = 1; step <= 8; ++step) sizes.push_back(base + base * step / 8);
  }
  return sizes;
}

TEST(SizeClassTest, TheSizesAreThoseStated) {
  const std::vector<size_t> sizes = ReferenceSizes();
  ASSERT_EQ(sizes.size(), kSizeClassCount);
  for (unsigned c = 0; c < sizes.size(); ++c) EXPECT_EQ(SlotSize(c), sizes[c]);
}

TEST(SizeClassTest, EveryRequestGetsTheSmallestClassThatHoldsIt) {
  const std::vector<size_t> sizes = ReferenceSizes();
  for (size_t bytes = 0; bytes <= kMaxSlotSize; ++bytes) {
    size_t expected = 0;
    while (sizes[expected] < bytes) ++expected;
    ASSERT_EQ(SizeClassOf(bytes), expected) << bytes;
    ASSERT_EQ(ComputeSizeClass(bytes), expected) << bytes;
  }
}

TEST(SizeClassTest, SizesRiseAndComeBackAsTheirOwnClass) {
  for (unsigned c = 0; c < kSizeClassCount; ++c) {
    EXPECT_EQ(SizeClassOf(SlotSize(c)), c);
    EXPECT_EQ(SlotSize(c) % kSlotAlignment, 0u);
    if (c > 0) {
      EXPECT_GT(SlotSize(c), SlotSize(c - 1));
    }
  }
}

TEST(SizeClassTest, ARequestWastesAtMost15BytesUpTo128AndLessThanAnEighthAbove) {
  double shares = 0;
  for (size_t bytes = 1; bytes <= kMaxSlotSize; ++bytes) {
    const size_t waste = SlotSize(SizeClassOf(bytes)) - bytes;
    if (bytes <= 128) {
      ASSERT_LE(waste, 15u) << bytes;
    } else {
      ASSERT_LT(waste * 8, bytes) << bytes;
      shares += static_cast<double>(waste) / static_cast<double>(bytes);
    }
  }
  const double average = shares / static_cast<double>(kMaxSlotSize - 128);
  RecordProperty("average_waste_above_128", std::to_string(average));
  EXPECT_LT(average, 0.0625);
}

TEST(SizeClassTest, EverySlabHoldsEightSlotsAndUsesNineTenthsOfItself) {
  for (unsigned c = 0; c < kSizeClassCount; ++c) {
    const size_t bytes = SlabSlices(c) * kSliceSize;
    EXPECT_GE(SlotsPerSlab(c), 8u) << SlotSize(c);
    EXPECT_LE(SlotsPerSlab(c), kMaxSlotsPerSlab) << SlotSize(c);
    EXPECT_LE(SlotsPerSlab(c) * SlotSize(c), bytes) << SlotSize(c);
    EXPECT_GT((SlotsPerSlab(c) + 1) * SlotSize(c), bytes) << SlotSize(c);
    EXPECT_GE(SlotsPerSlab(c) * SlotSize(c) * 10, bytes * 9) << SlotSize(c);
  }
}

// Nine bits of collision entropy in the distance of two draws out of N: log2(3N/2).
TEST(SizeClassTest, ClassesUpTo256BytesHaveSlotsForNineBits) {
  for (unsigned c = 0; SlotSize(c) <= 256; ++c) EXPECT_GE(SlotsPerSlab(c) * 3, 1024u);
}

struct Bases {
  const char* name;
  uint64_t base;
};

class IndexOfTest : public testing::TestWithParam<Bases> {};

TEST_P(IndexOfTest, IsAValidIndexExactlyAtTheStartsOfSlots) {
  const uint64_t base = GetParam().base;
  for (unsigned c = 0; c < kSizeClassCount; ++c) {
    const ssize_t size = static_cast<ssize_t>(SlotSize(c));
    const ssize_t slab = static_cast<ssize_t>(SlabSlices(c) * kSliceSize);
    const ExactDivisor divisor = ExactDivisorOf(static_cast<uint32_t>(size));
    SliceDescriptor slice{};
    slice.base_low = static_cast<uint32_t>(base);
    slice.inverse = divisor.inverse;
    slice.shift = divisor.shift;
    slice.slot_count = static_cast<uint16_t>(SlotsPerSlab(c));
    // Two slots and a page outside on either side.
    const ssize_t beyond = 2 * size + 4096;
    for (ssize_t offset = -beyond; offset < slab + beyond; ++offset) {
      const uint32_t index = slice.IndexOf(base + static_cast<uint64_t>(offset));
      const bool is_start = offset >= 0 && offset % size == 0 && offset / size < slice.slot_count;
      ASSERT_EQ(index < slice.slot_count, is_start) << size << " " << offset;
      if (is_start) {
        ASSERT_EQ(index, offset / size);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Slabs, IndexOfTest,
                         testing::Values(Bases{"Low", uint64_t{0x10000}},
                                         // The low half of the address wraps within the slab.
                                         Bases{"AcrossFourGiB", uint64_t{0x7f11fffe0000}},
                                         Bases{"High", uint64_t{0x7ffffffb0000}}),
                         [](const auto& row) { return row.param.name; });

TEST(SizeClassTest, EveryByteOfASlabBelongsToTheSlotThatItsOffsetSays) {
  for (unsigned c = 0; c < kSizeClassCount; ++c) {
    const SizeClass size_class = static_cast<SizeClass>(c);
    const uint32_t size = static_cast<uint32_t>(SlotSize(size_class));
    const uint32_t end = static_cast<uint32_t>(SlabSlices(size_class) * kSliceSize);
    for (uint32_t offset = 0; offset < end; ++offset) {
      ASSERT_EQ(SlotIndexAt(offset, size_class), offset / size) << size << " " << offset;
    }
    for (uint32_t offset : {end, 1u << 24, UINT32_MAX}) {
      EXPECT_GE(SlotIndexAt(offset, size_class), SlotsPerSlab(size_class)) << size;
    }
  }
}

}  // namespace
}  // namespace hardened::core
