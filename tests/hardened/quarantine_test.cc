// quarantine_test: how long freed slots wait, in whatever mix of classes, what is found when they
// leave, and that it lets go in the end.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <unordered_map>
#include <vector>

#include "gtest/gtest.h"
#include "hardened/core/heap_registry.h"
#include "hardened/secrets.h"
#include "tests/hardened/heap_under_test.h"
#include "tests/support/seeded_stream.h"

namespace hardened {
namespace {

constexpr const Features& kFeatures = HeapUnderTest::kFeatures;
constexpr const QuarantineLimits& kLimits = kFeatures.quarantine;
constexpr uint64_t kPromisedFrees = 4096;
// Requests of the largest slots that SECURITY.md promises it for.
constexpr size_t kPromisedUpTo = 80 - HeapUnderTest::Canary::kRoom;

// Blocks of a program that notes when it freed what. Only those in slots: guarded samples are no
// concern of the quarantine.
class Program {
 public:
  // Returns: the frees of small slots since this one was freed, UINT64_MAX when it is new.
  uint64_t Take(size_t bytes) {
    char* const block = AllocateSlot(bytes);
    live_.push_back({block, bytes});
    const auto before = freed_.find(AddressOf(block));
    if (before == freed_.end()) return UINT64_MAX;
    const uint64_t waited = weight_ - before->second;
    freed_.erase(before);
    return waited;
  }
  void Give(size_t index) {
    const Block block = live_[index];
    live_[index] = live_.back();
    live_.pop_back();
    const size_t slot = block.bytes + HeapUnderTest::Canary::kRoom;
    weight_ += kLimits.WeightOf(core::kSlotSizes[core::SizeClassOf(slot)]);
    freed_[AddressOf(block.at)] = weight_;
    Free(block.at);
  }
  size_t live() const { return live_.size(); }

