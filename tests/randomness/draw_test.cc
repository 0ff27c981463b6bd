// Raw draws of slabs: uniform over the free slots on every path, and worth their bits. All seeds
// are fixed, so a result is the same in every run; the bounds are those that a fresh seed would
// pass.

#include <cmath>
#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "hardened/core/slab.h"
#include "tests/randomness/collisions.h"
#include "tests/support/chi_square.h"
#include "tests/support/fake_page_source.h"
#include "tests/support/seeded_stream.h"

namespace hardened::core {
namespace {

constexpr Placement kUniform = {.window_bytes = 0};
constexpr Placement kWindows = {.window_bytes = 256};
constexpr double kPromisedBits = 9;
constexpr double kPromisedDecay = 0.5;

class TestSlab {
 public:
  explicit TestSlab(SizeClass size_class) : size_class_(size_class) {
    if (!arena_.Create(pages_, 4 * kSegmentSize, 20 << 10, random_)) ADD_FAILURE() << "no arena";
    bool zero;
    const uint32_t first = arena_.AllocateSpan(SlabSlices(size_class), 1, /*lead=*/0, &zero);
    void* block = arena_.AllocateMetadata(Slab::MetadataBytes(size_class, /*record_shift=*/1));
    slab_ = ::new (block) Slab;
    slab_->Initialise(arena_, arena_, first, size_class, /*record_shift=*/1, /*zero=*/true);
  }
  Slab& operator*() { return *slab_; }
  Slab* operator->() { return slab_; }
  uint32_t IndexOf(const MagazineEntry& entry) const {
    return static_cast<uint32_t>((reinterpret_cast<uintptr_t>(entry.slot) - slab_->base()) /
                                 SlotSize(size_class_));
  }
  // Draws until `count` slots have come, as many refills do, and appends them.
  void Draw(const Placement& placement, prim::RandomStream& random, uint32_t count,
            std::vector<uint32_t>* drawn) {
    constexpr uint32_t kRefill = 128;
    MagazineEntry entries[kRefill];
    while (count > 0) {
      const uint32_t got =
          slab_->Draw(placement, random, count < kRefill ? count : kRefill, entries);
      ASSERT_GT(got, 0u);
      for (uint32_t i = 0; i < got; ++i) drawn->push_back(IndexOf(entries[i]));
      count -= got;
    }
  }
  void Return(std::vector<uint32_t>* drawn) {
    for (const uint32_t index : *drawn) slab_->Return(index);
    drawn->clear();
  }

