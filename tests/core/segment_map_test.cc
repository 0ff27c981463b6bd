#include "hardened/core/segment_map.h"

#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "hardened/core/arena.h"
#include "tests/support/fake_page_source.h"
#include "tests/support/seeded_stream.h"

namespace hardened::core {
namespace {

class SegmentMapTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(metadata_.Create(pages_, 4 * kSegmentSize, 20 << 10, random_));
  }

  FakePageSource pages_;
  SeededStream random_{1};
  Arena metadata_;
  Arena others_[3];  // stand for arenas: the map never looks into them
  std::unique_ptr<SegmentMap> map_ = std::make_unique<SegmentMap>();
};

struct Range {
  uintptr_t start;
  size_t bytes;
};

constexpr uintptr_t kLeafBytes = uintptr_t{1} << (kSegmentShift + SegmentMap::kLeafBits);
constexpr uintptr_t kTop = uintptr_t{1} << kAddressBits;

TEST_F(SegmentMapTest, AnEmptyMapKnowsNoAddress) {
  for (const uintptr_t address : {uintptr_t{0}, uintptr_t{1}, kSegmentSize, kLeafBytes, kTop - 1,
                                  kTop, ~uintptr_t{0}, uintptr_t{1} << 63}) {
    EXPECT_EQ(map_->Find(address), nullptr) << std::hex << address;
  }
}

TEST_F(SegmentMapTest, EverySegmentOfARegisteredRangeIsFoundAndItsNeighboursAreNot) {
  const Range ranges[] = {
      {100 * kSegmentSize, kSegmentSize},
      // Across two leaves, and across more than one whole leaf.
      {kLeafBytes * 5 - 2 * kSegmentSize, 4 * kSegmentSize},
      {kLeafBytes * 100 - kSegmentSize, kLeafBytes + 3 * kSegmentSize},
  };
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(map_->Register(ranges[i].start, ranges[i].bytes, &others_[i], metadata_));
  }
  for (int i = 0; i < 3; ++i) {
    const Range& range = ranges[i];
    for (uintptr_t at = range.start; at < range.start + range.bytes; at += kSegmentSize) {
      ASSERT_EQ(map_->Find(at), &others_[i]);
      ASSERT_EQ(map_->Find(at + random_.Below(kSegmentSize)), &others_[i]);
      ASSERT_EQ(map_->Find(at + kSegmentSize - 1), &others_[i]);
    }
    EXPECT_EQ(map_->Find(range.start - 1), nullptr);
    EXPECT_EQ(map_->Find(range.start + range.bytes), nullptr);
    // The same low bits beyond the user's address space, and negated.
    EXPECT_EQ(map_->Find(range.start + kTop), nullptr);
    EXPECT_EQ(map_->Find(range.start | uintptr_t{1} << 63), nullptr);
  }
}

TEST_F(SegmentMapTest, TheLastSegmentOfTheAddressSpaceCanBeRegistered) {
  ASSERT_TRUE(map_->Register(kTop - kSegmentSize, kSegmentSize, &others_[0], metadata_));
  EXPECT_EQ(map_->Find(kTop - 1), &others_[0]);
  EXPECT_EQ(map_->Find(0), nullptr);
}

TEST_F(SegmentMapTest, ARangeBeyondTheAddressSpaceIsRefused) {
  EXPECT_FALSE(map_->Register(kTop - kSegmentSize, 2 * kSegmentSize, &others_[0], metadata_));
  EXPECT_FALSE(map_->Register(kTop, kSegmentSize, &others_[0], metadata_));
}

TEST_F(SegmentMapTest, AnUnregisteredRangeIsNotFoundAndItsNeighboursAre) {
  const uintptr_t start = kLeafBytes * 3 - 2 * kSegmentSize;
  ASSERT_TRUE(map_->Register(start - kSegmentSize, kSegmentSize, &others_[0], metadata_));
  ASSERT_TRUE(map_->Register(start, 4 * kSegmentSize, &others_[1], metadata_));
  ASSERT_TRUE(map_->Register(start + 4 * kSegmentSize, kSegmentSize, &others_[2], metadata_));
  map_->Unregister(start, 4 * kSegmentSize, others_[1]);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(map_->Find(start + i * kSegmentSize), nullptr);
  EXPECT_EQ(map_->Find(start - 1), &others_[0]);
  EXPECT_EQ(map_->Find(start + 4 * kSegmentSize), &others_[2]);
}

TEST_F(SegmentMapTest, AFailedRegistrationCanBeUndone) {
  ASSERT_FALSE(map_->Register(kTop - kSegmentSize, 2 * kSegmentSize, &others_[0], metadata_));
  map_->Unregister(kTop - kSegmentSize, 2 * kSegmentSize, others_[1]);
  EXPECT_EQ(map_->Find(kTop - 1), nullptr);
}

TEST_F(SegmentMapTest, WithoutMetadataForALeafRegisteringFails) {
  while (metadata_.AllocateMetadata(sizeof(SegmentMap::Leaf)) != nullptr) {
  }
  EXPECT_FALSE(map_->Register(kSegmentSize, kSegmentSize, &others_[0], metadata_));
  EXPECT_EQ(map_->Find(kSegmentSize), nullptr);
}

}  // namespace
}  // namespace hardened::core