 private:
  struct Block {
    char* at;
    size_t bytes;
  };
  std::vector<Block> live_;
  std::unordered_map<uintptr_t, uint64_t> freed_;
  uint64_t weight_ = 0;  // of all frees
};

// Phases of one class or of several, of pairs or of batches: blocks grow, stay half full and
// shrink.
uint64_t LeastWait(size_t most_bytes, SeededStream& random) {
  Program program;
  uint64_t least = UINT64_MAX;
  for (int phase = 0; phase < 400; ++phase) {
    const size_t low = 1 + random.Below(static_cast<uint32_t>(most_bytes));
    const size_t high = random.Below(2) == 0 ? low : most_bytes;
    const size_t kept = size_t{1} << random.Below(13);
    const uint32_t turns = 1 + random.Below(1u << random.Below(14));
    for (uint32_t i = 0; i < turns; ++i) {
      const uint32_t bytes = random.Between(static_cast<uint32_t>(std::min(low, high)),
                                            static_cast<uint32_t>(std::max(low, high)));
      least = std::min(least, program.Take(bytes));
      while (program.live() > kept) {
        program.Give(random.Below(static_cast<uint32_t>(program.live())));
      }
    }
  }
  while (program.live() > 0) program.Give(0);
  return least;
}

TEST(QuarantineTest, SmallSlotsWaitForAsManyFreesAsPromised) {
  if (kLimits.bytes == 0) GTEST_SKIP() << "no quarantine";
  SeededStream random(11);
  EXPECT_GE(LeastWait(kPromisedUpTo, random), kPromisedFrees * kLimits.least_weight);
}

// By weight: what is in short blocks at the moment may be 7 slots of each class.
TEST(QuarantineTest, SlotsOfAllSizesWaitForTheirShareOfTheBudget) {
  if (kLimits.bytes == 0) GTEST_SKIP() << "no quarantine";
  SeededStream random(12);
  constexpr size_t kMost = 2000;
  uint64_t open = 0;
  for (size_t c = 0; core::kSlotSizes[c] <= kMost + 100; ++c) {
    open += 7 * kLimits.WeightOf(core::kSlotSizes[c]);
  }
  const uint64_t promised = kLimits.bytes / 3 * 2;
  EXPECT_GE(LeastWait(kMost, random), promised - std::min(open, promised));
}

// ---- what is found

// What is reported when one of `count` freed slots of `bytes` was written to, and then all leave.
void WriteToOneAndLetGo(size_t bytes, size_t count, size_t written) {
  std::vector<char*> blocks;
  for (size_t i = 0; i < count; ++i) blocks.push_back(AllocateSlot(bytes));
  for (char* block : blocks) Free(block);
  static_cast<volatile char*>(blocks[written])[bytes - 1] = 1;
  for (size_t i = 0; i < 200'000; ++i) Free(Allocate(bytes));
  _exit(0);
}

TEST(QuarantineDeathTest, AWriteToAnyOneOfManyIsFound) {
  if (kLimits.bytes == 0) GTEST_SKIP() << "no quarantine";
  for (const size_t bytes : {8, 40, 56, 120}) {
    for (const size_t written : {0, 1, 2, 3, 499, 996, 997, 998, 999}) {
      EXPECT_DEATH(WriteToOneAndLetGo(bytes, 1000, written), "write after free")
          << bytes << " " << written;
    }
    // Alone among the pairs that follow.
    EXPECT_DEATH(WriteToOneAndLetGo(bytes, 1, 0), "write after free") << bytes;
  }
}

TEST(QuarantineDeathTest, AWriteIsFoundWhenEverythingIsGivenBack) {
  if (kLimits.bytes == 0) GTEST_SKIP() << "no quarantine";
  for (const size_t count : {size_t{1}, size_t{20}, size_t{3000}}) {
    const auto write_and_trim = [count] {
      std::vector<char*> blocks;
      for (size_t i = 0; i < count; ++i) blocks.push_back(AllocateSlot(56));
      for (char* block : blocks) Free(block);
      static_cast<volatile char*>(blocks[0])[7] = 1;
      static_cast<core::ThreadHeap*>(core::current_heap)->ReleaseEverything(/*keep_one=*/false);
      _exit(0);
    };
    EXPECT_DEATH(write_and_trim(), "write after free") << count;
  }
}

// ---- that it lets go

TEST(QuarantineTest, EverythingIsGivenBack) {
  SeededStream random(13);
  Program program;
  for (int i = 0; i < 100'000; ++i) {
    program.Take(1 + random.Below(1u << (4 + random.Below(12))));
    if (program.live() > 500) program.Give(random.Below(500));
  }
  while (program.live() > 0) program.Give(0);
  core::ThreadHeap& heap = *static_cast<core::ThreadHeap*>(core::current_heap);
  heap.ReleaseEverything(/*keep_one=*/false);
  core::ThreadHeap::Tally tally;
  heap.AddTo(tally);
  EXPECT_EQ(tally.taken_slots, 0u);
  EXPECT_EQ(tally.taken_bytes, 0u);
  for (const core::Magazine& magazine : heap.magazines) {
    EXPECT_EQ(magazine.bottom, magazine.own);
    EXPECT_EQ(magazine.hold, nullptr);
  }
}

// ---- forks

// A signal handler that forks may come between the life that malloc writes and the key it reads:
// the canary is then of another epoch than its life.
TEST(QuarantineTest, CanariesOfAnotherEpochThanTheirLifeAreIntact) {
  if constexpr (kFeatures.canary) {
    constexpr SlotCanary::Words kWords =
        kFeatures.check_neighbours ? SlotCanary::Words::kFirstAndLast : SlotCanary::Words::kFirst;
    constexpr size_t kBytes = 50;
    char* const block = AllocateSlot(kBytes);
    const core::SliceDescriptor& slice = *core::heap_state.FindSlice(AddressOf(block));
    core::SlotRecord& record = slice.RecordAt(slice.IndexOf(AddressOf(block)), 2);
    const uint16_t life = (&record)[1].load(std::memory_order_relaxed);
    const size_t size = core::SlotSize(slice.size_class);
    AdvanceEpoch();
    SlotCanary::Write(kWords, AddressOf(block), size, size - kBytes,
                      SlotCanary::NewestValue(AddressOf(block), life));
    EXPECT_EQ(UsableSize(block), kBytes);
    AdvanceEpoch();
    EXPECT_EQ(UsableSize(block), kBytes);
    Free(block);
  } else {
    GTEST_SKIP() << "no canary";
  }
}

}  // namespace
}  // namespace hardened
