#include "hardened/core/arena.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/fake_page_source.h"
#include "tests/support/seeded_stream.h"

namespace hardened::core {
namespace {

constexpr size_t kHeapBytes = 64 << 20;
constexpr size_t kBlockBytesPerSlice = 20 << 10;

// No room for it, or no memory.
bool IsSpan(uint32_t first) { return first < kRefusedSpan; }

uint64_t* WordsOf(const Arena& arena, uint32_t slice) {
  return reinterpret_cast<uint64_t*>(arena.AddressOf(slice));
}

bool ReadsAsZero(const Arena& arena, uint32_t first, uint32_t slices) {
  const uint64_t* words = WordsOf(arena, first);
  uint64_t any = 0;
  for (size_t i = 0; i < slices * (kSliceSize / sizeof(uint64_t)); ++i) any |= words[i];
  return any == 0;
}

struct TestArena {
  FakePageSource pages;
  SeededStream random;
  Arena arena;

  explicit TestArena(size_t heap_bytes = kHeapBytes, uint64_t seed = 1) : random(seed) {
    if (!arena.Create(pages, heap_bytes, kBlockBytesPerSlice, random)) ADD_FAILURE() << "no arena";
  }
  uint32_t Allocate(uint32_t slices, uint32_t alignment = 1) {
    bool zero;
    return arena.AllocateSpan(slices, alignment, /*lead=*/0, &zero);
  }
  uint64_t Segments() { return arena.Counters().grown_bytes / kSegmentSize; }
};

// ---- a model of used spans, checked after each step

class ArenaModelTest : public testing::TestWithParam<uint64_t> {
 protected:
  void SetUp() override { arena_.set_purge_policy({.dirty_limit_bytes = 8 << 20}); }

  void Allocate() {
    const uint32_t slices = random_.Between(1, 1u << random_.Below(6));
    const uint32_t alignment = random_.Below(4) == 0 ? 1u << random_.Below(7) : 1;
    const uint32_t lead = random_.Below(2) * random_.Below(slices);
    bool zero = false;
    const uint32_t first = arena_.AllocateSpan(slices, alignment, lead, &zero);
    if (!IsSpan(first)) return;
    ASSERT_EQ(arena_.AddressOf(first + lead) % (alignment * kSliceSize), 0u);
    AddRange(first, slices);
    if (zero) {
      ASSERT_TRUE(ReadsAsZero(arena_, first, slices)) << "said to be zero";
    }
    used_[first] = {slices, !zero};
  }
  // Fails when a slice of the range is in use.
  void AddRange(uint32_t first, uint32_t slices) {
    ASSERT_GE(first, 1u) << "the first slice of an arena is never handed out";
    ASSERT_LE(arena_.AddressOf(first + slices), arena_.base() + kHeapBytes);
    auto behind = used_.lower_bound(first);
    if (behind != used_.end()) {
      ASSERT_GE(behind->first, first + slices) << "overlap";
    }
    if (behind == used_.begin()) return;
    --behind;
    ASSERT_LE(behind->first + behind->second.slices, first) << "overlap";
  }
  void Write(uint32_t first) {
    const uint32_t slice = first + random_.Below(used_[first].slices);
    WordsOf(arena_, slice)[random_.Below(kSliceSize / sizeof(uint64_t))] = random_.Next64() | 1;
    used_[first].dirty = true;
  }
  void Free(uint32_t first) {
    arena_.FreeSpan(first, used_[first].dirty, now_);
    used_.erase(first);
  }
  void Extend(uint32_t first) {
    Used& span = used_[first];
    const uint32_t longer = span.slices + random_.Between(1, 8);
    bool zero = false;
    if (!arena_.ExtendSpan(first, longer, &zero)) return;
    const uint32_t shorter = span.slices;
    used_.erase(first);
    AddRange(first, longer);
    if (HasFatalFailure()) return;
    if (zero) {
      ASSERT_TRUE(ReadsAsZero(arena_, first + shorter, longer - shorter));
    }
    // What it grew into may hold old contents.
    used_[first] = {longer, true};
  }
  void Trim(uint32_t first) {
    Used& span = used_[first];
    if (span.slices < 2) return;
    span.slices = random_.Between(1, span.slices - 1);
    arena_.TrimSpan(first, span.slices, span.dirty, now_);
  }
  uint32_t SomeUsed() {
    auto some = used_.lower_bound(random_.Below(kHeapBytes >> kSliceShift));
    return some == used_.end() ? used_.begin()->first : some->first;
  }
  void Step() {
    now_ += random_.Below(40);
    const uint32_t choice = random_.Below(16);
    if (used_.empty() || choice < 6) return Allocate();
    if (choice < 8) return Write(SomeUsed());
    if (choice < 12) return Free(SomeUsed());
    if (choice < 13) return Extend(SomeUsed());
    if (choice < 14) return Trim(SomeUsed());
    arena_.Purge(now_, choice == 15 && random_.Below(8) == 0);
  }

