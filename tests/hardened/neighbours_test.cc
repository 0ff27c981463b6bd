#include "hardened/neighbours.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "hardened/wipe.h"
#include "tests/hardened/heap_under_test.h"

namespace hardened {
namespace {

constexpr bool kLooks = HeapUnderTest::kFeatures.check_neighbours;

struct Slot {
  core::SliceDescriptor* slice;
  uint32_t index;
  uintptr_t start;
  size_t size;

  bool has_left() const { return index > 0; }
  bool has_right() const { return index + 1 < slice->slot_count; }
  core::RecordValue Record(int distance) const {
    return slice->RecordAt(index + static_cast<uint32_t>(distance), kNeighbourRecordShift);
  }
  bool LooksIntact() const { return NeighboursLookIntact(*slice, index, start, size); }
};

Slot SlotOf(char* block) {
  const uintptr_t start = AddressOf(block);
  core::SliceDescriptor* slice = core::heap_state.FindSlice(start);
  return {slice, slice->IndexOf(start), start, core::kSlotSizes[slice->size_class]};
}

// Whether the look at `slot` notices that the byte at `address` changes, which it then does not.
bool Notices(const Slot& slot, uintptr_t address) {
  unsigned char& byte = *reinterpret_cast<unsigned char*>(address);
  const unsigned char was = byte;
  byte = static_cast<unsigned char>(was ^ 0x10);
  const bool noticed = !slot.LooksIntact();
  byte = was;
  EXPECT_TRUE(slot.LooksIntact());
  return noticed;
}

// What happened to be beside the slots that were looked at.
struct Seen {
  int live_left = 0, free_left = 0, live_right = 0, free_right = 0;
};

void LookAtEachByteAround(const Slot& slot, Seen* seen) {
  const size_t nearest = std::min(kNearest, slot.size);
  // A few lines are enough of long slots.
  const size_t far = std::min<size_t>(slot.size, 256);
  if (slot.has_left()) {
    const core::RecordValue record = slot.Record(-1);
    const bool live = core::IsLive(record);
    ++(live ? seen->live_left : seen->free_left);
    const size_t slack = core::SlackOf(record);
    for (size_t before = 1; before <= far; ++before) {
      // Counted from the end: the last word, and the first behind the request.
      const bool in_canary = before <= 8 || (before <= slack && before > slack - 8);
      const bool looked_at = live ? in_canary : core::IsKnownZero(record) && before <= nearest;
      ASSERT_EQ(Notices(slot, slot.start - before), looked_at)
          << slot.size << ", " << before << " in front, record " << record;
    }
  }
  if (slot.has_right()) {
    const core::RecordValue record = slot.Record(1);
    ++(core::IsLive(record) ? seen->live_right : seen->free_right);
    for (size_t behind = 0; behind < far; ++behind) {
      const bool looked_at = core::IsKnownZero(record) && behind < nearest;
      ASSERT_EQ(Notices(slot, slot.start + slot.size + behind), looked_at)
          << slot.size << ", " << behind << " behind, record " << record;
    }
  }
}

TEST(NeighboursTest, TheLookInTheWalkSeesEachByteThatIsWatchedAndNoOther) {
  if (!kLooks) GTEST_SKIP() << "this level looks at no neighbours";
  for (const size_t bytes : {1, 8, 9, 24, 40, 41, 64, 120, 121, 200, 1000, 5000, 50000}) {
    std::vector<char*> blocks(400);
    for (char*& block : blocks) block = AllocateSlot(bytes);
    // Some neighbours were used before.
    for (size_t i = 0; i < blocks.size(); i += 3) {
      Free(blocks[i]);
      blocks[i] = nullptr;
    }
    Seen seen;
    for (char* block : blocks) {
      if (block == nullptr) continue;
      const Slot slot = SlotOf(block);
      ASSERT_TRUE(slot.LooksIntact());
      LookAtEachByteAround(slot, &seen);
      if (HasFatalFailure()) return;
    }
    EXPECT_GT(seen.live_left, 0) << bytes;
    EXPECT_GT(seen.free_left, 0) << bytes;
    EXPECT_GT(seen.live_right, 0) << bytes;
    EXPECT_GT(seen.free_right, 0) << bytes;
    for (char* block : blocks) Free(block);
  }
}

TEST(WipeTest, ShortSlotsAreZeroedAndLookedAtToTheLastByte) {
  alignas(16) unsigned char room[kWipeInline + 32];
  for (size_t size = 16; size <= kWipeInline; size += 16) {
    std::fill(std::begin(room), std::end(room), 0xa5);
    unsigned char* const slot = room + 16;
    WipeInline(slot, size);
    EXPECT_EQ(std::count(slot, slot + size, 0), static_cast<ptrdiff_t>(size));
    EXPECT_EQ(std::count(std::begin(room), std::end(room), 0xa5),
              static_cast<ptrdiff_t>(sizeof(room) - size));
    EXPECT_TRUE(IsZeroInline(slot, size));
    for (size_t i = 0; i < size; ++i) {
      slot[i] = 1;
      EXPECT_FALSE(IsZeroInline(slot, size)) << size << " at " << i;
      slot[i] = 0;
    }
  }
}

}  // namespace
}  // namespace hardened
