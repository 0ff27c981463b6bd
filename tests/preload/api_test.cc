// api_test: the C allocation functions, as any program may use them.
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ostream>
#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/preload/library_under_test.h"
#include "tests/preload/pattern.h"

namespace {

constexpr size_t kPage = 4096;
constexpr size_t kTooLarge = size_t{PTRDIFF_MAX} + 1;

bool IsAligned(const void* block, size_t alignment) {
  return block != nullptr && reinterpret_cast<uintptr_t>(block) % alignment == 0;
}

// Sizes around every power of two and the quarter steps between, to `limit`.
std::vector<size_t> InterestingSizes(size_t limit) {
  std::set<size_t> sizes = {1, 2, 7, 8, 9, 15};
  for (size_t power = 16; power <= limit; power *= 2) {
    for (size_t step = 0; step < 4; ++step) {
      const size_t size = power + step * power / 4;
      for (size_t near : {size - 1, size, size + 1}) {
        if (near <= limit) sizes.insert(near);
      }
    }
  }
  return {sizes.begin(), sizes.end()};
}

TEST(ApiTest, TheExpectedLibraryIsInChargeAndCounts) {
  const LibraryUnderTest library = LibraryUnderTest::Find();
  const std::string_view expected = LibraryUnderTest::ExpectedLevel();
  if (expected == "none") {
    EXPECT_EQ(library.get_counters, nullptr) << "the control must run on libc's malloc";
    return;
  }
  ASSERT_NE(library.get_counters, nullptr);
  hardened_counters before = {}, between = {}, after = {};
  constexpr uint64_t kCount = 1000;
  static void* blocks[kCount];
  ASSERT_EQ(library.get_counters(&before), 0);
  for (void*& block : blocks) block = Opaque(malloc(100));
  const int between_result = library.get_counters(&between);
  for (void* block : blocks) free(Opaque(block));
  const int after_result = library.get_counters(&after);
  ASSERT_EQ(between_result, 0);
  ASSERT_EQ(after_result, 0);
  EXPECT_EQ(between.allocations - before.allocations, kCount);
  EXPECT_EQ(between.deallocations, before.deallocations);
  EXPECT_EQ(between.live_slots + between.live_runs,
            before.live_slots + before.live_runs + kCount);
  EXPECT_GE(between.live_bytes, before.live_bytes + 100 * kCount);
  EXPECT_EQ(after.deallocations - before.deallocations, kCount);
  EXPECT_EQ(after.live_slots, before.live_slots);
  EXPECT_EQ(after.live_runs, before.live_runs);
  EXPECT_EQ(after.live_bytes, before.live_bytes);
  EXPECT_GE(between.mapped_bytes, between.live_bytes);
  EXPECT_GE(between.segments, 1u);
}

TEST(ApiTest, LevelIsTheOneTheRunNames) {
  const LibraryUnderTest library = LibraryUnderTest::Find();
  const std::string_view expected = LibraryUnderTest::ExpectedLevel();
  if (expected == "none") GTEST_SKIP() << "control run on libc, which has no level";
  ASSERT_NE(library.level, nullptr);
  if (expected.empty()) GTEST_SKIP() << "HARDENED_EXPECTED_LEVEL is not set";
  EXPECT_EQ(library.level(), expected);
}

TEST(ApiTest, CountersSeeALargeBlockComeAndGo) {
  const LibraryUnderTest library = LibraryUnderTest::Find();
  if (library.get_counters == nullptr) GTEST_SKIP() << "no hardened_get_counters in this process";
  constexpr size_t kSize = 8 << 20;
  hardened_counters before = {}, between = {}, after = {};
  library.get_counters(&before);
  void* block = Opaque(malloc(kSize));
  library.get_counters(&between);
  free(Opaque(block));
  library.get_counters(&after);
  EXPECT_EQ(between.live_runs, before.live_runs + 1);
  EXPECT_GE(between.live_bytes, before.live_bytes + kSize);
  EXPECT_EQ(after.live_runs, before.live_runs);
  EXPECT_EQ(after.live_bytes, before.live_bytes);
}

TEST(ApiTest, CountersFollowReallocToASimilarSize) {
  const LibraryUnderTest library = LibraryUnderTest::Find();
  if (library.get_counters == nullptr) GTEST_SKIP() << "no hardened_get_counters in this process";
  for (size_t size : {100, 5000, 20000, 100000, 1 << 20, 16 << 20}) {
    for (size_t to : {size - size / 10, size + size / 10, size / 2, 2 * size, size_t{50}}) {
      hardened_counters before = {}, between = {}, after = {};
      library.get_counters(&before);
      void* block = Opaque(realloc(Opaque(malloc(size)), to));
      library.get_counters(&between);
      free(Opaque(block));
      library.get_counters(&after);
      EXPECT_GE(between.live_bytes, before.live_bytes + to) << size << " -> " << to;
      EXPECT_EQ(after.live_bytes, before.live_bytes) << size << " -> " << to;
    }
  }
}

// --- Zero sizes ---------------------------------------------------------------

struct ZeroCase {
  const char* name;
  void* (*allocate)();
};
void PrintTo(const ZeroCase& row, std::ostream* out) { *out << row.name; }
constexpr ZeroCase kZeroCases[] = {
    {"MallocOfZero", [] { return malloc(Opaque(size_t{0})); }},
    {"CallocOfZeroItems", [] { return calloc(Opaque(size_t{0}), 8); }},
    {"CallocOfZeroBytes", [] { return calloc(8, Opaque(size_t{0})); }},
    {"ReallocOfNullToZero", [] { return realloc(nullptr, Opaque(size_t{0})); }},
    {"ReallocarrayOfNullToZero", [] { return reallocarray(nullptr, Opaque(size_t{0}), 8); }},
    {"AlignedAllocOfZero", [] { return aligned_alloc(64, Opaque(size_t{0})); }},
    {"MemalignOfZero", [] { return memalign(64, Opaque(size_t{0})); }},
    {"VallocOfZero", [] { return valloc(Opaque(size_t{0})); }},
    {"PvallocOfZero", [] { return pvalloc(Opaque(size_t{0})); }},
    {"PosixMemalignOfZero",
     [] {
       void* block = nullptr;
       return posix_memalign(&block, 64, Opaque(size_t{0})) == 0 ? block : nullptr;
     }},
};
class ZeroSizeTest : public testing::TestWithParam<ZeroCase> {};

TEST_P(ZeroSizeTest, GivesDistinctBlocksThatCanBeFreed) {
  std::set<void*> blocks;
  for (int i = 0; i < 100; ++i) {
    void* block = GetParam().allocate();
    ASSERT_TRUE(IsAligned(block, 16));
    EXPECT_TRUE(blocks.insert(block).second);
  }
  for (void* block : blocks) free(block);
}
INSTANTIATE_TEST_SUITE_P(, ZeroSizeTest, testing::ValuesIn(kZeroCases),
                         [](const auto& row) { return row.param.name; });

// --- Too large ----------------------------------------------------------------

struct HugeCase {
  const char* name;
  void* (*allocate)(size_t size);
};
void PrintTo(const HugeCase& row, std::ostream* out) { *out << row.name; }
constexpr HugeCase kHugeCases[] = {
    {"Malloc", [](size_t n) { return malloc(n); }},
    {"Calloc", [](size_t n) { return calloc(1, n); }},
    {"CallocItems", [](size_t n) { return calloc(n, 1); }},
    {"ReallocOfNull", [](size_t n) { return realloc(nullptr, n); }},
    {"ReallocarrayOfNull", [](size_t n) { return reallocarray(nullptr, 1, n); }},
    {"AlignedAlloc", [](size_t n) { return aligned_alloc(64, n); }},
    {"Memalign", [](size_t n) { return memalign(kPage, n); }},
    {"Valloc", [](size_t n) { return valloc(n); }},
    {"Pvalloc", [](size_t n) { return pvalloc(n); }},
    {"PosixMemalign",
     [](size_t n) -> void* {
       char untouched;
       void* block = &untouched;
       const int error = posix_memalign(&block, 64, n);
       EXPECT_EQ(block, &untouched) << "memptr must stay as it was";
       errno = error;
       return error == 0 ? block : nullptr;
     }},
};
class HugeSizeTest : public testing::TestWithParam<HugeCase> {};

TEST_P(HugeSizeTest, GivesNullAndEnomem) {
  const size_t sizes[] = {kTooLarge - 1,     kTooLarge,         kTooLarge + 1, SIZE_MAX / 2 + kPage,
                          SIZE_MAX - 65536,  SIZE_MAX - kPage,  SIZE_MAX - 32, SIZE_MAX - 16,
                          SIZE_MAX - 15,     SIZE_MAX - 1,      SIZE_MAX};
  for (size_t size : sizes) {
    errno = 0;
    void* block = GetParam().allocate(Opaque(size));
    EXPECT_EQ(block, nullptr) << std::hex << size;
    EXPECT_EQ(errno, ENOMEM) << std::hex << size;
  }
}
INSTANTIATE_TEST_SUITE_P(, HugeSizeTest, testing::ValuesIn(kHugeCases),
                         [](const auto& row) { return row.param.name; });

struct Product {
  size_t count, size;
};
constexpr Product kOverflows[] = {
    {SIZE_MAX, 2},           {2, SIZE_MAX},           {SIZE_MAX, SIZE_MAX},
    {SIZE_MAX / 2 + 1, 2},   {SIZE_MAX / 16 + 1, 16}, {size_t{1} << 32, size_t{1} << 32},
    {(size_t{1} << 32) + 1, (size_t{1} << 32) + 1},   {SIZE_MAX / 3 + 1, 3},
};

TEST(ApiTest, CallocRefusesAProductThatOverflows) {
  for (auto [count, size] : kOverflows) {
    errno = 0;
    EXPECT_EQ(calloc(Opaque(count), Opaque(size)), nullptr) << count << " x " << size;
    EXPECT_EQ(errno, ENOMEM);
  }
}

TEST(ApiTest, ReallocarrayRefusesAProductThatOverflowsAndKeepsTheBlock) {
  void* block = malloc(100);
  FillPattern(block, 100, 1);
  for (auto [count, size] : kOverflows) {
    errno = 0;
    EXPECT_EQ(reallocarray(Opaque(block), Opaque(count), Opaque(size)), nullptr);
    EXPECT_EQ(errno, ENOMEM);
  }
  EXPECT_TRUE(HasPattern(block, 100, 1));
  free(block);
}

TEST(ApiTest, ReallocToATooLargeSizeKeepsTheBlock) {
  for (size_t size : {size_t{100}, size_t{5000}, size_t{1} << 20}) {
    void* block = malloc(size);
    FillPattern(block, size, 2);
    errno = 0;
    EXPECT_EQ(realloc(Opaque(block), Opaque(kTooLarge)), nullptr);
    EXPECT_EQ(errno, ENOMEM);
    EXPECT_TRUE(HasPattern(Opaque(block), size, 2));
    free(Opaque(block));
  }
}

// --- malloc, usable size --------------------------------------------------------

TEST(MallocTest, Gives16ByteAlignmentForEverySizeTo70000) {
  for (size_t size = 1; size <= 70000; ++size) {
    void* block = Opaque(malloc(size));
    ASSERT_TRUE(IsAligned(block, 16)) << size;
    free(block);
  }
}

TEST(MallocTest, LiveBlocksKeepTheirContents) {
  std::vector<void*> blocks;
  for (size_t size = 1; size <= 5000; ++size) {
    blocks.push_back(malloc(size));
    FillPattern(blocks.back(), size, size);
  }
  for (size_t size = 1; size <= 5000; ++size) {
    ASSERT_TRUE(HasPattern(blocks[size - 1], size, size)) << size;
    free(blocks[size - 1]);
  }
}

TEST(MallocTest, ABlockOf64MibIsWholeAndWritable) {
  constexpr size_t kSize = 64 << 20;
  void* block = malloc(kSize);
  ASSERT_TRUE(IsAligned(block, 16));
  FillPattern(block, kSize, 3);
  EXPECT_TRUE(HasPattern(block, kSize, 3));
  free(block);
}

TEST(MallocTest, LibcFunctionsThatAllocateWorkWithFree) {
  char* copy = strdup("a string long enough not to be a joke");
  ASSERT_STREQ(copy, "a string long enough not to be a joke");
  free(copy);
  char* text = nullptr;
  ASSERT_EQ(asprintf(&text, "%0200d", 7), 200);
  EXPECT_EQ(strlen(text), 200u);
  free(text);
}

TEST(UsableSizeTest, OfNullIsZero) { EXPECT_EQ(malloc_usable_size(nullptr), 0u); }

TEST(UsableSizeTest, IsAtLeastTheRequestAndAllOfItIsWritable) {
  for (size_t size : InterestingSizes(4 << 20)) {
    void* block = Opaque(malloc(size));
    const size_t usable = malloc_usable_size(block);
    ASSERT_GE(usable, size);
    FillPattern(block, usable, size);
    ASSERT_TRUE(HasPattern(block, usable, size)) << size;
    ASSERT_EQ(malloc_usable_size(block), usable);
    free(Opaque(block));
  }
}

TEST(UsableSizeTest, NeighboursFilledToTheirUsableSizeDoNotOverlap) {
  for (size_t size : {1, 16, 17, 48, 64, 100, 1000, 4096, 20000}) {
    std::vector<void*> blocks;
    for (uint64_t i = 0; i < 200; ++i) {
      blocks.push_back(malloc(size));
      FillPattern(blocks.back(), malloc_usable_size(blocks.back()), i);
    }
    for (uint64_t i = 0; i < 200; ++i) {
      ASSERT_TRUE(HasPattern(blocks[i], malloc_usable_size(blocks[i]), i)) << size;
    }
    for (void* block : blocks) free(block);
  }
}

// --- calloc ---------------------------------------------------------------------

void ExpectZeroAfterDirtyReuse(size_t size) {
  constexpr int kBlocks = 8;
  void* blocks[kBlocks];
  for (void*& block : blocks) {
    block = Opaque(malloc(size));
    memset(block, 0xa5, malloc_usable_size(block));
  }
  for (void* block : blocks) free(Opaque(block));
  for (void*& block : blocks) {
    block = Opaque(calloc(1, size));
    ASSERT_EQ(FirstNonZero(block, size), size) << "size " << size;
    memset(block, 0x5a, size);
  }
  for (void* block : blocks) free(Opaque(block));
}

TEST(CallocTest, IsZeroAfterDirtyReuseForEverySizeTo2048) {
  for (size_t size = 1; size <= 2048; ++size) {
    ASSERT_NO_FATAL_FAILURE(ExpectZeroAfterDirtyReuse(size));
  }
}

TEST(CallocTest, IsZeroAfterDirtyReuseForLargerSizes) {
  for (size_t size : InterestingSizes(4 << 20)) {
    if (size <= 2048) continue;
    ASSERT_NO_FATAL_FAILURE(ExpectZeroAfterDirtyReuse(size));
  }
}

TEST(CallocTest, IsZeroAfterADirtyBlockOfAnotherSize) {
  for (size_t dirty : {64, 5000, 100000, 1 << 20}) {
    for (size_t size : {16, 1000, 20000, 300000}) {
      void* block = Opaque(malloc(dirty));
      memset(block, 0xff, dirty);
      free(block);
      block = Opaque(calloc(size, 1));
      ASSERT_EQ(FirstNonZero(block, size), size) << dirty << " then " << size;
      free(block);
    }
  }
}

TEST(CallocTest, MultipliesItsArguments) {
  void* block = calloc(Opaque(size_t{1000}), 24);
  EXPECT_GE(malloc_usable_size(block), 24000u);
  EXPECT_EQ(FirstNonZero(block, 24000), 24000u);
  free(block);
}

// --- realloc --------------------------------------------------------------------

void ExpectReallocKeeps(size_t from, size_t to) {
  void* block = Opaque(malloc(from));
  FillPattern(block, from, from ^ to);
  block = Opaque(realloc(block, to));
  ASSERT_TRUE(IsAligned(block, 16)) << from << " -> " << to;
  const size_t kept = from < to ? from : to;
  ASSERT_EQ(FirstDifference(block, kept & ~size_t{7}, from ^ to), kept & ~size_t{7})
      << from << " -> " << to;
  ASSERT_GE(malloc_usable_size(block), to);
  FillPattern(block, to, to);
  ASSERT_TRUE(HasPattern(block, to, to));
  free(block);
}

TEST(ReallocTest, KeepsContentsBetweenAllSizesTo64Kib) {
  const std::vector<size_t> sizes = InterestingSizes(65536);
  for (size_t from : sizes) {
    for (size_t to : sizes) ASSERT_NO_FATAL_FAILURE(ExpectReallocKeeps(from, to));
  }
}

TEST(ReallocTest, KeepsContentsBetweenLargeSizes) {
  const size_t sizes[] = {16,      1000,    4096,    20000,       65536,      131072,  200000,
                          1 << 18, 300000,  1 << 19, (1 << 20) - 1, 1 << 20, 3 << 20, (8 << 20) + 1};
  for (size_t from : sizes) {
    for (size_t to : sizes) ASSERT_NO_FATAL_FAILURE(ExpectReallocKeeps(from, to));
  }
}

TEST(ReallocTest, KeepsTheLastByteWhenGrowing) {
  for (size_t size = 1; size <= 3000; ++size) {
    auto* block = static_cast<unsigned char*>(Opaque(malloc(size)));
    block[size - 1] = 0x7b;
    block = static_cast<unsigned char*>(Opaque(realloc(block, size + 16)));
    ASSERT_EQ(block[size - 1], 0x7b) << size;
    free(block);
  }
}

TEST(ReallocTest, GrowingByteByByteKeepsContents) {
  char* text = nullptr;
  for (size_t size = 1; size <= 20000; ++size) {
    text = static_cast<char*>(realloc(text, size));
    text[size - 1] = static_cast<char>(size * 7);
  }
  for (size_t size = 1; size <= 20000; ++size) {
    ASSERT_EQ(text[size - 1], static_cast<char>(size * 7));
  }
  free(text);
}

TEST(ReallocTest, OfNullAllocates) {
  void* block = realloc(nullptr, Opaque(size_t{1000}));
  ASSERT_TRUE(IsAligned(block, 16));
  FillPattern(block, 1000, 4);
  EXPECT_TRUE(HasPattern(block, 1000, 4));
  free(block);
}

TEST(ReallocTest, ToZeroFreesAndReturnsNull) {
  const LibraryUnderTest library = LibraryUnderTest::Find();
  for (size_t size : {size_t{1}, size_t{100}, size_t{5000}, size_t{1} << 20}) {
    void* block = Opaque(malloc(size));
    hardened_counters before = {}, after = {};
    if (library.get_counters != nullptr) library.get_counters(&before);
    void* result = realloc(block, Opaque(size_t{0}));
    if (library.get_counters != nullptr) library.get_counters(&after);
    EXPECT_EQ(result, nullptr) << size;
    if (library.get_counters != nullptr) {
      EXPECT_EQ(before.live_slots + before.live_runs, after.live_slots + after.live_runs + 1);
    }
  }
}

TEST(ReallocTest, ToTheSameSizeKeepsContents) {
  for (size_t size : InterestingSizes(1 << 20)) {
    ASSERT_NO_FATAL_FAILURE(ExpectReallocKeeps(size, size));
  }
}

TEST(ReallocTest, OfAnAlignedBlockKeepsContents) {
  for (size_t alignment = 16; alignment <= (2 << 20); alignment *= 2) {
    void* block = Opaque(aligned_alloc(alignment, 3000));
    FillPattern(block, 3000, alignment);
    block = Opaque(realloc(block, 9000));
    ASSERT_TRUE(HasPattern(block, 3000, alignment)) << alignment;
    free(block);
  }
}

TEST(ReallocarrayTest, MultipliesAndKeepsContents) {
  void* block = reallocarray(nullptr, Opaque(size_t{10}), 8);
  FillPattern(block, 80, 5);
  block = reallocarray(block, Opaque(size_t{1000}), 100);
  ASSERT_GE(malloc_usable_size(block), 100000u);
  EXPECT_TRUE(HasPattern(block, 80, 5));
  free(block);
}

// --- free -----------------------------------------------------------------------

TEST(FreeTest, OfNullDoesNothing) {
  free(Opaque<void*>(nullptr));
  const LibraryUnderTest library = LibraryUnderTest::Find();
  if (library.free_sized != nullptr) library.free_sized(nullptr, 10);
  if (library.free_aligned_sized != nullptr) library.free_aligned_sized(nullptr, 64, 10);
}

TEST(FreeTest, PreservesErrno) {
  for (size_t size : InterestingSizes(32 << 20)) {
    void* block = Opaque(malloc(size));
    errno = 12345;
    free(block);
    ASSERT_EQ(errno, 12345) << size;
  }
}

TEST(FreeTest, SuccessfulAllocationPreservesErrno) {
  errno = 12345;
  void* blocks[] = {malloc(100), calloc(10, 10), aligned_alloc(64, 64), malloc(1 << 20)};
  EXPECT_EQ(errno, 12345);
  for (void* block : blocks) free(Opaque(block));
}

TEST(FreeTest, FreeSizedTakesTheRequestedSize) {
  const LibraryUnderTest library = LibraryUnderTest::Find();
  if (LibraryUnderTest::ExpectedLevel() == "none" && library.free_sized == nullptr) {
    GTEST_SKIP() << "this libc has no free_sized";
  }
  ASSERT_NE(library.free_sized, nullptr);
  for (size_t size : InterestingSizes(4 << 20)) {
    library.free_sized(malloc(size), size);
    library.free_sized(calloc(1, size), size);
    library.free_sized(realloc(malloc(10), size), size);
  }
}

TEST(FreeTest, FreeAlignedSizedTakesTheRequestedAlignmentAndSize) {
  const LibraryUnderTest library = LibraryUnderTest::Find();
  if (LibraryUnderTest::ExpectedLevel() == "none" && library.free_aligned_sized == nullptr) {
    GTEST_SKIP() << "this libc has no free_aligned_sized";
  }
  ASSERT_NE(library.free_aligned_sized, nullptr);
  for (size_t alignment = 16; alignment <= 65536; alignment *= 2) {
    for (size_t size : {alignment, 3 * alignment, 10 * alignment}) {
      library.free_aligned_sized(aligned_alloc(alignment, size), alignment, size);
    }
  }
}

// --- The aligned family -----------------------------------------------------------

struct AlignedCase {
  const char* name;
  void* (*allocate)(size_t alignment, size_t size);
};
void PrintTo(const AlignedCase& row, std::ostream* out) { *out << row.name; }
constexpr AlignedCase kAlignedCases[] = {
    {"AlignedAlloc", [](size_t a, size_t n) { return aligned_alloc(a, n); }},
    {"Memalign", [](size_t a, size_t n) { return memalign(a, n); }},
    {"PosixMemalign",
     [](size_t a, size_t n) -> void* {
       void* block = nullptr;
       const int error = posix_memalign(&block, a, n);
       if (error != 0) errno = error;
       return error == 0 ? block : nullptr;
     }},
};
class AlignedTest : public testing::TestWithParam<AlignedCase> {};

TEST_P(AlignedTest, GivesEveryAlignmentTo2MibWithWholeWritableBlocks) {
  for (size_t alignment = 8; alignment <= (2 << 20); alignment *= 2) {
    for (size_t size : {1, 15, 16, 64, 100, 4096, 5000, 100000, 1 << 20}) {
      void* blocks[4];
      for (size_t i = 0; i < 4; ++i) {
        blocks[i] = GetParam().allocate(Opaque(alignment), Opaque(size));
        ASSERT_TRUE(IsAligned(blocks[i], alignment)) << alignment << ", " << size;
        ASSERT_TRUE(IsAligned(blocks[i], 16)) << alignment << ", " << size;
        ASSERT_GE(malloc_usable_size(blocks[i]), size);
        FillPattern(blocks[i], malloc_usable_size(blocks[i]), i);
      }
      for (size_t i = 0; i < 4; ++i) {
        ASSERT_TRUE(HasPattern(blocks[i], malloc_usable_size(blocks[i]), i));
        free(blocks[i]);
      }
    }
  }
}

TEST_P(AlignedTest, RefusesAHugeAlignmentOrASumThatOverflows) {
  const Product rows[] = {{size_t{1} << 62, 16},
                          {size_t{1} << 63, 16},
                          {size_t{1} << 63, SIZE_MAX / 2},
                          {size_t{1} << 20, SIZE_MAX - 4096},
                          {size_t{1} << 62, SIZE_MAX}};
  for (auto [alignment, size] : rows) {
    errno = 0;
    EXPECT_EQ(GetParam().allocate(Opaque(alignment), Opaque(size)), nullptr)
        << std::hex << alignment << ", " << size;
    EXPECT_TRUE(errno == ENOMEM || errno == EINVAL) << errno;
  }
}
INSTANTIATE_TEST_SUITE_P(, AlignedTest, testing::ValuesIn(kAlignedCases),
                         [](const auto& row) { return row.param.name; });

TEST(PosixMemalignTest, RefusesABadAlignmentAndLeavesMemptrAlone) {
  for (size_t alignment : {0, 1, 2, 4, 3, 7, 12, 24, 40, 48, 100, 4095, 4097}) {
    char untouched;
    void* block = &untouched;
    EXPECT_EQ(posix_memalign(&block, Opaque(alignment), 64), EINVAL) << alignment;
    EXPECT_EQ(block, &untouched) << alignment;
  }
}

TEST(PosixMemalignTest, AcceptsTheAlignmentOfAPointer) {
  void* block = nullptr;
  ASSERT_EQ(posix_memalign(&block, sizeof(void*), 10), 0);
  EXPECT_TRUE(IsAligned(block, 16));
  free(block);
}

// C23 and glibc 2.38 refuse with EINVAL; older glibc rounds the alignment up.
TEST(AlignedAllocTest, AnAlignmentThatIsNoPowerOfTwoIsRefusedOrRoundedUp) {
  for (size_t alignment : {3, 24, 48, 100, 4097}) {
    errno = 0;
    void* block = aligned_alloc(Opaque(alignment), 2 * alignment);
    if (block == nullptr) {
      EXPECT_EQ(errno, EINVAL) << alignment;
    } else {
      size_t rounded = 16;
      while (rounded < alignment) rounded *= 2;
      EXPECT_TRUE(IsAligned(block, rounded)) << alignment;
      free(block);
    }
  }
}

TEST(AlignedAllocTest, ASizeThatIsNoMultipleOfTheAlignmentIsAccepted) {
  void* block = aligned_alloc(Opaque(size_t{4096}), Opaque(size_t{100}));
  ASSERT_TRUE(IsAligned(block, 4096));
  EXPECT_GE(malloc_usable_size(block), 100u);
  free(block);
}

TEST(VallocTest, GivesWholePagesAlignment) {
  for (size_t size : {1, 100, 4096, 4097, 100000}) {
    void* block = valloc(Opaque(size));
    ASSERT_TRUE(IsAligned(block, kPage)) << size;
    FillPattern(block, size, size);
    EXPECT_TRUE(HasPattern(block, size, size));
    free(block);
  }
}

TEST(PvallocTest, RoundsTheSizeUpToWholePages) {
  for (size_t size : {1, 100, 4096, 4097, 100000}) {
    void* block = pvalloc(Opaque(size));
    ASSERT_TRUE(IsAligned(block, kPage)) << size;
    const size_t rounded = (size + kPage - 1) / kPage * kPage;
    ASSERT_GE(malloc_usable_size(block), rounded);
    FillPattern(block, rounded, size);
    EXPECT_TRUE(HasPattern(block, rounded, size));
    free(block);
  }
}

// --- glibc's extras ---------------------------------------------------------------

TEST(ExtrasTest, MallocTrimReturnsZeroOrOneAndTheHeapGoesOn) {
  std::vector<void*> blocks;
  for (int i = 0; i < 1000; ++i) blocks.push_back(malloc(5000));
  for (void* block : blocks) free(block);
  for (size_t pad : {size_t{0}, size_t{1} << 20, SIZE_MAX}) {
    const int result = malloc_trim(Opaque(pad));
    EXPECT_TRUE(result == 0 || result == 1) << result;
  }
  ASSERT_NO_FATAL_FAILURE(ExpectZeroAfterDirtyReuse(5000));
}

TEST(ExtrasTest, Mallinfo2SeesABlockComeAndGo) {
  constexpr size_t kSize = 16 << 20;
  const struct mallinfo2 before = mallinfo2();
  void* block = Opaque(malloc(kSize));
  const struct mallinfo2 between = mallinfo2();
  free(block);
  const struct mallinfo2 after = mallinfo2();
  EXPECT_GE(between.uordblks + between.hblkhd, before.uordblks + before.hblkhd + kSize);
  EXPECT_LT(after.uordblks + after.hblkhd, between.uordblks + between.hblkhd);
}

TEST(ExtrasTest, MallinfoReportsUseThatIsNotNegative) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  const struct mallinfo info = mallinfo();
#pragma GCC diagnostic pop
  EXPECT_GE(info.uordblks, 0);
  EXPECT_GE(info.fordblks, 0);
  EXPECT_GT(info.arena + info.hblkhd, 0);
}