  struct Used {
    uint32_t slices;
    bool dirty;
  };
  TestArena test_{kHeapBytes, GetParam()};
  Arena& arena_ = test_.arena;
  SeededStream random_{GetParam() + 1000};
  std::map<uint32_t, Used> used_;
  uint64_t now_ = 1000;
};

TEST_P(ArenaModelTest, SpansAreDisjointAlignedZeroAsStatedAndTheirPartitionHolds) {
  for (int step = 0; step < 2000; ++step) {
    ASSERT_NO_FATAL_FAILURE(Step()) << "step " << step;
    arena_.ValidateForTest();
    size_t slices = 0;
    for (const auto& [first, span] : used_) slices += span.slices;
    ASSERT_EQ(arena_.Counters().used_bytes, slices * kSliceSize);
  }
}

TEST_P(ArenaModelTest, FreedSpansMergeIntoOneAgain) {
  for (int step = 0; step < 500; ++step) ASSERT_NO_FATAL_FAILURE(Step());
  while (!used_.empty()) Free(SomeUsed());
  arena_.ValidateForTest();
  const uint64_t segments = test_.Segments();
  const uint32_t all = static_cast<uint32_t>(segments * kSlicesPerSegment) - 1;
  // Good fit refuses at most the last sixteenth.
  EXPECT_EQ(test_.Allocate(all - all / 16 - 1), 1u);
  EXPECT_EQ(test_.Segments(), segments) << "grew, though everything was free";
}

INSTANTIATE_TEST_SUITE_P(Seeds, ArenaModelTest, testing::Range<uint64_t>(1, 7));

// ---- growth

TEST(ArenaTest, GrowsByAnEighthUpToSixteenSegmentsAtATime) {
  constexpr size_t kBytes = size_t{1} << 30;
  TestArena test(kBytes);
  uint64_t before = 0, largest = 0;
  while (IsSpan(test.Allocate(1))) {
    const uint64_t segments = test.Segments();
    if (segments == before) continue;
    const uint64_t step = segments - before;
    if (before == 0) {
      // Makes up for the slice that is never used.
      EXPECT_EQ(step, 2u);
    } else if (segments != kBytes / kSegmentSize) {
      EXPECT_EQ(step, std::clamp<uint64_t>(before / 8, 1, 16)) << "from " << before;
    }
    largest = std::max(largest, step);
    before = segments;
  }
  EXPECT_EQ(largest, 16u);
  EXPECT_EQ(test.Segments(), kBytes / kSegmentSize);
  EXPECT_EQ(test.arena.Counters().used_bytes, kBytes - kSliceSize);
}

// Slices of a new arena that are committed.
constexpr uint32_t kFirstSlices = 8;

TEST(ArenaTest, WhatIsCommittedAtFirstIsEnoughForTheFirstSpans) {
  TestArena test;
  EXPECT_EQ(test.arena.Counters().committed_bytes, kFirstSlices * kSliceSize);
  for (uint32_t i = 0; i < kFirstSlices; ++i) {
    EXPECT_EQ(test.Allocate(1), 1 + i);
    EXPECT_EQ(test.arena.Counters().committed_bytes, kFirstSlices * kSliceSize);
  }
}

TEST(ArenaTest, LittleIsMappedBeforeTheFirstSpan) {
  TestArena test;
  const size_t descriptors = (kHeapBytes >> kSliceShift) * sizeof(SliceDescriptor);
  EXPECT_LE(test.pages.mapped_bytes(), descriptors + kFirstSlices * kSliceSize + (1500 << 10));
}

TEST(ArenaTest, WhereLittleIsLeftOnlyWhatIsNeededIsCommitted) {
  TestArena test;
  for (uint32_t i = 0; i < kFirstSlices; ++i) ASSERT_TRUE(IsSpan(test.Allocate(1)));
  test.pages.FailAfter(0);
  EXPECT_EQ(test.Allocate(1), 1 + kFirstSlices);
  EXPECT_EQ(test.arena.Counters().committed_bytes, (kFirstSlices + 1) * kSliceSize);
}

TEST(ArenaTest, PagesApartLieBetweenPagesWithoutAccess) {
  FakePageSource pages;
  SeededStream random(1);
  Arena arena;
  std::array<ApartPages, 3> apart = {{{.bytes = 1}, {.bytes = 0}, {.bytes = 10'000}}};
  ASSERT_TRUE(arena.Create(pages, kHeapBytes, kBlockBytesPerSlice, random, {}, apart));
  EXPECT_EQ(apart[1].start, nullptr);
  for (const ApartPages& room : {apart[0], apart[2]}) {
    auto* bytes = static_cast<volatile char*>(room.start);
    bytes[0] = 1;
    bytes[room.bytes - 1] = 1;
    const size_t size = prim::RoundUp(room.bytes, prim::PageSize());
    EXPECT_DEATH(bytes[-1] = 1, "");
    EXPECT_DEATH(bytes[size] = 1, "");
  }
}

TEST(ArenaTest, LittleIsCommittedThatWasNotHandedOut) {
  TestArena test(size_t{256} << 20);
  for (size_t used = 1; IsSpan(test.Allocate(1)); ++used) {
    const size_t committed = test.arena.Counters().committed_bytes >> kSliceShift;
    ASSERT_GE(committed, used);
    ASSERT_LE(committed, used + std::clamp<size_t>(used / 64, kFirstSlices - 1, 15));
  }
}

TEST(ArenaTest, WhereSomebodyElseMappedSomethingIsNeverUsed) {
  TestArena test;
  ASSERT_EQ(test.Allocate(kFirstSlices), 1u);
  test.pages.SayTaken(true);
  test.pages.FailAfter(0);
  const uint32_t first = test.Allocate(3);
  ASSERT_TRUE(IsSpan(first));
  EXPECT_GE(first, 2 * kSlicesPerSegment) << "in the segments that were taken";
  test.arena.ValidateForTest();
}

TEST(ArenaTest, ALongSpanGrowsTheArenaByWhatItNeeds) {
  TestArena test(size_t{512} << 20);
  EXPECT_TRUE(IsSpan(test.Allocate(1000)));
  // 16 would do; good fit does not see a span shorter than the next list and grows once more.
  EXPECT_GE(test.Segments(), 16u);
  EXPECT_LE(test.Segments(), 34u);
}

struct SpanRequest {
  uint32_t slices;
  uint32_t alignment;
};

TEST(ArenaTest, ASpanThatCannotBeIsRefusedAndChangesNothing) {
  constexpr SpanRequest kRows[] = {
      {1024, 1},     {100'000, 1},  {UINT32_MAX, 1},      {UINT32_MAX / 2, 1},
      {1, 1u << 31}, {1, 1u << 20}, {1u << 30, 1u << 30}, {UINT32_MAX / 2, 1u << 30},
  };
  TestArena test;
  for (const SpanRequest& row : kRows) {
    EXPECT_EQ(test.Allocate(row.slices, row.alignment), kNoSpan) << row.slices;
    test.arena.ValidateForTest();
    EXPECT_FALSE(test.arena.lock().IsHeld());
  }
  EXPECT_TRUE(IsSpan(test.Allocate(1)));
}

TEST(ArenaTest, SpansAreAlignedByAddressWhateverTheAlignment) {
  TestArena test;
  for (uint32_t alignment = 1; alignment <= 128; alignment *= 2) {
    for (const uint32_t slices : {1u, 3u, 17u}) {
      const uint32_t first = test.Allocate(slices, alignment);
      ASSERT_TRUE(IsSpan(first));
      EXPECT_EQ(test.arena.AddressOf(first) % (alignment * kSliceSize), 0u);
    }
  }
  test.arena.ValidateForTest();
}

TEST(ArenaTest, DescriptorsOfTheWholeHeapReadAsUnused) {
  TestArena test;
  for (uintptr_t at = test.arena.base(); test.arena.Contains(at); at += kSliceSize) {
    const SliceDescriptor& slice = test.arena.SliceAt(at);
    ASSERT_EQ(slice.owner.load(), nullptr);
    ASSERT_EQ(slice.slot_count, 0);
    ASSERT_EQ(slice.use, SliceUse::kNone);
  }
  EXPECT_FALSE(test.arena.Contains(test.arena.base() - 1));
  EXPECT_FALSE(test.arena.Contains(test.arena.base() + kHeapBytes));
}

TEST(ArenaTest, FindUsedSpanFindsEverySliceOfEveryUsedSpan) {
  TestArena test;
  std::vector<uint32_t> owner(kHeapBytes >> kSliceShift, kNoSpan);
  std::vector<uint32_t> firsts;
  for (const uint32_t slices : {1u, 2u, 5u, 30u, 1u, 70u, 3u}) {
    const uint32_t first = test.Allocate(slices);
    for (uint32_t i = 0; i < slices; ++i) owner[first + i] = first;
    firsts.push_back(first);
  }
  for (const size_t freed : {1u, 4u}) {
    for (uint32_t& slice : owner) slice = slice == firsts[freed] ? kNoSpan : slice;
    test.arena.FreeSpan(firsts[freed], true, 0);
  }
  for (uint32_t slice = 1; slice < owner.size(); ++slice) {
    EXPECT_EQ(test.arena.FindUsedSpan(slice), owner[slice]) << slice;
  }
  EXPECT_EQ(test.arena.FindUsedSpan(UINT32_MAX), kNoSpan);
}

// ---- zero tracking

TEST(ArenaTest, FreshAndCleanAndPurgedMemoryIsKnownToBeZero) {
  TestArena test;
  bool zero = false;
  uint32_t first = test.arena.AllocateSpan(8, 1, /*lead=*/0, &zero);
  EXPECT_TRUE(zero) << "fresh";
  test.arena.FreeSpan(first, /*dirty=*/false, 0);
  first = test.arena.AllocateSpan(8, 1, /*lead=*/0, &zero);
  EXPECT_TRUE(zero) << "freed untouched";
  WordsOf(test.arena, first + 7)[8191] = 1;
  test.arena.FreeSpan(first, /*dirty=*/true, 0);
  EXPECT_EQ(test.arena.Purge(0, /*force=*/true), 8 * kSliceSize);
  EXPECT_EQ(test.arena.AllocateSpan(8, 1, /*lead=*/0, &zero), first);
  EXPECT_TRUE(zero) << "purged";
  EXPECT_TRUE(ReadsAsZero(test.arena, first, 8));
}

TEST(ArenaTest, ASpanWithOneDirtySliceIsNotSaidToBeZero) {
  for (uint32_t dirty = 0; dirty < 4; ++dirty) {
    TestArena test;
    uint32_t firsts[4];
    for (uint32_t& first : firsts) first = test.Allocate(1);
    const uint32_t stop = test.Allocate(1);
    for (uint32_t i = 0; i < 4; ++i) test.arena.FreeSpan(firsts[i], i == dirty, 0);
    bool zero = true;
    bool seen_dirty = false;
    // Single slices come back in some order: exactly one is dirty.
    for (uint32_t i = 0; i < 4; ++i) {
      const uint32_t first = test.arena.AllocateSpan(1, 1, /*lead=*/0, &zero);
      seen_dirty |= first == firsts[dirty];
      EXPECT_EQ(zero, first != firsts[dirty]);
    }
    EXPECT_TRUE(seen_dirty) << "the spans before " << stop << " were not used again";
  }
}

// ---- purge

// Frees `count` dirty spans of one slice, no two of them neighbours.
void FreeScattered(TestArena& test, int count) {
  std::vector<uint32_t> firsts;
  for (int i = 0; i < 2 * count; ++i) firsts.push_back(test.Allocate(1));
  for (int i = 0; i < 2 * count; i += 2) test.arena.FreeSpan(firsts[i], true, 1000);
}

TEST(ArenaTest, DirtyMemoryStaysUntilItsDelayIsOver) {
  TestArena test;
  test.arena.set_purge_policy({.dirty_limit_bytes = 64 << 20, .delay_ms = 250});
  FreeScattered(test, 20);
  EXPECT_EQ(test.arena.Purge(1249, false), 0u);
  EXPECT_EQ(test.pages.drops(), 0u);
  EXPECT_EQ(test.arena.Purge(1250, false), 20 * kSliceSize);
  EXPECT_EQ(test.arena.Counters().dirty_bytes, 0u);
}

TEST(ArenaTest, APassOfThePurgeIsBounded) {
  TestArena test;
  test.arena.set_purge_policy({.dirty_limit_bytes = 64 << 20, .delay_ms = 10, .calls_per_pass = 3});
  FreeScattered(test, 20);
  for (uint64_t pass = 1; pass <= 7; ++pass) {
    const uint64_t before = test.pages.drops();
    test.arena.Purge(1000 + 10 * pass, false);
    EXPECT_EQ(test.pages.drops() - before, pass < 7 ? 3u : 2u);
    test.arena.ValidateForTest();
  }
  EXPECT_EQ(test.arena.Counters().dirty_bytes, 0u);
}

TEST(ArenaTest, MoreDirtyMemoryThanTheLimitIsPurgedAtOnceToHalfOfIt) {
  TestArena test;
  test.arena.set_purge_policy({.dirty_limit_bytes = 16 * kSliceSize});
  const uint32_t last = test.Allocate(1);
  FreeScattered(test, 16);
  EXPECT_EQ(test.pages.drops(), 0u);
  EXPECT_EQ(test.arena.Counters().dirty_bytes, 16 * kSliceSize);
  test.arena.FreeSpan(last, true, 1000);
  EXPECT_EQ(test.arena.Counters().dirty_bytes, 8 * kSliceSize);
}

TEST(ArenaTest, WhatWasFreedInLargeSpansStaysUpToAFifthOfWhatIsUsed) {
  TestArena test;
  test.arena.set_purge_policy({.dirty_limit_bytes = 0, .large_limit_bytes = 0});
  test.Allocate(400);
  uint32_t firsts[5];
  for (uint32_t& first : firsts) first = test.Allocate(20);
  // While 400 are used, and with what is left of these.
  for (int i = 0; i < 4; ++i) test.arena.FreeSpan(firsts[i], true, 1000);
  EXPECT_EQ(test.arena.Counters().dirty_bytes, 80 * kSliceSize);
  test.arena.FreeSpan(firsts[4], true, 1000);
  EXPECT_LT(test.arena.Counters().dirty_bytes, 100 * kSliceSize);
}

// Small spans, of which nothing stays else.
class ReusedMemory {
 public:
  explicit ReusedMemory(size_t most) {
    test_.arena.set_purge_policy({.dirty_limit_bytes = 0, .reuse_limit_bytes = most});
  }
  // Takes 8 MiB and frees them. Returns: how many slices stay.
  size_t Round() {
    uint32_t firsts[16];
    for (uint32_t& first : firsts) first = test_.Allocate(8);
    for (const uint32_t first : firsts) test_.arena.FreeSpan(first, true, now_);
    return Dirty();
  }
  // A time without an allocation. Returns: how many slices stay.
  size_t Rest() {
    now_ += 250;
    test_.arena.Purge(now_, false);
    return Dirty();
  }

 private:
  size_t Dirty() { return test_.arena.Counters().dirty_bytes / kSliceSize; }

  TestArena test_;
  uint64_t now_ = 1000;
};

TEST(ArenaTest, MemoryThatIsTakenAgainSoonAfterItWasPurgedStays) {
  ReusedMemory memory(32 << 20);
  EXPECT_EQ(memory.Round(), 0u);
  EXPECT_GT(memory.Round(), 100u);
  EXPECT_EQ(memory.Round(), 128u);
  EXPECT_EQ(memory.Round(), 128u);
}

TEST(ArenaTest, WhatIsTakenAgainMuchLaterDoesNotStay) {
  ReusedMemory memory(32 << 20);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(memory.Round(), 0u);
    EXPECT_EQ(memory.Rest(), 0u);
  }
}

TEST(ArenaTest, NoMoreStaysThanThePolicySays) {
  ReusedMemory memory(64 * kSliceSize);
  for (int i = 0; i < 10; ++i) EXPECT_LE(memory.Round(), 64u);
}

TEST(ArenaTest, WhatStaysGoesByTheSecondTimeThatNobodyTakesIt) {
  ReusedMemory memory(32 << 20);
  for (int i = 0; i < 4; ++i) memory.Round();
  EXPECT_EQ(memory.Rest(), 128u);
  EXPECT_EQ(memory.Rest(), 0u);
}

TEST(ArenaTest, NeighbouringDirtySpansArePurgedWithOneCall) {
  TestArena test;
  test.arena.set_purge_policy({.dirty_limit_bytes = 64 << 20});
  uint32_t firsts[100];
  for (uint32_t& first : firsts) first = test.Allocate(1);
  for (const uint32_t first : firsts) test.arena.FreeSpan(first, true, 0);
  EXPECT_EQ(test.arena.Purge(0, true), 100 * kSliceSize);
  EXPECT_EQ(test.pages.drops(), 1u);
}

TEST(ArenaTest, MemoryThatCannotBeDroppedStaysDirty) {
  TestArena test;
  FreeScattered(test, 5);
  test.pages.FailAlways(true);
  EXPECT_EQ(test.arena.Purge(0, true), 0u);
  EXPECT_EQ(test.arena.Counters().dirty_bytes, 5 * kSliceSize);
  test.pages.FailAlways(false);
  EXPECT_EQ(test.arena.Purge(0, true), 5 * kSliceSize);
}

// ---- rationed memory

TEST(ArenaTest, WhereMemoryIsRationedFreeSlicesAreUncommittedNotDropped) {
  TestArena test;
  uint32_t firsts[10];
  for (uint32_t& first : firsts) first = test.Allocate(40);
  const uint32_t last = test.Allocate(1);
  test.pages.Ration(true);
  for (const uint32_t first : firsts) {
    WordsOf(test.arena, first)[0] = 1;
    test.arena.FreeSpan(first, /*dirty=*/true, 0);
    test.arena.ValidateForTest();
    const ArenaCounters counters = test.arena.Counters();
    EXPECT_LE(counters.committed_bytes, counters.used_bytes + counters.used_bytes / 8 + (4 << 20));
  }
  test.arena.Purge(0, /*force=*/true);
  EXPECT_EQ(test.arena.Counters().committed_bytes, kSliceSize);
  EXPECT_EQ(test.pages.drops(), 0u);
  bool zero = false;
  const uint32_t again = test.arena.AllocateSpan(400, 1, /*lead=*/0, &zero);
  EXPECT_EQ(again, firsts[0]);
  EXPECT_TRUE(zero);
  EXPECT_TRUE(ReadsAsZero(test.arena, again, 400));
  EXPECT_EQ(*WordsOf(test.arena, last), 0u);
  test.arena.ValidateForTest();
}

TEST(ArenaTest, UsedSlicesThatWereDroppedAreUsableAgainOnDemand) {
  for (const bool rationed : {false, true}) {
    TestArena test;
    test.pages.Ration(rationed);
    const uint32_t first = test.Allocate(8);
    WordsOf(test.arena, first)[0] = 1;
    ASSERT_TRUE(test.arena.DropUsed(first, 8));
    EXPECT_EQ(test.arena.Counters().committed_bytes, rationed ? 0 : 8 * kSliceSize);
    ASSERT_TRUE(test.arena.MakeUsable(first, 8));
    EXPECT_TRUE(ReadsAsZero(test.arena, first, 8));
    test.arena.FreeSpan(first, /*dirty=*/false, 0);
    test.arena.Purge(0, /*force=*/true);
    EXPECT_EQ(test.arena.Counters().committed_bytes, rationed ? 0 : 8 * kSliceSize);
  }
}

// ---- changing the length of a span

TEST(ArenaTest, ExtendSpanTakesWhatIsFreeBehindAndNoMore) {
  TestArena test;
  bool zero = false;
  const uint32_t first = test.Allocate(4);
  const uint32_t gap = test.Allocate(6);
  const uint32_t behind = test.Allocate(1);
  ASSERT_EQ(gap, first + 4);
  ASSERT_EQ(behind, gap + 6);
  EXPECT_FALSE(test.arena.ExtendSpan(first, 5, &zero)) << "into a used span";
  test.arena.FreeSpan(gap, true, 0);
  EXPECT_FALSE(test.arena.ExtendSpan(first, 11, &zero)) << "beyond the gap";
  EXPECT_TRUE(test.arena.ExtendSpan(first, 7, &zero));
  EXPECT_FALSE(zero);
  test.arena.ValidateForTest();
  EXPECT_TRUE(test.arena.ExtendSpan(first, 10, &zero)) << "the whole gap";
  test.arena.ValidateForTest();
  EXPECT_EQ(test.arena.Counters().used_bytes, 11 * kSliceSize);
  EXPECT_EQ(test.arena.Counters().dirty_bytes, 0u);
}

TEST(ArenaTest, TrimSpanGivesTheEndBack) {
  TestArena test;
  const uint32_t first = test.Allocate(10);
  const uint32_t behind = test.Allocate(1);
  test.arena.TrimSpan(first, 3, /*dirty=*/true, 0);
  test.arena.ValidateForTest();
  EXPECT_EQ(test.arena.Counters().used_bytes, 4 * kSliceSize);
  EXPECT_EQ(test.arena.Counters().dirty_bytes, 7 * kSliceSize);
  EXPECT_EQ(test.arena.FindUsedSpan(first + 3), kNoSpan);
  EXPECT_EQ(test.arena.FindUsedSpan(first + 2), first);
  EXPECT_EQ(test.arena.FindUsedSpan(behind), behind);
}

TEST(ArenaDeathTest, GivingASpanBackTwiceFailsACheck) {
  TestArena test;
  const uint32_t first = test.Allocate(2);
  test.arena.FreeSpan(first, true, 0);
  EXPECT_DEATH(test.arena.FreeSpan(first, true, 0),
               "internal error: hardened/core/arena.cc:[0-9]+: span.state == SpanState::kUsed");
}

// ---- metadata

TEST(ArenaTest, MetadataBlocksAreDistinctZeroedAlignedAndRecycledBySize) {
  TestArena test;
  SeededStream random(7);
  std::map<uintptr_t, size_t> live;
  for (int step = 0; step < 5000; ++step) {
    if (!live.empty() && random.Below(2) == 0) {
      auto some = live.lower_bound(live.begin()->first + random.Below(1 << 20));
      if (some == live.end()) some = live.begin();
      test.arena.FreeMetadata(reinterpret_cast<void*>(some->first), some->second);
      live.erase(some);
      continue;
    }
    const size_t bytes = random.Between(1, 9000);
    char* block = static_cast<char*>(test.arena.AllocateMetadata(bytes));
    ASSERT_NE(block, nullptr);
    const uintptr_t start = reinterpret_cast<uintptr_t>(block);
    ASSERT_EQ(start % 64, 0u);
    ASSERT_FALSE(test.arena.Contains(start)) << "metadata beside user memory";
    for (size_t i = 0; i < bytes; ++i) ASSERT_EQ(block[i], 0) << "byte " << i << " of " << bytes;
    std::memset(block, 0xa5, bytes);
    const auto behind = live.lower_bound(start);
    if (behind != live.end()) {
      ASSERT_LE(start + bytes, behind->first) << "overlap";
    }
    if (behind != live.begin()) {
      ASSERT_LE(std::prev(behind)->first + std::prev(behind)->second, start) << "overlap";
    }
    live[start] = bytes;
  }
}

TEST(ArenaTest, AFreedMetadataBlockIsTheNextOfItsSize) {
  TestArena test;
  void* block = test.arena.AllocateMetadata(700);
  test.arena.FreeMetadata(block, 700);
  EXPECT_NE(test.arena.AllocateMetadata(600), block) << "another size";
  EXPECT_EQ(test.arena.AllocateMetadata(704), block) << "the same after rounding";
}

TEST(ArenaTest, MetadataIsExhaustedWithNullAndNothingElse) {
  TestArena test(kSegmentSize);
  int blocks = 0;
  while (test.arena.AllocateMetadata(100 << 10) != nullptr) ASSERT_LT(++blocks, 1000);
  EXPECT_GT(blocks, 15);
  EXPECT_EQ(test.arena.AllocateMetadata(100 << 10), nullptr);
  EXPECT_TRUE(IsSpan(test.Allocate(1)));
}

// ---- fault injection

TEST(ArenaTest, NoRoomAndNoMemoryAreToldApart) {
  TestArena test;
  EXPECT_EQ(test.Allocate(2000), kNoSpan);
  test.pages.FailAlways(true);
  EXPECT_EQ(test.Allocate(1), kRefusedSpan);
  EXPECT_EQ(test.Allocate(2000), kNoSpan);
  test.arena.ValidateForTest();
}

TEST(ArenaTest, DestroyGivesTheWholeAddressSpaceBack) {
  TestArena test;
  const uint32_t first = test.Allocate(3);
  test.arena.FreeSpan(first, true, 0);
  test.arena.Destroy();
  EXPECT_EQ(test.pages.mapped_bytes(), 0u);
  EXPECT_FALSE(test.arena.Contains(0));
}

TEST(ArenaDeathTest, DestroyingAnArenaInUseFailsACheck) {
  TestArena test;
  test.Allocate(1);
  EXPECT_DEATH(test.arena.Destroy(), "arena.cc:[0-9]+: used_slices_ == 0");
}

// Everything an arena does with its page source; each answer may be "no", none may be wrong.
void UseArena(FakePageSource& pages, Arena& arena) {
  SeededStream random(1);
  if (!arena.Create(pages, kHeapBytes, kBlockBytesPerSlice, random)) {
    EXPECT_EQ(pages.mapped_bytes(), 0u) << "a reservation was left behind";
    EXPECT_FALSE(arena.lock().IsHeld());
    ASSERT_TRUE(arena.Create(pages, kHeapBytes, kBlockBytesPerSlice, random)) << "did not recover";
  }
  std::vector<uint32_t> spans;
  const auto check = [&arena] {
    ASSERT_FALSE(arena.lock().IsHeld());
    arena.ValidateForTest();
  };
  for (const uint32_t slices : {1u, 3u, 200u, 7u, 300u}) {
    bool zero = false;
    uint32_t first = arena.AllocateSpan(slices, 1, /*lead=*/0, &zero);
    check();
    if (!IsSpan(first)) first = arena.AllocateSpan(slices, 1, /*lead=*/0, &zero);
    ASSERT_TRUE(IsSpan(first)) << "did not recover";
    if (zero) {
      ASSERT_TRUE(ReadsAsZero(arena, first, slices));
    }
    WordsOf(arena, first)[0] = 1;
    spans.push_back(first);
  }
  for (int i = 0; i < 40; ++i) {
    void* block = arena.AllocateMetadata(64 << 10);
    check();
    if (block == nullptr) block = arena.AllocateMetadata(64 << 10);
    ASSERT_NE(block, nullptr) << "did not recover";
    std::memset(block, 1, 64 << 10);
  }
  for (const uint32_t first : spans) {
    arena.FreeSpan(first, true, 0);
    check();
  }
  arena.Purge(0, true);
  check();
  bool zero = false;
  const uint32_t all = arena.AllocateSpan(500, 1, /*lead=*/0, &zero);
  check();
  ASSERT_TRUE(IsSpan(all));
  if (zero) {
    ASSERT_TRUE(ReadsAsZero(arena, all, 500));
  }
}

TEST(ArenaTest, AnyOneFailingCallIsSurvived) {
  uint64_t calls = 0;
  {
    FakePageSource pages;
    const auto arena = std::make_unique<Arena>();
    UseArena(pages, *arena);
    calls = pages.calls();
  }
  ASSERT_GT(calls, 15u);
  for (uint64_t k = 0; k < calls; ++k) {
    SCOPED_TRACE(k);
    FakePageSource pages;
    pages.FailAfter(k);
    const auto arena = std::make_unique<Arena>();
    ASSERT_NO_FATAL_FAILURE(UseArena(pages, *arena));
  }
}

// As above, but from the k-th call on nothing works any more.
TEST(ArenaTest, ASourceThatFailsForGoodEndsInNoMemoryOnly) {
  for (int allowed = 0; allowed < 60; ++allowed) {
    FakePageSource pages;
    SeededStream random(1);
    const auto arena = std::make_unique<Arena>();
    if (!arena->Create(pages, kHeapBytes, kBlockBytesPerSlice, random)) {
      FAIL() << "no arena";
    }
    std::vector<uint32_t> spans;
    bool zero;
    for (int i = 0; i < allowed; ++i) spans.push_back(arena->AllocateSpan(5, 1, /*lead=*/0, &zero));
    pages.FailAlways(true);
    uint32_t first;
    while (IsSpan(first = arena->AllocateSpan(5, 1, /*lead=*/0, &zero))) spans.push_back(first);
    while (arena->AllocateMetadata(4096) != nullptr) {
    }
    EXPECT_FALSE(arena->lock().IsHeld());
    arena->ValidateForTest();
    for (const uint32_t span : spans) arena->FreeSpan(span, true, 0);
    arena->Purge(1'000'000, true);
    arena->ValidateForTest();
    pages.FailAlways(false);
    EXPECT_TRUE(IsSpan(arena->AllocateSpan(5, 1, /*lead=*/0, &zero)));
  }
}

// ---- arenas that are a home

TEST(HomeArenaTest, CommittedAtOnceItIsOneSpan) {
  TestArena test;
  ASSERT_TRUE(test.arena.CommitAll());
  EXPECT_EQ(test.Segments(), kHeapBytes / kSegmentSize);
  // Good fit looks one list up: nearly all of it.
  EXPECT_EQ(test.Allocate(static_cast<uint32_t>((kHeapBytes >> kSliceShift) * 15 / 16)), 1u);
  test.arena.ValidateForTest();
}

TEST(HomeArenaTest, UsedSpansAreFoundInTheirOrder) {
  TestArena test;
  uint32_t behind = 0;
  EXPECT_EQ(test.arena.NextUsedSpan(0, &behind), kNoSpan);
  ASSERT_TRUE(test.arena.CommitAll());
  EXPECT_EQ(test.arena.NextUsedSpan(0, &behind), kNoSpan);
  const uint32_t first = test.Allocate(3);
  const uint32_t second = test.Allocate(5);
  const uint32_t third = test.Allocate(1);
  test.arena.FreeSpan(second, true, 0);
  EXPECT_EQ(test.arena.NextUsedSpan(0, &behind), first);
  EXPECT_EQ(behind, first + 3);
  EXPECT_EQ(test.arena.NextUsedSpan(behind, &behind), third);
  EXPECT_EQ(test.arena.NextUsedSpan(behind, &behind), kNoSpan);
}

// Frees the same spans in two orders, and asks for spans of their length.
TEST(HomeArenaTest, NormalisedItForgetsTheOrderOfFrees) {
  std::vector<uint32_t> taken[2];
  for (int order : {0, 1}) {
    TestArena test;
    ASSERT_TRUE(test.arena.CommitAll());
    std::vector<uint32_t> spans;
    for (int i = 0; i < 40; ++i) {
      spans.push_back(test.Allocate(2));
      *WordsOf(test.arena, spans.back()) = 1;
    }
    for (size_t i = 0; i < 40; i += 2) {
      test.arena.FreeSpan(spans[order == 0 ? i : 38 - i], true, 0);
    }
    test.arena.Normalise();
    EXPECT_EQ(test.arena.Counters().dirty_bytes, 0u);
    for (int i = 0; i < 20; ++i) {
      taken[order].push_back(test.Allocate(2));
      EXPECT_TRUE(ReadsAsZero(test.arena, taken[order].back(), 2));
    }
    // The lowest first.
    EXPECT_EQ(taken[order].front(), spans[0]);
    test.arena.ValidateForTest();
  }
  EXPECT_EQ(taken[0], taken[1]);
}

TEST(ArenaTest, DescriptorsThatCannotBeMappedLeaveNothingBehind) {
  FakePageSource pages;
  SeededStream random(1);
  Arena arena;
  // Two places are found before.
  pages.FailAfter(2);
  EXPECT_FALSE(arena.Create(pages, kHeapBytes, kBlockBytesPerSlice, random));
  EXPECT_EQ(pages.mapped_bytes(), 0u);
}

TEST(ArenaTest, ThePlaceOfAnotherArenaIsTakenWhateverIsMappedThere) {
  constexpr uintptr_t kHint = uintptr_t{3} << 40;
  SeededStream random(1);
  prim::LinuxPageSource pages;
  Arena first, second, third;
  ASSERT_TRUE(first.Create(pages, kHeapBytes, kBlockBytesPerSlice, random, kHint));
  if (first.base() != kHint) GTEST_SKIP() << "addresses cannot be chosen";
  Arena* const others[] = {&first};
  ASSERT_TRUE(second.Create(pages, kHeapBytes, kBlockBytesPerSlice, random, kHint, others));
  EXPECT_FALSE(first.Contains(second.base()) || second.Contains(first.base()));
  ASSERT_TRUE(third.Create(pages, kHeapBytes, kBlockBytesPerSlice, random,
                           kHint + kHeapBytes - kSegmentSize, others));
  EXPECT_FALSE(first.Contains(third.base()));
  first.Destroy();
  second.Destroy();
  third.Destroy();
}

TEST(ArenaTest, WithoutAPlaceTheKernelChoosesOne) {
  FakePageSource pages;
  SeededStream random(1);
  Arena arena;
  pages.HideAddressSpace(true);
  ASSERT_TRUE(arena.Create(pages, kHeapBytes, kBlockBytesPerSlice, random));
  EXPECT_GT(pages.mapped_bytes(), kHeapBytes);
  bool zero = false;
  const uint32_t first = arena.AllocateSpan(3, 1, /*lead=*/0, &zero);
  ASSERT_TRUE(IsSpan(first));
  WordsOf(arena, first)[0] = 1;
  EXPECT_NE(arena.AllocateMetadata(100), nullptr);
  arena.FreeSpan(first, /*dirty=*/true, 0);
  pages.Ration(true);
  EXPECT_GT(arena.Purge(0, /*force=*/true), 0u);
  arena.Destroy();
  EXPECT_EQ(pages.mapped_bytes(), 0u);
}

}  // namespace
}  // namespace hardened::core