 private:
  const SizeClass size_class_;
  FakePageSource pages_;
  SeededStream random_{1};
  Arena arena_;
  Slab* slab_;
};

// ---- uniform over the free slots

struct DrawRow {
  const char* name;
  size_t slot_size;
  double free_share;  // of the slots of the slab
  uint32_t batch;     // slots drawn at once; the last of them is counted
};

class DrawTest : public testing::TestWithParam<DrawRow> {};

// The same draws are counted twice: as they come, and through a sampler that is biased by one
// percent: one in a hundred draws from the upper half of the free slots goes to the lower half.
TEST_P(DrawTest, IsUniformAndABiasOfOnePercentIsRejected) {
  constexpr int kDraws = 8'000'000;
  const SizeClass size_class = SizeClassOf(GetParam().slot_size);
  TestSlab slab(size_class);
  SeededStream random(101);
  SeededStream coin(102);
  const uint32_t slots = slab->slot_count();
  const uint32_t free = static_cast<uint32_t>(GetParam().free_share * slots);
  std::vector<uint32_t> taken;
  slab.Draw(kUniform, random, slots - free, &taken);
  std::vector<bool> is_taken(slots);
  for (const uint32_t index : taken) is_taken[index] = true;
  // Rank of each free slot among them.
  std::vector<uint32_t> rank(slots);
  for (uint32_t i = 0, next = 0; i < slots; ++i) rank[i] = is_taken[i] ? free : next++;

  std::vector<uint64_t> counts(free);
  std::vector<uint64_t> biased(free);
  std::vector<MagazineEntry> drawn(GetParam().batch);
  for (int i = 0; i < kDraws; ++i) {
    // A refill across the border of the two ways to draw gives less.
    const uint32_t got = slab->Draw(kUniform, random, GetParam().batch, drawn.data());
    ASSERT_GT(got, 0u);
    for (uint32_t j = 0; j < got; ++j) slab->Return(slab.IndexOf(drawn[j]));
    uint32_t at = rank[slab.IndexOf(drawn[got - 1])];
    ASSERT_LT(at, free) << "a taken slot was drawn";
    ++counts[at];
    if (at >= free - free / 2 && coin.Below(100) == 0) at -= free - free / 2;
    ++biased[at];
  }
  EXPECT_LT(ChiSquare(counts), ChiSquareBound(free));
  EXPECT_GT(ChiSquare(biased), ChiSquareBound(free)) << "the statistic would not see a bias";
}

// By rejection while the slots that stay free are an eighth of all, by a shuffle when the free ones
// are.
INSTANTIATE_TEST_SUITE_P(Slabs, DrawTest,
                         testing::Values(DrawRow{"FreshOf64", 64, 1, 1},
                                         DrawRow{"FreshOf64Batch", 64, 1, 8},
                                         DrawRow{"FreshOf176", 176, 1, 1},
                                         DrawRow{"HalfFullOf64", 64, 0.5, 1},
                                         DrawRow{"HalfFullOf176Batch", 176, 0.5, 8},
                                         DrawRow{"JustRejectionOf64", 64, 0.13, 1},
                                         DrawRow{"AcrossTheBorderOf64", 64, 0.13, 32},
                                         DrawRow{"JustShuffleOf64", 64, 0.125, 1},
                                         DrawRow{"NearlyFullOf64Batch", 64, 0.1, 8},
                                         DrawRow{"NearlyFullOf16Batch", 16, 0.02, 8},
                                         DrawRow{"NearlyFullOf176", 176, 0.1, 1}),
                         [](const auto& row) { return row.param.name; });

// Two draws of one batch: every ordered pair of different slots alike. A generator that draws each
// uniformly but together badly fails here only.
TEST(DrawTest, PairsOfABatchAreUniformAndABiasOfOnePercentIsRejected) {
  for (const uint32_t free : {40u, 8u}) {  // by rejection and by shuffle, of 64 slots
    TestSlab slab(SizeClassOf(1024));
    SeededStream random(103);
    SeededStream coin(104);
    std::vector<uint32_t> taken;
    slab.Draw(kUniform, random, slab->slot_count() - free, &taken);
    std::vector<uint32_t> rank(slab->slot_count());
    for (const uint32_t index : taken) rank[index] = UINT32_MAX;
    for (uint32_t i = 0, next = 0; i < rank.size(); ++i) {
      if (rank[i] == 0) rank[i] = next++;
    }
    std::vector<uint64_t> counts(free * (free - 1));
    std::vector<uint64_t> biased(counts.size());
    for (int i = 0; i < 12'000'000; ++i) {
      MagazineEntry drawn[2];
      ASSERT_EQ(slab->Draw(kUniform, random, 2, drawn), 2u);
      slab->Return(slab.IndexOf(drawn[0]));
      slab->Return(slab.IndexOf(drawn[1]));
      const uint32_t first = rank[slab.IndexOf(drawn[0])];
      const uint32_t second = rank[slab.IndexOf(drawn[1])];
      uint32_t at = first * (free - 1) + second - (second > first);
      ++counts[at];
      const uint32_t half = static_cast<uint32_t>(counts.size() / 2);
      if (at >= half && coin.Below(100) == 0) at -= half;
      ++biased[at];
    }
    EXPECT_LT(ChiSquare(counts), ChiSquareBound(counts.size())) << free;
    EXPECT_GT(ChiSquare(biased), ChiSquareBound(counts.size())) << free;
  }
}

// ---- entropy of distances

// Collisions of the distance between the draws `which` and `which + 1` after `before` others were
// drawn, over slabs with seeds of their own.
Collisions CountDistances(SizeClass size_class, const Placement& placement, uint32_t before,
                          int samples) {
  TestSlab slab(size_class);
  std::vector<uint32_t> drawn;
  std::vector<int64_t> distances;
  for (int seed = 0; seed < samples; ++seed) {
    SeededStream random(1000 + static_cast<uint64_t>(seed));
    slab.Draw(placement, random, before + 2, &drawn);
    distances.push_back(int64_t{drawn[before + 1]} - int64_t{drawn[before]});
    slab.Return(&drawn);
  }
  Collisions collisions;
  collisions.Add(distances);
  return collisions;
}

std::vector<SizeClass> ClassesUpTo256() {
  std::vector<SizeClass> classes;
  for (unsigned c = 0; SlotSize(static_cast<SizeClass>(c)) <= 256; ++c) {
    classes.push_back(static_cast<SizeClass>(c));
  }
  return classes;
}

// 20,000 samples of 9 bits: 390,000 equal pairs; the standard error is below 0.01 bits.
constexpr int kSamples = 20'000;

TEST(DrawEntropyTest, FirstAndHundredthDistanceHaveTheBitsOfUniformDraws) {
  for (const SizeClass size_class : ClassesUpTo256()) {
    const double expected = BitsOfUniformDistance(SlotsPerSlab(size_class));
    for (const uint32_t before : {0u, 98u}) {
      const double bits = CountDistances(size_class, kUniform, before, kSamples).Bits();
      EXPECT_GE(bits, kPromisedBits) << SlotSize(size_class) << " after " << before;
      EXPECT_NEAR(bits, expected, 0.06) << SlotSize(size_class) << " after " << before;
    }
  }
}

TEST(DrawEntropyTest, ANearlyFullSlabHasLostNothing) {
  for (const SizeClass size_class : ClassesUpTo256()) {
    const double expected = BitsOfUniformDistance(SlotsPerSlab(size_class));
    const uint32_t before = SlotsPerSlab(size_class) * 15 / 16;
    const double bits = CountDistances(size_class, kUniform, before, 2'000).Bits();
    EXPECT_GE(bits, expected - kPromisedDecay) << SlotSize(size_class);
    EXPECT_NEAR(bits, expected, 0.25) << SlotSize(size_class);
  }
}

// One slab through which 10^6 objects have gone: half full, replaced at random. Distances at
// moments that lie 500 objects apart.
TEST(DrawEntropyTest, TheMillionthObjectHasLostNothing) {
  for (const SizeClass size_class : ClassesUpTo256()) {
    TestSlab slab(size_class);
    SeededStream random(105);
    SeededStream choices(106);
    std::vector<uint32_t> live;
    slab.Draw(kUniform, random, slab->slot_count() / 2, &live);
    std::vector<int64_t> late;
    for (int object = 0; object < 3'000'000; ++object) {
      uint32_t& place = live[choices.Below(static_cast<uint32_t>(live.size()))];
      slab->Return(place);
      MagazineEntry entries[2];
      ASSERT_EQ(slab->Draw(kUniform, random, 2, entries), 2u);
      if (object >= 1'000'000 && object % 500 == 0) {
        late.push_back(int64_t{slab.IndexOf(entries[1])} - int64_t{slab.IndexOf(entries[0])});
      }
      slab->Return(slab.IndexOf(entries[1]));
      place = slab.IndexOf(entries[0]);
    }
    Collisions collisions;
    collisions.Add(late);
    const double fresh = BitsOfUniformDistance(SlotsPerSlab(size_class));
    EXPECT_GE(collisions.Bits(), fresh - kPromisedDecay) << SlotSize(size_class);
    EXPECT_GE(collisions.Bits(), kPromisedBits - 0.15) << SlotSize(size_class);
  }
}

// The statistic rejects what the light level does, and draws from half of the slab.
TEST(DrawEntropyTest, WeakPlacementFailsTheStatistic) {
  const SizeClass of_64 = SizeClassOf(64);
  EXPECT_LT(CountDistances(of_64, kWindows, 0, kSamples).Bits(), 3);
  const double half = BitsOfUniformDistance(SlotsPerSlab(of_64) / 2);
  EXPECT_LT(half, BitsOfUniformDistance(SlotsPerSlab(of_64)) - kPromisedDecay);
}

}  // namespace
}  // namespace hardened::core
