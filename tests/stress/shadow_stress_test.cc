#include "tests/stress/shadow_stress.h"

#include <ostream>
#include <string>

#include "gtest/gtest.h"
#include "tests/preload/library_under_test.h"

namespace {

TEST(ShadowStressTest, TheExpectedLibraryIsInCharge) {
  const LibraryUnderTest library = LibraryUnderTest::Find();
  if (LibraryUnderTest::ExpectedLevel() == "none") {
    EXPECT_EQ(library.get_counters, nullptr);
  } else {
    ASSERT_NE(library.level, nullptr);
    EXPECT_EQ(library.level(), LibraryUnderTest::ExpectedLevel());
  }
}

TEST(ShadowStressTest, OneThreadKeepsContentsAndLiveBlocksDisjoint) {
  for (uint64_t seed : {1, 2, 3}) {
    EXPECT_EQ(RunShadowStress(SystemAllocationTable(),
                              {.seed = seed, .threads = 1, .operations = 15000}),
              "")
        << "seed " << seed;
  }
}

TEST(ShadowStressTest, OneThreadWithSmallBlocksOnly) {
  EXPECT_EQ(RunShadowStress(SystemAllocationTable(),
                            {.seed = 4, .threads = 1, .operations = 150000, .largest = 2048}),
            "");
}

TEST(ShadowStressTest, EightThreadsKeepContentsWhileTheyPassBlocksAround) {
  EXPECT_EQ(RunShadowStress(SystemAllocationTable(), {.seed = 5, .operations = 1500}), "");
}

TEST(ShadowStressTest, ThreadsComeAndGoWithLiveSmallBlocks) {
  EXPECT_EQ(RunShadowStress(SystemAllocationTable(),
                            {.seed = 6, .lives = 200, .operations = 200, .largest = 2048}),
            "");
}

// --- The oracle itself: it must see each planted fault ------------------------------

size_t calls = 0;
bool EveryThousandthCall() { return ++calls % 1000 == 0; }
alignas(16) char shared_block[65536];  // never given back to the real allocator
bool IsShared(void* block) {
  return block >= shared_block && block < shared_block + sizeof shared_block;
}

struct Fault {
  const char* name;
  const char* expected;
  unsigned threads;
  void (*plant)(AllocationTable& table);
};
void PrintTo(const Fault& row, std::ostream* out) { *out << row.name; }

// Hands out addresses in shared_block, `step` bytes further each time.
template <size_t step>
void PlantSharedBlocks(AllocationTable& table) {
  table.malloc = [](size_t size) -> void* {
    if (size > 1024 || calls > 16) return SystemAllocationTable().malloc(size);
    return shared_block + step * calls++;
  };
  table.malloc_usable_size = [](void* block) {
    return IsShared(block) ? 1024 : SystemAllocationTable().malloc_usable_size(block);
  };
  table.realloc = [](void* block, size_t size) -> void* {
    if (!IsShared(block)) return SystemAllocationTable().realloc(block, size);
    void* moved = SystemAllocationTable().malloc(size);
    __builtin_memcpy(moved, block, size < 1024 ? size : 1024);
    return moved;
  };
  table.free = [](void* block) {
    if (!IsShared(block)) SystemAllocationTable().free(block);
  };
  table.reallocarray = nullptr;
  table.free_sized = nullptr;
}

const Fault kFaults[] = {
    {"ABlockHandedOutTwice", "handed out twice", 1, PlantSharedBlocks<0>},
    {"OverlapOfNeighbours", "overlaps the live block", 1, PlantSharedBlocks<16>},
    {"OverlapWithManyThreads", "contents changed", 2, PlantSharedBlocks<0>},
    {"CallocThatIsNotZero", "calloc gave", 1,
     [](AllocationTable& table) {
       table.calloc = [](size_t count, size_t size) {
         char* block = static_cast<char*>(SystemAllocationTable().calloc(count, size));
         if (calls++ == 50) block[size - 1] = 1;
         return static_cast<void*>(block);
       };
     }},
    {"ReallocThatLosesTheLastByte", "realloc lost", 1,
     [](AllocationTable& table) {
       table.realloc = [](void* block, size_t size) {
         size_t old = block == nullptr ? 0 : SystemAllocationTable().malloc_usable_size(block);
         char* moved = static_cast<char*>(SystemAllocationTable().realloc(block, size));
         if (old > 2 * size + 64 && calls++ == 20) moved[size - 1] ^= 1;
         return static_cast<void*>(moved);
       };
     }},
    {"MisalignedBlock", "misaligned", 1,
     [](AllocationTable& table) {
       // Blocks of 16 more than a power of two: few of them are aligned to more than 16.
       table.aligned_alloc = [](size_t, size_t size) {
         return SystemAllocationTable().malloc((size | 15) + 17);
       };
     }},
    {"UsableSizeBelowTheRequest", "usable size too small", 1,
     [](AllocationTable& table) {
       table.malloc_usable_size = [](void*) { return size_t{100}; };
     }},
    {"FailedAllocation", "allocation failed", 1,
     [](AllocationTable& table) {
       table.malloc = [](size_t size) {
         return EveryThousandthCall() ? nullptr : SystemAllocationTable().malloc(size);
       };
     }},
    {"LeakedBlock", "after freeing everything", 1,
     [](AllocationTable& table) {
       table.free = [](void* block) {
         if (!EveryThousandthCall()) SystemAllocationTable().free(block);
       };
       table.get_counters = [](hardened_counters* out) {
         *out = {};
         out->live_slots = calls / 1000;
         return 0;
       };
     }},
};
class ShadowStressOracleTest : public testing::TestWithParam<Fault> {};

TEST_P(ShadowStressOracleTest, SeesAPlantedFault) {
  calls = 0;
  AllocationTable table = SystemAllocationTable();
  GetParam().plant(table);
  const std::string failure = RunShadowStress(
      table, {.seed = 7, .threads = GetParam().threads, .lives = 1, .operations = 20000,
              .largest = 16384});
  EXPECT_NE(failure.find(GetParam().expected), std::string::npos) << "got: " << failure;
}
INSTANTIATE_TEST_SUITE_P(, ShadowStressOracleTest, testing::ValuesIn(kFaults),
                         [](const auto& row) { return std::string(row.param.name); });

}  // namespace
