#include "hardened/core/slot_record.h"

#include "gtest/gtest.h"

namespace hardened::core {
namespace {

constexpr unsigned kRecords = 1 << 16;

TEST(SlotRecordTest, ALiveRecordKeepsKindAndSlack) {
  for (unsigned kind = 1; kind <= 6; ++kind) {
    for (size_t slack = 0; slack <= kMaxSlack; ++slack) {
      const AllocationKind wanted = static_cast<AllocationKind>(kind);
      const RecordValue record = LiveRecord(wanted, slack);
      ASSERT_TRUE(IsLive(record));
      ASSERT_EQ(KindOf(record), wanted);
      ASSERT_EQ(SlackOf(record), slack);
    }
  }
}

TEST(SlotRecordTest, EveryRecordIsLiveOrPendingOrDeadAndNothingElse) {
  unsigned live = 0;
  unsigned pending = 0;
  unsigned dead = 0;
  for (unsigned i = 0; i < kRecords; ++i) {
    const RecordValue record = static_cast<RecordValue>(i);
    const unsigned kind = i & kKindMask;
    const bool is_pending = kind == kPendingRecord;
    const bool is_dead = kind == 0;
    live += IsLive(record);
    pending += is_pending;
    dead += is_dead;
    ASSERT_EQ(IsLive(record), !is_pending && !is_dead) << i;
    // A record that says "zero" or "never handed out" is dead.
    if (IsKnownZero(record) || NeverHandedOut(record)) {
      ASSERT_TRUE(is_dead) << i;
    }
  }
  EXPECT_EQ(live, 6 * kRecords / 8);
  EXPECT_EQ(pending, kRecords / 8);
  EXPECT_EQ(dead, kRecords / 8);
}

struct DeadRow {
  RecordValue record;
  bool zero;
  bool never_handed_out;
};

TEST(SlotRecordTest, DeadStatesTellZeroAndUnused) {
  constexpr DeadRow kRows[] = {
      {kUnusedZeroRecord, true, true}, {kUnusedDirtyRecord, false, true},
      {kFreedRecord, false, false},    {kFreedZeroRecord, true, false},
      {kPendingRecord, false, false},
  };
  for (const DeadRow& row : kRows) {
    EXPECT_FALSE(IsLive(row.record)) << row.record;
    EXPECT_EQ(IsKnownZero(row.record), row.zero) << row.record;
    EXPECT_EQ(NeverHandedOut(row.record), row.never_handed_out) << row.record;
    for (const DeadRow& other : kRows) {
      EXPECT_EQ(&row == &other, row.record == other.record) << row.record << other.record;
    }
  }
}

// Metadata that was never written reads as zero: a slot that nobody was given.
TEST(SlotRecordTest, AZeroRecordIsUnused) {
  EXPECT_FALSE(IsLive(0));
  EXPECT_TRUE(NeverHandedOut(0));
}

TEST(LifeWordTest, NoOtherLifeIsClaimed) {
  alignas(LifeWord) SlotRecord pair[2];
  const RecordValue live = LiveRecord(AllocationKind::kNew, 24);
  pair[0] = live;
  pair[1] = 0x1234;
  const LifeWord seen = LoadWithLife(pair[0]);
  EXPECT_EQ(RecordIn(seen), live);
  EXPECT_EQ(LifeIn(seen), 0x1234);
  EXPECT_EQ(seen, WordOf(live, 0x1234));
  // Freed, and handed out again for the same request.
  pair[1] = 0x1235;
  EXPECT_FALSE(ClaimWithLife(pair[0], seen));
  EXPECT_EQ(pair[0], live);
  pair[1] = 0x1234;
  pair[0] = LiveRecord(AllocationKind::kNew, 25);
  EXPECT_FALSE(ClaimWithLife(pair[0], seen));
  pair[0] = live;
  EXPECT_TRUE(ClaimWithLife(pair[0], seen));
  EXPECT_EQ(pair[0], kPendingRecord);
  EXPECT_EQ(pair[1], 0x1234);
  EXPECT_FALSE(ClaimWithLife(pair[0], seen));
}

}  // namespace
}  // namespace hardened::core
