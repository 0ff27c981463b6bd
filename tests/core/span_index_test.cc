#include "hardened/core/span_index.h"

#include <cstddef>
#include <map>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/seeded_stream.h"

namespace hardened::core {
namespace {

// Lists in the order of the lengths they hold: 16 of length 0 to 15, then 16 to each doubling.
struct ReferenceList {
  uint64_t least;
  uint64_t width;
};

std::vector<ReferenceList> ReferenceLists() {
  std::vector<ReferenceList> lists;
  for (uint64_t length = 0; length < 16; ++length) lists.push_back({length, 1});
  for (uint64_t base = 16; base < uint64_t{1} << 32; base *= 2) {
    for (uint64_t i = 0; i < 16; ++i) lists.push_back({base + base / 16 * i, base / 16});
  }
  return lists;
}

// Walks up the lists once, in the order of the lengths asked for.
class ReferenceCursor {
 public:
  SpanIndex::Position At(uint64_t length) {
    while (length >= lists_[at_].least + lists_[at_].width) ++at_;
    return {static_cast<unsigned>(at_ / 16), static_cast<unsigned>(at_ % 16)};
  }

 private:
  const std::vector<ReferenceList> lists_ = ReferenceLists();
  size_t at_ = 0;
};

TEST(SpanIndexTest, PositionsAreThoseOfTheReference) {
  ReferenceCursor reference;
  for (uint32_t length = 0; length < 1 << 16; ++length) {
    ASSERT_EQ(SpanIndex::PositionOf(length), reference.At(length)) << length;
  }
  for (unsigned log = 16; log < 32; ++log) {
    const uint64_t base = uint64_t{1} << log;
    for (uint64_t i = 0; i < 16; ++i) {
      for (uint64_t length = base + base / 16 * i - 2; length <= base + base / 16 * i + 2;
           ++length) {
        if (length < 1 << 16) continue;
        ASSERT_EQ(SpanIndex::PositionOf(static_cast<uint32_t>(length)), reference.At(length));
      }
    }
  }
  EXPECT_EQ(SpanIndex::PositionOf(UINT32_MAX), reference.At(UINT32_MAX));
}

TEST(SpanIndexTest, EveryPositionLiesInTheTable) {
  const SpanIndex::Position last = SpanIndex::PositionOf(UINT32_MAX);
  EXPECT_LT(last.first, SpanIndex::kFirstLevel);
  EXPECT_LT(last.second, SpanIndex::kSecondLevel);
}

// Every span of the list that a length is rounded up to fits: the waste of good fit is at most one
// sixteenth, and a span longer than that is never refused.
class SpanIndexModel {
 public:
  explicit SpanIndexModel(uint32_t slices) : spans_(slices + 1) { index_.Reset(spans_.data()); }

  void Insert(uint32_t first, uint32_t length) {
    index_.Insert(first, length);
    free_[first] = length;
  }
  void Remove(uint32_t first) {
    index_.Remove(first);
    free_.erase(first);
  }
  // Takes and checks: kNoSpan only when nothing is certain to fit.
  void Take(uint32_t wanted) {
    const uint32_t certain = wanted < 16 ? wanted : wanted + wanted / 16;
    bool must = false;
    for (const auto& [first, length] : free_) must |= length >= certain;
    const uint32_t found = index_.Take(wanted);
    if (found == kNoSpan) {
      ASSERT_FALSE(must) << wanted;
      return;
    }
    const auto span = free_.find(found);
    ASSERT_NE(span, free_.end()) << "took a span that is not free";
    ASSERT_GE(span->second, wanted);
    ASSERT_EQ(spans_[found].length, span->second);
    free_.erase(span);
  }
  const std::map<uint32_t, uint32_t>& free() const { return free_; }

 private:
  std::vector<Span> spans_;
  SpanIndex index_;
  std::map<uint32_t, uint32_t> free_;  // length by first slice
};

class SpanIndexModelTest : public testing::TestWithParam<uint64_t> {};

TEST_P(SpanIndexModelTest, TakesWhatFitsAndNothingTwice) {
  SeededStream random(GetParam());
  constexpr uint32_t kSlices = 1 << 18;
  SpanIndexModel model(kSlices);
  uint32_t next = 0;
  for (int step = 0; step < 20'000; ++step) {
    switch (random.Below(4)) {
      case 0:
      case 1: {
        // Lengths of every magnitude, so that every level is used.
        const uint32_t length = 1 + random.Below(1u << random.Below(13));
        if (kSlices - next >= length) model.Insert(next, length);
        next = kSlices - next >= length ? next + length : kSlices;
        break;
      }
      case 2:
        if (!model.free().empty()) {
          auto some = model.free().lower_bound(random.Below(kSlices));
          if (some == model.free().end()) some = model.free().begin();
          model.Remove(some->first);
        }
        break;
      default:
        ASSERT_NO_FATAL_FAILURE(model.Take(1 + random.Below(1u << random.Below(13))));
    }
    if (next == kSlices && model.free().size() < 8) next = 0;
    if (next == 0)
      while (!model.free().empty()) model.Remove(model.free().begin()->first);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, SpanIndexModelTest, testing::Range<uint64_t>(1, 9));

TEST(SpanIndexTest, AnEmptyIndexGivesNothing) {
  SpanIndexModel model(64);
  for (const uint32_t length : {1u, 15u, 16u, 17u, 1u << 31, UINT32_MAX}) model.Take(length);
}

TEST(SpanIndexDeathTest, RemovingASpanThatIsNotFreeFailsACheck) {
  std::vector<Span> spans(64);
  SpanIndex index;
  index.Reset(spans.data());
  index.Mark(3, 5, SpanState::kUsed);
  EXPECT_DEATH(index.Remove(3),
               "internal error: hardened/core/span_index.cc:[0-9]+: "
               "span.state == SpanState::kFree");
}

// An index whose links were written over must not follow them.
TEST(SpanIndexDeathTest, ADamagedLinkFailsACheck) {
  std::vector<Span> spans(64);
  SpanIndex index;
  index.Reset(spans.data());
  for (const uint32_t first : {0u, 10u, 20u}) index.Insert(first, 4);
  spans[10].next = 40;
  EXPECT_DEATH(index.Remove(10), "hardened: internal error: hardened/core/span_index.cc");
  spans[10].next = 0;
  spans[20].next = 30;
  EXPECT_DEATH(index.Remove(10), "spans_\\[span.previous\\].next == first");
}

}  // namespace
}  // namespace hardened::core
