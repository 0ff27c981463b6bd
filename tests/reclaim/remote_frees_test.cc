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

// A batch from the last slot of `slots` to the first, as it is pushed.
size_t PushAll(RemoteFrees& frees, std::vector<Slot>& slots, size_t bytes) {
  uintptr_t head = 0;
  for (Slot& slot : slots) {
    slot.link = EncodeLink(heap_constants->link_keys, AddressOf(slot), head);
    head = AddressOf(slot);
  }
  return frees.Push(head, AddressOf(slots[0]), bytes);
}

std::vector<uintptr_t> Walk(uintptr_t newest) {
  std::vector<uintptr_t> found;
  for (uintptr_t at = newest; at != 0;) {
    found.push_back(at);
    uintptr_t next = 0;
    EXPECT_TRUE(
        DecodeLink(heap_constants->link_keys, at, reinterpret_cast<Slot*>(at)->link, &next));
    at = next;
  }
  return found;
}

TEST(RemoteFreesTest, WhatWasPushedIsTakenNewestFirst) {
  RemoteFrees frees{};
  std::vector<Slot> first(3);
  std::vector<Slot> second(2);
  EXPECT_TRUE(frees.empty());
  PushAll(frees, first, 48);
  EXPECT_FALSE(frees.empty());
  PushAll(frees, second, 32);
  EXPECT_EQ(Walk(frees.TakeAll()),
            (std::vector<uintptr_t>{AddressOf(second[1]), AddressOf(second[0]), AddressOf(first[2]),
                                    AddressOf(first[1]), AddressOf(first[0])}));
  EXPECT_TRUE(frees.empty());
  EXPECT_EQ(frees.TakeAll(), 0u);
}

TEST(RemoteFreesTest, WhatWaitsIsCountedInWholeUnitsUntilItIsTaken) {
  RemoteFrees frees{};
  std::vector<Slot> slots(3);
  const size_t unit = PushAll(frees, slots, 1);
  EXPECT_EQ(PushAll(frees, slots, unit), 2 * unit);
  EXPECT_EQ(PushAll(frees, slots, 10 * unit + 1), 13 * unit);
  frees.TakeAll();
  EXPECT_EQ(PushAll(frees, slots, 1), unit);
}

TEST(RemoteFreesTest, TheCountEndsWhereThereIsNoMoreRoomAndAddressesStay) {
  RemoteFrees frees{};
  std::vector<Slot> first(1);
  std::vector<Slot> second(1);
  const size_t most = PushAll(frees, first, size_t{1} << 40);
  EXPECT_GE(most, size_t{1} << 29);
  EXPECT_EQ(PushAll(frees, second, size_t{1} << 40), most);
  EXPECT_EQ(Walk(frees.TakeAll()),
            (std::vector<uintptr_t>{AddressOf(second[0]), AddressOf(first[0])}));
}

}  // namespace
}  // namespace hardened::core
