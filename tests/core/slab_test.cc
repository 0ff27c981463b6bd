#include "hardened/core/slab.h"

#include <cstdint>
#include <cstring>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/chi_square.h"
#include "tests/support/fake_page_source.h"
#include "tests/support/seeded_stream.h"

namespace hardened::core {
namespace {

constexpr Placement kUniform = {.window_bytes = 0};
constexpr Placement kWindows = {.window_bytes = 256};

class TestSlab {
 public:
  explicit TestSlab(SizeClass size_class, unsigned record_shift = 1, bool zero = true)
      : size_class_(size_class) {
    if (!arena_.Create(pages_, 4 * kSegmentSize, 20 << 10, random_)) ADD_FAILURE() << "no arena";
    bool fresh;
    first_ = arena_.AllocateSpan(SlabSlices(size_class), 1, /*lead=*/0, &fresh);
    block_ = arena_.AllocateMetadata(Slab::MetadataBytes(size_class, record_shift));
    slab_ = ::new (block_) Slab;
    slab_->Initialise(arena_, arena_, first_, size_class, record_shift, zero);
  }
  Slab& operator*() { return *slab_; }
  Slab* operator->() { return slab_; }
  Arena& arena() { return arena_; }

  uint32_t IndexOf(const MagazineEntry& entry) const {
    const uintptr_t distance = reinterpret_cast<uintptr_t>(entry.slot) - slab_->base();
    EXPECT_EQ(distance % SlotSize(size_class_), 0u);
    const uint32_t index = static_cast<uint32_t>(distance / SlotSize(size_class_));
    EXPECT_LT(index, slab_->slot_count());
    EXPECT_EQ(entry.record, slab_->RecordAt(index));
    EXPECT_EQ(slab_->IndexOfRecord(entry.record), index);
    return index;
  }
  // One free slot.
  uint32_t DrawOne(const Placement& placement, prim::RandomStream& random) {
    MagazineEntry entry = {};
    EXPECT_EQ(slab_->Draw(placement, random, 1, &entry), 1u);
    return IndexOf(entry);
  }

