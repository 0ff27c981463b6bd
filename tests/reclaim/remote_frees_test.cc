#include "hardened/core/remote_frees.h"

#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "hardened/core/heap_state.h"
#include "hardened/core/link.h"

namespace hardened::core {
namespace {

struct alignas(16) Slot {
  uint64_t link = 1;
  uint64_t rest = 0;
};

uintptr_t AddressOf(Slot& slot) { return reinterpret_cast<uintptr_t>(&slot); }

std::vector<RemoteBatch*> Walk(RemoteBatch* newest) {
  std::vector<RemoteBatch*> found;
  for (; newest != nullptr; newest = newest->next) found.push_back(newest);
  return found;
}

TEST(RemoteFreesTest, BatchesAreTakenNewestFirst) {
  RemoteFrees frees{};
  std::vector<RemoteBatch> batches(3);
  EXPECT_TRUE(frees.empty());
  for (RemoteBatch& batch : batches) {
    frees.Push(batch, 48);
    EXPECT_FALSE(frees.empty());
  }
  EXPECT_EQ(Walk(frees.TakeBatches()),
            (std::vector<RemoteBatch*>{&batches[2], &batches[1], &batches[0]}));
  EXPECT_TRUE(frees.empty());
  EXPECT_EQ(frees.TakeBatches(), nullptr);
}

TEST(RemoteFreesTest, SlotsThatComeAloneAreThreadedByEncodedLinks) {
  RemoteFrees frees{};
  std::vector<Slot> slots(3);
  RemoteBatch batch{};
  for (Slot& slot : slots) frees.PushAlone(AddressOf(slot), 16);
  EXPECT_FALSE(frees.empty());
  frees.Push(batch, 16);
  std::vector<uintptr_t> found;
  for (uintptr_t at = frees.TakeAlone(); at != 0;) {
    found.push_back(at);
    uintptr_t next = 0;
    EXPECT_TRUE(
        DecodeLink(heap_constants->link_keys, at, reinterpret_cast<Slot*>(at)->link, &next));
    at = next;
  }
  EXPECT_EQ(found, (std::vector<uintptr_t>{AddressOf(slots[2]), AddressOf(slots[1]),
                                           AddressOf(slots[0])}));
  for (const Slot& slot : slots) EXPECT_EQ(slot.rest, 0u);
  EXPECT_FALSE(frees.empty());
  EXPECT_EQ(Walk(frees.TakeBatches()), std::vector<RemoteBatch*>{&batch});
  EXPECT_TRUE(frees.empty());
}

TEST(RemoteFreesTest, WhatWaitsIsCountedInWholeUnitsUntilItIsTaken) {
  RemoteFrees frees{};
  RemoteBatch batches[4] = {};
  const size_t unit = frees.Push(batches[0], 1);
  EXPECT_EQ(frees.Push(batches[1], unit), 2 * unit);
  EXPECT_EQ(frees.Push(batches[2], 10 * unit + 1), 13 * unit);
  frees.TakeBatches();
  EXPECT_EQ(frees.Push(batches[3], 1), unit);
}

TEST(RemoteFreesTest, TheCountEndsWhereThereIsNoMoreRoomAndAddressesStay) {
  RemoteFrees frees{};
  RemoteBatch batches[2] = {};
  const size_t most = frees.Push(batches[0], size_t{1} << 40);
  EXPECT_GE(most, size_t{1} << 29);
  EXPECT_EQ(frees.Push(batches[1], size_t{1} << 40), most);
  EXPECT_EQ(Walk(frees.TakeBatches()), (std::vector<RemoteBatch*>{&batches[1], &batches[0]}));
}

TEST(ReturnedBatchesTest, TheyAreCountedAndNotTakenWhereThereAreMany) {
  ReturnedBatches returned{};
  std::vector<RemoteBatch> batches(1000);
  size_t taken = 0;
  while (returned.Return(batches[taken])) ++taken;
  EXPECT_GE(taken, 1000 / RemoteBatch::kSlots);
  EXPECT_LT(taken, 500u);
  EXPECT_FALSE(returned.Return(batches[taken]));
  uint64_t count = 0;
  const std::vector<RemoteBatch*> found = Walk(returned.TakeAll(&count));
  EXPECT_EQ(count, taken);
  ASSERT_EQ(found.size(), taken);
  EXPECT_EQ(found.front(), &batches[taken - 1]);
  EXPECT_EQ(returned.TakeAll(&count), nullptr);
  EXPECT_EQ(count, 0u);
  EXPECT_TRUE(returned.Return(batches[taken]));
}

}  // namespace
}  // namespace hardened::core