TEST(ExtrasTest, MallocStatsWritesToStderr) {
  testing::internal::CaptureStderr();
  malloc_stats();
  EXPECT_FALSE(testing::internal::GetCapturedStderr().empty());
}

TEST(ExtrasTest, MallocInfoWritesXml) {
  char* text = nullptr;
  size_t length = 0;
  FILE* stream = open_memstream(&text, &length);
  ASSERT_NE(stream, nullptr);
  EXPECT_EQ(malloc_info(0, stream), 0);
  fclose(stream);
  EXPECT_EQ(std::string(text, length).rfind("<malloc", 0), 0u) << text;
  EXPECT_NE(std::string(text, length).find("</malloc>"), std::string::npos) << text;
  free(text);
}

TEST(ExtrasTest, MallocInfoRefusesUnknownOptions) {
  errno = 0;
  const int result = malloc_info(Opaque(1), stdout);
  EXPECT_TRUE(result == EINVAL || (result == -1 && errno == EINVAL)) << result;
}

TEST(ExtrasTest, MalloptReturnsZeroOrOneAndTheHeapGoesOn) {
  for (int parameter : {M_MXFAST, M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_ARENA_MAX}) {
    const int result = mallopt(parameter, 65536);
    EXPECT_TRUE(result == 0 || result == 1) << parameter;
  }
  ASSERT_NO_FATAL_FAILURE(ExpectReallocKeeps(100, 100000));
}

}  // namespace