 private:
  const SizeClass size_class_;
  FakePageSource pages_;
  SeededStream random_{1};
  Arena arena_;
  uint32_t first_;
  void* block_;
  Slab* slab_;
};

struct DrawRow {
  const char* name;
  Placement placement;
};

class SlabDrawTest : public testing::TestWithParam<DrawRow> {};

TEST_P(SlabDrawTest, NeverGivesATakenSlotAndGivesEveryFreeOne) {
  SeededStream random(11);
  for (unsigned c = 0; c < kSizeClassCount; c += 5) {
    TestSlab slab(static_cast<SizeClass>(c), /*record_shift=*/1 + c % 2);
    std::vector<uint32_t> taken;
    std::vector<bool> is_taken(slab->slot_count());
    for (int round = 0; round < 300; ++round) {
      MagazineEntry drawn[64];
      const uint32_t wanted = 1 + random.Below(64);
      const uint32_t free = slab->free_count();
      const uint32_t count = slab->Draw(GetParam().placement, random, wanted, drawn);
      ASSERT_LE(count, wanted);
      if (free > 0) {
        ASSERT_GT(count, 0u);
      }
      ASSERT_EQ(slab->free_count(), free - count);
      for (uint32_t i = 0; i < count; ++i) {
        const uint32_t index = slab.IndexOf(drawn[i]);
        ASSERT_FALSE(is_taken[index]) << "slot " << index << " given twice";
        is_taken[index] = true;
        taken.push_back(index);
      }
      // Full twice in a while, so that the last slots are drawn as well.
      const uint32_t back = round % 100 < 70 ? random.Below(60) : 0;
      for (uint32_t i = 0; i < back && !taken.empty(); ++i) {
        const size_t which = random.Below(static_cast<uint32_t>(taken.size()));
        slab->Return(taken[which]);
        is_taken[taken[which]] = false;
        taken[which] = taken.back();
        taken.pop_back();
      }
      ASSERT_EQ(slab->free_count() + taken.size(), slab->slot_count());
    }
    while (slab->free_count() > 0) {
      const uint32_t index = slab.DrawOne(GetParam().placement, random);
      ASSERT_FALSE(is_taken[index]);
      is_taken[index] = true;
    }
    MagazineEntry none;
    EXPECT_EQ(slab->Draw(GetParam().placement, random, 1, &none), 0u);
    for (uint32_t i = 0; i < slab->slot_count(); ++i) slab->Return(i);
    EXPECT_TRUE(slab->empty());
  }
}

INSTANTIATE_TEST_SUITE_P(Placements, SlabDrawTest,
                         testing::Values(DrawRow{"Uniform", kUniform},
                                         DrawRow{"Windows", kWindows}),
                         [](const auto& row) { return row.param.name; });

// ---- uniform placement

// Counts of `draws` single draws among the slots that `keep_free` leaves free.
std::vector<uint64_t> CountDraws(SizeClass size_class, uint32_t keep_free, int draws,
                                 uint64_t seed) {
  TestSlab slab(size_class);
  SeededStream random(seed);
  std::vector<bool> is_free(slab->slot_count(), true);
  for (uint32_t left = slab->slot_count(); left > keep_free; --left) {
    is_free[slab.DrawOne(kUniform, random)] = false;
  }
  std::vector<uint64_t> counts(slab->slot_count());
  for (int i = 0; i < draws; ++i) {
    const uint32_t index = slab.DrawOne(kUniform, random);
    ++counts[index];
    slab->Return(index);
  }
  std::vector<uint64_t> of_free;
  for (uint32_t i = 0; i < counts.size(); ++i) {
    if (is_free[i]) of_free.push_back(counts[i]);
    if (!is_free[i]) {
      EXPECT_EQ(counts[i], 0u);
    }
  }
  return of_free;
}

struct UniformRow {
  const char* name;
  size_t slot_size;
  uint32_t divisor;  // the slots of the slab by this are free
};

class SlabUniformTest : public testing::TestWithParam<UniformRow> {};

constexpr int kDraws = 2'000'000;

TEST_P(SlabUniformTest, EveryFreeSlotIsDrawnEquallyOften) {
  const SizeClass size_class = SizeClassOf(GetParam().slot_size);
  const uint32_t free = SlotsPerSlab(size_class) / GetParam().divisor;
  const std::vector<uint64_t> counts = CountDraws(size_class, free, kDraws, 21);
  ASSERT_EQ(counts.size(), free);
  EXPECT_LT(ChiSquare(counts), ChiSquareBound(free));
}

INSTANTIATE_TEST_SUITE_P(Slabs, SlabUniformTest,
                         testing::Values(UniformRow{"AllFree1024", 1024, 1},
                                         UniformRow{"HalfFree1024", 512, 2},
                                         UniformRow{"FewFree256", 256, 9},
                                         UniformRow{"FewFree48", 48, 20},
                                         UniformRow{"AllFree48", 48, 1}),
                         [](const auto& row) { return row.param.name; });

// The statistic sees a generator that prefers half of the slots by one percent.
TEST(SlabTest, TheStatisticRejectsABiasOfOnePercent) {
  constexpr uint32_t kSlots = 64;
  SeededStream random(22);
  for (const bool biased : {false, true}) {
    std::vector<uint64_t> counts(kSlots);
    for (int i = 0; i < kDraws; ++i) {
      uint32_t slot = random.Below(kSlots);
      if (biased && slot >= kSlots / 2 && random.Below(100) == 0) slot -= kSlots / 2;
      ++counts[slot];
    }
    EXPECT_EQ(ChiSquare(counts) >= ChiSquareBound(kSlots), biased);
  }
}

// Capability C6: P(next slot adjacent) <= 1/capacity + epsilon, for the first draws of a slab and
// for draws from one that is in use.
TEST(SlabTest, TheNextSlotIsAdjacentNoMoreOftenThanByChance) {
  SeededStream random(23);
  for (const uint32_t taken : {0u, 30u, 59u}) {
    TestSlab slab(SizeClassOf(1024));
    for (uint32_t i = 0; i < taken; ++i) slab.DrawOne(kUniform, random);
    constexpr int kPairs = 200'000;
    int adjacent = 0;
    int adjacent_possible = 0;
    for (int i = 0; i < kPairs; ++i) {
      MagazineEntry pair[2];
      uint32_t got = slab->Draw(kUniform, random, 2, pair);
      while (got < 2) got += slab->Draw(kUniform, random, 1, pair + got);
      const uint32_t first = slab.IndexOf(pair[0]);
      const uint32_t second = slab.IndexOf(pair[1]);
      adjacent += second == first + 1;
      slab->Return(first);
      slab->Return(second);
    }
    // Ordered pairs of free neighbours, of all ordered pairs of free slots.
    std::set<uint32_t> free;
    while (slab->free_count() > 0) free.insert(slab.DrawOne(kUniform, random));
    for (const uint32_t index : free) adjacent_possible += free.count(index + 1);
    const double pairs = static_cast<double>(free.size()) * static_cast<double>(free.size() - 1);
    const double expected = kPairs * adjacent_possible / pairs;
    EXPECT_NEAR(adjacent, expected, 5 * std::sqrt(expected) + 1);
  }
}

// ---- placement in windows

TEST(SlabTest, DrawsInOrderStayInTheirWindow) {
  SeededStream random(31);
  for (const size_t size : {16u, 32u, 48u, 64u, 96u, 128u, 256u, 1024u}) {
    TestSlab slab(SizeClassOf(size));
    const uint32_t window = kWindows.window_bytes / static_cast<uint32_t>(size);
    uint32_t next = 0;
    while (slab->free_count() > 0) {
      MagazineEntry drawn[64];
      const uint32_t count = slab->Draw(kWindows, random, 64, drawn);
      for (uint32_t i = 0; i < count; ++i) {
        const uint32_t index = slab.IndexOf(drawn[i]);
        const uint32_t start = window < 2 ? i : i / window * window;
        const uint32_t width = window < 2 ? 1 : window;
        EXPECT_GE(index, next + start) << size;
        EXPECT_LT(index, next + start + width) << size;
      }
      next += count;
    }
  }
}

TEST(SlabTest, EveryOrderWithinAWindowIsEquallyLikely) {
  SeededStream random(32);
  TestSlab slab(SizeClassOf(64));  // four slots to a window: 24 orders
  std::vector<uint64_t> counts(256);
  for (int i = 0; i < 100'000; ++i) {
    MagazineEntry drawn[4];
    ASSERT_EQ(slab->Draw(kWindows, random, 4, drawn), 4u);
    uint32_t order = 0;
    for (const MagazineEntry& entry : drawn) {
      order = order * 4 + slab.IndexOf(entry);
      slab->Return(slab.IndexOf(entry));
    }
    ++counts[order];
  }
  std::vector<uint64_t> seen;
  for (const uint64_t count : counts) {
    if (count > 0) seen.push_back(count);
  }
  ASSERT_EQ(seen.size(), 24u);
  EXPECT_LT(ChiSquare(seen), ChiSquareBound(24) + 12);
}

TEST(SlabTest, AReturnedLowSlotIsTheNextInOrder) {
  SeededStream random(33);
  TestSlab slab(SizeClassOf(1024));
  for (uint32_t i = 0; i < 64; ++i) EXPECT_EQ(slab.DrawOne(kWindows, random), i);
  for (const uint32_t index : {40u, 3u, 63u}) slab->Return(index);
  for (const uint32_t index : {3u, 40u, 63u}) EXPECT_EQ(slab.DrawOne(kWindows, random), index);
}

// ---- state

TEST(SlabTest, RecordsOfAFreshSlabTellWhetherItIsZero) {
  for (const bool zero : {true, false}) {
    TestSlab slab(SizeClassOf(48), /*record_shift=*/2, zero);
    for (uint32_t i = 0; i < slab->slot_count(); ++i) {
      ASSERT_EQ(IsKnownZero(*slab->RecordAt(i)), zero);
      ASSERT_TRUE(NeverHandedOut(*slab->RecordAt(i)));
    }
  }
}

TEST(SlabTest, DescribesEverySliceOfItself) {
  for (unsigned c = 0; c < kSizeClassCount; ++c) {
    const unsigned record_shift = 1 + c % 2;
    TestSlab slab(static_cast<SizeClass>(c), record_shift);
    ThreadHeap* const owner = reinterpret_cast<ThreadHeap*>(0x1234);
    DescribeSlab(*slab, owner);
    SeededStream random(c);
    while (slab->free_count() > 0) {
      MagazineEntry entry = {};
      slab->Draw(kUniform, random, 1, &entry);
      const uintptr_t address = reinterpret_cast<uintptr_t>(entry.slot);
      const SliceDescriptor& slice = slab.arena().SliceAt(address);
      ASSERT_EQ(slice.owner.load(), owner);
      ASSERT_EQ(slice.use, SliceUse::kSlab);
      ASSERT_EQ(slice.size_class, c);
      ASSERT_EQ(&slice.RecordAt(slice.IndexOf(address), record_shift), entry.record);
    }
    EXPECT_EQ(Slab::OfRecords(slab->records()), &*slab);
  }
}

// Records, then the bitmap, within the block: all of it is used and none beyond.
TEST(SlabTest, RecordsDoNotReachIntoTheBitmapNorPastTheBlock) {
  for (unsigned c = 0; c < kSizeClassCount; ++c) {
    for (const unsigned record_shift : {1u, 2u}) {
      TestSlab slab(static_cast<SizeClass>(c), record_shift);
      const uint32_t count = slab->slot_count();
      for (uint32_t i = 0; i < count; ++i) {
        slab->RecordAt(i)->store(0xffff);
        if (record_shift == 2) slab->RecordAt(i)[1].store(0xffff);
      }
      SeededStream random(c);
      std::set<uint32_t> drawn;
      while (slab->free_count() > 0) drawn.insert(slab.DrawOne(kUniform, random));
      EXPECT_EQ(drawn.size(), count) << "the bitmap was written over";
      const uintptr_t end = reinterpret_cast<uintptr_t>(&*slab) +
                            Slab::MetadataBytes(static_cast<SizeClass>(c), record_shift);
      EXPECT_LE(reinterpret_cast<uintptr_t>(slab->RecordAt(count)) + (count + 63) / 64 * 8, end);
      EXPECT_EQ(slab->IndexOfRecord(slab->records() - 1), UINT32_MAX);
      EXPECT_EQ(slab->IndexOfRecord(slab->RecordAt(count)), UINT32_MAX);
    }
  }
}

// Of each class, with a third of the slots taken: exactly the pages without a taken slot are given
// back.
TEST(SlabTest, DropsThePagesOfWhichAllSlotsAreFree) {
  constexpr size_t kPage = 4096;
  SeededStream random(12);
  for (unsigned c = 0; c < kSizeClassCount; c += 3) {
    const SizeClass size_class = static_cast<SizeClass>(c);
    TestSlab slab(size_class);
    const size_t bytes = size_t{slab->slot_count()} * SlotSize(size_class);
    const size_t pages = (bytes + kPage - 1) / kPage;
    std::set<size_t> kept;
    // Few enough that some pages of small slots have none.
    const uint32_t taken = 1 + slab->slot_count() / (SlotSize(size_class) < 1024 ? 64 : 3);
    for (uint32_t i = 0; i < taken; ++i) {
      const size_t start = slab.DrawOne(kUniform, random) * SlotSize(size_class);
      for (size_t page = start / kPage; page <= (start + SlotSize(size_class) - 1) / kPage;
           ++page) {
        kept.insert(page);
      }
    }
    memset(reinterpret_cast<void*>(slab->base()), 1, bytes);
    const size_t dropped = slab->DropFreePages();
    for (size_t page = 0; page < pages; ++page) {
      const char first = *reinterpret_cast<const char*>(slab->base() + page * kPage);
      EXPECT_EQ(first, kept.count(page) != 0 ? 1 : 0) << "class " << c << " page " << page;
    }
    EXPECT_LE(dropped, (pages - kept.size()) * kPage);
    EXPECT_GT(dropped + kPage, (pages - kept.size()) * kPage);
  }
}

// In the order of addresses what is drawn again is not counted again.
TEST(SlabTest, KnowsHowMuchMayBeTouched) {
  constexpr size_t kSize = 16 << 10;
  const auto redraw = [](const Placement& placement, bool zero) {
    TestSlab slab(SizeClassOf(kSize), /*record_shift=*/1, zero);
    EXPECT_EQ(slab->touched_bytes(), zero ? 0 : slab->span_bytes());
    SeededStream random(13);
    for (int i = 0; i < 3; ++i) {
      MagazineEntry drawn[4];
      EXPECT_EQ(slab->Draw(placement, random, 4, drawn), 4u);
      for (const MagazineEntry& entry : drawn) slab->Return(slab.IndexOf(entry));
    }
    return slab->touched_bytes();
  };
  EXPECT_EQ(redraw(kWindows, true), 4 * kSize);
  EXPECT_EQ(redraw(kUniform, true), 12 * kSize);
  EXPECT_EQ(redraw(kUniform, false), size_t{512} << 10);
}

TEST(SlabDeathTest, ReturningASlotThatIsFreeFailsACheck) {
  TestSlab slab(SizeClassOf(64));
  SeededStream random(41);
  const uint32_t index = slab.DrawOne(kUniform, random);
  slab->Return(index);
  constexpr char kMessage[] =
      "hardened: internal error: (./)?hardened/core/slab\\.[a-z]+:[0-9]+: "
      "index < slot_count_ && \\(word & bit\\) == 0";
  EXPECT_DEATH(slab->Return(index), kMessage);
  EXPECT_DEATH(slab->Return(slab->slot_count()), kMessage);
  EXPECT_DEATH(slab->Return(index == 0), kMessage) << "never drawn";
}

}  // namespace
}  // namespace hardened::core
