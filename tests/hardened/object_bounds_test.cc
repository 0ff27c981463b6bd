// object_bounds_test: how many bytes there are from any address to the end of its allocation.

#include "hardened/object_bounds.h"

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tests/hardened/heap_under_test.h"
#include "tests/support/seeded_stream.h"

namespace hardened {
namespace {

constexpr const Features& kFeatures = HeapUnderTest::kFeatures;
constexpr size_t kLargestSlotRequest = core::kMaxSlotSize - 8;

size_t From(const char* block, size_t offset) { return BytesFrom(AddressOf(block) + offset); }

// Where the level does not keep sizes: what malloc_usable_size says.
size_t SizeOf(char* block, size_t asked_for) {
  return kFeatures.exact_size ? asked_for : UsableSize(block);
}

// From the first byte, the last, the end, and some between.
void ExpectBounds(char* block, size_t asked_for) {
  const size_t size = SizeOf(block, asked_for);
  ASSERT_GE(size, asked_for);
  for (size_t offset = 0; offset < size; offset += 1 + size / 97) {
    ASSERT_EQ(From(block, offset), size - offset) << size << " " << offset;
  }
  if (size > 0) {
    ASSERT_EQ(From(block, size - 1), 1u) << size;
  }
}

TEST(ObjectBoundsTest, EverySizeOfASlotIsExact) {
  for (size_t size = 1; size <= kLargestSlotRequest; size += size < 4200 ? 1 : 991) {
    char* block = Allocate(size);
    ASSERT_NO_FATAL_FAILURE(ExpectBounds(block, size));
    // A sample may end against its guard.
    const bool is_slot = core::heap_state.FindSlice(AddressOf(block))->use == core::SliceUse::kSlab;
    if (kFeatures.exact_size && is_slot) {
      EXPECT_EQ(From(block, size), 0u) << size;
      EXPECT_EQ(From(block, size + 7), 0u) << size;
    }
    Free(block);
  }
}

TEST(ObjectBoundsTest, WhatASlabLeavesBehindItsLastSlotHasNoBound) {
  for (unsigned c = 0; c < core::kSizeClassCount; ++c) {
    const size_t size = core::SlotSize(static_cast<core::SizeClass>(c));
    char* block = Allocate(size - 8);
    const core::SliceDescriptor* slice = core::heap_state.FindSlice(AddressOf(block));
    const size_t slot_size = core::kSlotSizes[slice->size_class];
    if (slice->use != core::SliceUse::kSlab || slice->slot_count * slot_size > core::kSliceSize) {
      Free(block);  // a sample, or a slab of several slices
      continue;
    }
    const uintptr_t start = AddressOf(block) & ~(core::kSliceSize - 1);
    for (size_t i = slice->slot_count * slot_size; i < core::kSliceSize; ++i) {
      ASSERT_EQ(BytesFrom(start + i), kNoBound) << size << " " << i;
    }
    Free(block);
  }
}

TEST(ObjectBoundsTest, EveryByteOfARunIsFound) {
  SeededStream random(1);
  std::vector<std::pair<char*, size_t>> runs;
  // Of all lengths, and at all places: a third of them leaves again.
  for (int i = 0; i < 300; ++i) {
    const size_t size = (size_t{70'000} << random.Below(8)) + random.Below(60'000);
    char* run = random.Below(4) == 0 ? AllocateAligned(size_t{4096} << random.Below(8), size)
                                     : Allocate(size);
    ASSERT_NE(run, nullptr);
    runs.emplace_back(run, size);
    if (random.Below(3) == 0) {
      std::swap(runs[random.Below(static_cast<uint32_t>(runs.size()))], runs.back());
      Free(runs.back().first);
      runs.pop_back();
    }
  }
  for (const auto& [run, size] : runs) ASSERT_NO_FATAL_FAILURE(ExpectBounds(run, size));
  for (const auto& [run, size] : runs) Free(run);
}

TEST(ObjectBoundsTest, AHugeRunIsFoundFromEachOfItsSlices) {
  for (const size_t size : {size_t{1} << 30, (size_t{5} << 30) + 12'345}) {
    char* run = Allocate(size);
    if (run == nullptr) GTEST_SKIP() << "no address space for " << size;
    const size_t end = SizeOf(run, size);
    for (size_t offset = 0; offset < size; offset += core::kSliceSize) {
      ASSERT_EQ(From(run, offset), end - offset) << offset;
    }
    Free(run);
  }
}

TEST(ObjectBoundsTest, ReallocMovesTheEnd) {
  for (const size_t largest : {size_t{4000}, size_t{40'000'000}}) {
    char* block = Allocate(100);
    for (size_t size = 100; size < largest; size += 1 + size / 3) {
      block = Reallocate(block, size);
      ASSERT_NO_FATAL_FAILURE(ExpectBounds(block, size));
    }
    for (size_t size = largest; size > 100; size -= size / 3) {
      block = Reallocate(block, size);
      ASSERT_NO_FATAL_FAILURE(ExpectBounds(block, size));
    }
    Free(block);
  }
}

TEST(ObjectBoundsTest, AnAllocationOfNothingHasNoBytes) {
  if (!kFeatures.zero_size_faults) GTEST_SKIP() << "it is an ordinary slot at this level";
  for (const size_t alignment : {1, 64, 4096}) {
    char* block = AllocateAligned(alignment, 0);
    EXPECT_EQ(From(block, 0), 0u) << alignment;
    Free(block);
  }
}

TEST(ObjectBoundsTest, WhatIsNotALiveAllocationHasNoBound) {
  static char global[64];
  char stack[64];
  for (const size_t size : {16, 64, 4096, 100'000, 300'000}) {
    char* block = Allocate(size);
    Free(block);
    EXPECT_EQ(From(block, 0), kNoBound) << size;
    EXPECT_EQ(From(block, size - 1), kNoBound) << size;
  }
  const char* const places[] = {global, stack, "", nullptr, reinterpret_cast<const char*>(-1)};
  for (const char* place : places) {
    EXPECT_EQ(From(place, 0), kNoBound);
  }
}

TEST(ObjectBoundsTest, EachThreadFindsItsRunsWhileOthersComeAndGo) {
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([t, &wrong] {
      SeededStream random(100 + t);
      std::vector<std::pair<char*, size_t>> mine;
      for (int i = 0; i < 4000; ++i) {
        const size_t size = 66'000 + random.Below(1'500'000);
        if (mine.size() < 8) {
          mine.emplace_back(Allocate(size), size);
        } else {
          auto& [block, old_size] = mine[random.Below(8)];
          if (random.Below(2) == 0) {
            Free(block);
            block = Allocate(size);
          } else {
            block = Reallocate(block, size);
          }
          old_size = size;
        }
        const auto& [block, asked_for] = mine[random.Below(static_cast<uint32_t>(mine.size()))];
        const size_t offset = random.Below(static_cast<uint32_t>(asked_for));
        if (From(block, offset) != SizeOf(block, asked_for) - offset) ++wrong;
      }
      for (const auto& [block, size] : mine) Free(block);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace hardened
