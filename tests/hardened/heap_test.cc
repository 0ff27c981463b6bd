// heap_test: Heap<Policy> of one level, called directly.

#include "hardened/heap.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <ostream>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "hardened/core/heap_registry.h"
#include "tests/hardened/heap_under_test.h"
#include "tests/preload/pattern.h"
#include "tests/prim/child_process.h"
#include "tests/support/late_free.h"
#include "tests/support/seeded_stream.h"

// Faults end the process as they do without a sanitizer.
extern "C" const char* __asan_default_options() { return "handle_segv=0:handle_abort=0"; }

namespace hardened {
namespace {

constexpr size_t kPage = 4096;
constexpr const Features& kFeatures = HeapUnderTest::kFeatures;

// Around every slot size, and runs.
std::vector<size_t> InterestingSizes() {
  std::vector<size_t> sizes = {0, 1};
  for (unsigned c = 0; c < core::kSizeClassCount; ++c) {
    const size_t size = core::SlotSize(static_cast<core::SizeClass>(c));
    for (const size_t near : {size - 1, size, size + 1}) sizes.push_back(near);
  }
  for (const size_t size : {70'000, 100 << 10, 1 << 20, 5 << 20}) {
    for (const size_t near : {size - 1, size, size + 1}) sizes.push_back(near);
  }
  return sizes;
}

// ---- contents

// Blocks of random sizes with contents of their own, none of which may touch another.
class HeapModel {
 public:
  explicit HeapModel(uint64_t seed) : random_(seed) {}
  ~HeapModel() {
    while (!live_.empty()) Remove(live_.begin());
  }

  void Step(size_t largest) {
    const uint32_t choice = random_.Below(10);
    if (live_.empty() || choice < 5) {
      Add(Draw(largest));
    } else if (choice < 8) {
      Remove(Some());
    } else {
      Resize(Some(), Draw(largest));
    }
  }

 private:
  struct Block {
    size_t bytes;
    uint64_t seed;
  };
  using Place = std::map<char*, Block>::iterator;

  size_t Draw(size_t largest) {
    const size_t limit = size_t{16} << random_.Below(18);
    return random_.Below(static_cast<uint32_t>(std::min(limit, largest) + 1));
  }
  Place Some() {
    const auto at = live_.lower_bound(live_.begin()->first + random_.Below(UINT32_MAX));
    return at == live_.end() ? live_.begin() : at;
  }
  void Add(size_t bytes) { Keep(Allocate(bytes), bytes); }
  void Keep(char* block, size_t bytes) {
    ASSERT_NE(block, nullptr);
    ASSERT_EQ(AddressOf(block) % 16, 0u);
    ASSERT_GE(UsableSize(block), bytes);
    const auto [place, fresh] = live_.insert({block, {bytes, random_.Next64()}});
    ASSERT_TRUE(fresh) << "handed out twice";
    if (place != live_.begin()) {
      ASSERT_LE(std::prev(place)->first + std::prev(place)->second.bytes, block) << "overlap";
    }
    if (std::next(place) != live_.end()) {
      ASSERT_LE(block + bytes, std::next(place)->first) << "overlap";
    }
    FillPattern(block, bytes, place->second.seed);
  }
  void Remove(Place place) {
    Check(place);
    Free(place->first);
    live_.erase(place);
  }
  void Resize(Place place, size_t bytes) {
    Check(place);
    const Block old = place->second;
    char* moved = Reallocate(place->first, bytes);
    live_.erase(place);
    const size_t kept = std::min(old.bytes, bytes) & ~size_t{7};
    ASSERT_EQ(FirstDifference(moved, kept, old.seed), kept) << "realloc lost contents";
    Keep(moved, bytes);
  }
  void Check(Place place) {
    ASSERT_EQ(FirstDifference(place->first, place->second.bytes, place->second.seed),
              place->second.bytes)
        << "contents changed";
  }

  SeededStream random_;
  std::map<char*, Block> live_;
};

TEST(HeapTest, BlocksKeepTheirContentsAndDoNotOverlap) {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    HeapModel model(seed);
    for (int step = 0; step < 10'000; ++step) {
      ASSERT_NO_FATAL_FAILURE(model.Step(seed < 3 ? 2000 : 2 << 20));
    }
  }
}

TEST(HeapTest, EverySizeIsAlignedWritableAndOfTheSizeAskedFor) {
  for (const size_t bytes : InterestingSizes()) {
    // Where sizes are those of slots, a guarded sample has that of its page.
    const bool is_slot = !kFeatures.exact_size && bytes <= core::kMaxSlotSize;
    char* block = is_slot ? AllocateSlot(bytes) : Allocate(bytes);
    ASSERT_NE(block, nullptr) << bytes;
    EXPECT_EQ(AddressOf(block) % 16, 0u) << bytes;
    const size_t usable = UsableSize(block);
    if (kFeatures.exact_size) {
      EXPECT_EQ(usable, bytes);
    } else if (is_slot) {
      EXPECT_EQ(usable, core::SlotSize(core::SizeClassOf(bytes)));
    } else {
      EXPECT_EQ(usable, core::RoundUpTo(bytes, kPage));
    }
    std::memset(block, 0x5a, usable);
    Free(block);
  }
}

TEST(HeapTest, ReallocKeepsContentsBetweenAllSizes) {
  const size_t sizes[] = {1,      16,     17,     100,    1000,    4096,    8192,          8193,
                          20000,  65'536, 65'537, 70'000, 200'000, 1 << 20, (1 << 20) + 1, 3 << 20,
                          9 << 20};
  for (const size_t from : sizes) {
    for (const size_t to : sizes) {
      char* block = Allocate(from);
      FillPattern(block, from, from);
      block = Reallocate(block, to);
      ASSERT_NE(block, nullptr);
      const size_t kept = std::min(from, to);
      const size_t words = kept & ~size_t{7};
      ASSERT_EQ(FirstDifference(block, words, from), words) << from << " -> " << to;
      const uint64_t last = PatternStart(from) + kept / 8;
      ASSERT_EQ(std::memcmp(block + words, &last, kept - words), 0) << from << " -> " << to;
      ASSERT_GE(UsableSize(block), to);
      if (kFeatures.exact_size) {
        ASSERT_EQ(UsableSize(block), to) << "from " << from;
      }
      std::memset(block, 1, to);
      Free(block);
    }
  }
}

TEST(HeapTest, ReallocInSmallStepsKeepsContents) {
  char* block = Allocate(1);
  size_t filled = 0;
  for (size_t bytes = 8; bytes < 600'000; bytes += bytes / 8 / 8 * 8 + 8) {
    block = Reallocate(block, bytes);
    ASSERT_NE(block, nullptr);
    ASSERT_EQ(FirstDifference(block, filled, 3), filled) << bytes;
    FillPattern(block, bytes, 3);
    filled = bytes;
  }
  for (size_t bytes = filled / 8 * 8; bytes >= 16; bytes -= bytes / 8 / 8 * 8 + 8) {
    block = Reallocate(block, bytes);
    ASSERT_EQ(FirstDifference(block, bytes, 3), bytes);
  }
  Free(block);
}

// ---- zero

// Frees after which slots of this size are handed out again, whatever waits in a quarantine.
size_t FreesUntilReuse(core::SizeClass size_class) {
  const QuarantineLimits& held = kFeatures.quarantine;
  const size_t magazines = 3 * core::MagazineCapacity(size_class);
  if (held.bytes == 0) return magazines;
  return magazines + held.bytes / held.WeightOf(core::SlotSize(size_class)) +
         4 * Quarantine::kMostInBlock;
}

class HeapClassTest : public testing::TestWithParam<unsigned> {};

TEST_P(HeapClassTest, ZeroedMemoryIsZeroAfterDirtyReuse) {
  const core::SizeClass size_class = static_cast<core::SizeClass>(GetParam());
  const size_t bytes = core::SlotSize(size_class) - HeapUnderTest::Canary::kRoom;
  const size_t count = core::MagazineCapacity(size_class);
  std::vector<char*> blocks(count);
  std::set<char*> seen;
  size_t reused = 0;
  for (size_t freed = 0; freed < 2 * FreesUntilReuse(size_class); freed += count) {
    for (char*& block : blocks) {
      block = AllocateZeroed(bytes);
      ASSERT_EQ(::FirstNonZero(block, bytes), bytes);
      std::memset(block, 0xff, bytes);
      reused += !seen.insert(block).second;
    }
    // The odd ones come back first.
    for (size_t i = 1; i < count; i += 2) Free(blocks[i]);
    for (size_t i = 0; i < count; i += 2) Free(blocks[i]);
  }
  EXPECT_GT(reused, count) << "no slot was handed out again";
}

INSTANTIATE_TEST_SUITE_P(Small, HeapClassTest, testing::Range(0u, 40u, 1u));
INSTANTIATE_TEST_SUITE_P(Large, HeapClassTest, testing::Range(43u, 80u, 4u));

TEST(HeapTest, ZeroedRunsAreZeroAfterDirtyReuse) {
  for (const size_t bytes : {70'000, 100'000, 1 << 20, 5 << 20, 12 << 20}) {
    for (int round = 0; round < 4; ++round) {
      char* block = AllocateZeroed(bytes);
      ASSERT_EQ(::FirstNonZero(block, bytes), bytes) << bytes;
      std::memset(block, 0xff, UsableSize(block));
      Free(block);
    }
  }
}

// Slots that another thread freed carry a link for a while.
TEST(HeapTest, ZeroedMemoryIsZeroAfterOtherThreadsFreedIt) {
  for (const size_t bytes : {16, 64, 1000, 30'000}) {
    for (int round = 0; round < 3; ++round) {
      std::vector<char*> blocks(300);
      for (char*& block : blocks) {
        block = AllocateZeroed(bytes);
        ASSERT_EQ(::FirstNonZero(block, bytes), bytes);
      }
      std::thread([&blocks] {
        for (char* block : blocks) Free(block);
      }).join();
    }
  }
}

// ---- alignment

TEST(HeapTest, AlignedBlocksAreAlignedUpToTwoMiB) {
  const size_t sizes[] = {1, 8, 17, 100, 1000, 4096, 4097, 40 << 10, 65'536, 65'537, 1 << 20};
  for (size_t alignment = 16; alignment <= 2 << 20; alignment *= 2) {
    std::vector<char*> blocks;
    for (const size_t bytes : sizes) {
      for (int i = 0; i < 3; ++i) {
        char* block = AllocateAligned(alignment, bytes);
        ASSERT_NE(block, nullptr);
        ASSERT_EQ(AddressOf(block) % alignment, 0u) << bytes << " @ " << alignment;
        ASSERT_GE(UsableSize(block), bytes);
        if (kFeatures.exact_size) {
          ASSERT_EQ(UsableSize(block), bytes) << bytes << " @ " << alignment;
        }
        FillPattern(block, bytes, AddressOf(block));
        blocks.push_back(block);
      }
    }
    size_t i = 0;
    for (char* block : blocks) {
      const size_t bytes = sizes[i++ / 3];
      ASSERT_EQ(FirstDifference(block, bytes, AddressOf(block)), bytes);
      Free(block);
    }
  }
}

// ---- refusal

// Where a thread stops for a while.
std::atomic<bool> stopped{false};
std::atomic<bool> may_go_on{false};
void StopForAWhile(int) {
  stopped = true;
  while (!may_go_on) sched_yield();
  stopped = false;
}

// The scheduler may stop a thread between any two instructions of malloc and free; other threads
// must not take what they see then for damage.
TEST(HeapTest, AThreadThatIsStoppedAnywhereLooksLikeNoDamage) {
  if (!kFeatures.sweep) GTEST_SKIP() << "nobody looks at other threads' slots at this level";
  struct sigaction action = {};
  action.sa_handler = &StopForAWhile;
  ASSERT_EQ(sigaction(SIGUSR1, &action, nullptr), 0);
  std::atomic<bool> done{false};
  std::thread busy([&] {
    for (size_t i = 0; !done; ++i) {
      const size_t bytes = i % 4 == 0 ? 100 : 30'000;
      char* block = Allocate(bytes);
      memset(block, 1, bytes);
      Free(block);
    }
  });
  for (int round = 0; round < 300; ++round) {
    may_go_on = false;
    ASSERT_EQ(pthread_kill(busy.native_handle(), SIGUSR1), 0);
    while (!stopped) sched_yield();
    SweepEverything();
    may_go_on = true;
    while (stopped) sched_yield();
  }
  done = true;
  busy.join();
  signal(SIGUSR1, SIG_DFL);
}

TEST(HeapTest, WhatCannotBeIsRefusedAndErrnoStaysAsItWas) {
  const size_t too_large = size_t{PTRDIFF_MAX} + 1;
  char* block = Allocate(100);
  FillPattern(block, 100, 1);
  errno = 7;
  for (const size_t bytes : {too_large, SIZE_MAX, SIZE_MAX - 4096, too_large - 1}) {
    EXPECT_EQ(Allocate(bytes), nullptr);
    EXPECT_EQ(AllocateZeroed(bytes), nullptr);
    EXPECT_EQ(Reallocate(block, bytes), nullptr);
    for (const size_t alignment : {size_t{32}, size_t{8192}, size_t{2} << 20}) {
      EXPECT_EQ(AllocateAligned(alignment, bytes), nullptr);
    }
  }
  EXPECT_EQ(AllocateAligned(too_large, 1), nullptr);
  EXPECT_EQ(FirstDifference(block, 100, 1), 100u);
  Free(block);
  Free(nullptr);
  EXPECT_EQ(UsableSize(nullptr), 0u);
  EXPECT_EQ(errno, 7);
}

// ---- guards

using testing::ExitedWithCode;
using testing::KilledBySignal;

constexpr char kOutside[] = "hardened: heap corruption: access outside an allocation";

TEST(HeapDeathTest, TouchingThePageBehindOrBeforeARunFaults) {
  for (const size_t bytes : {65'537, 100'000, 1 << 20, 9 << 20}) {
    volatile char* block = Allocate(bytes);
    const uintptr_t start = AddressOf(const_cast<char*>(block));
    volatile char* behind = block + (core::RoundUpTo(start + bytes, kPage) - start);
    volatile char* before = block - start % kPage - 1;
    // The last bytes on this side of the guards can be read.
    static_cast<void>(behind[-1]);
    static_cast<void>(before[1]);
    EXPECT_EXIT(*behind = 1, KilledBySignal(SIGSEGV), kOutside) << bytes;
    EXPECT_EXIT(*before = 1, KilledBySignal(SIGSEGV), kOutside) << bytes;
    EXPECT_EXIT(_exit(*behind), KilledBySignal(SIGSEGV), kOutside) << bytes;
    Free(const_cast<char*>(block));
  }
}

TEST(HeapDeathTest, WhereRunsMeetTheirGuardTheFirstByteBehindTheRequestFaults) {
  if (!kFeatures.core.end_aligned_runs) GTEST_SKIP() << "runs start on their page at this level";
  for (const size_t bytes : {65'552, 100'000, 1 << 20}) {
    volatile char* block = Allocate(bytes);
    block[bytes - 1] = 1;
    EXPECT_EXIT(block[bytes] = 1, KilledBySignal(SIGSEGV), kOutside) << bytes;
    Free(const_cast<char*>(block));
  }
}

TEST(HeapDeathTest, ARunThatWasResizedInPlaceIsStillGuarded) {
  for (const size_t to : {700'000, 900'000, 1'040'000, 1'200'000, 1'900'000}) {
    char* block = Reallocate(Allocate(1'000'000), to);
    const uintptr_t start = AddressOf(block);
    volatile char* behind = block + (core::RoundUpTo(start + to, kPage) - start);
    static_cast<void>(behind[-1]);
    EXPECT_EXIT(*behind = 1, KilledBySignal(SIGSEGV), kOutside) << to;
    Free(block);
  }
}

// ---- bad pointers

enum class Call { kFree, kReallocate, kUsableSize };

void Commit(Call call, void* pointer) {
  switch (call) {
    case Call::kFree:
      return Free(pointer);
    case Call::kReallocate:
      Reallocate(pointer, 50);
      return;
    case Call::kUsableSize:
      UsableSize(pointer);
      return;
  }
}

char* Freed(size_t bytes) {
  char* block = Allocate(bytes);
  Free(block);
  return block;
}
char* FreedByAThread(size_t bytes) {
  char* block = Allocate(bytes);
  std::thread([block] { Free(block); }).join();
  return block;
}
// Its slab is empty and given back.
char* FreedWithItsSlab() {
  std::vector<char*> blocks(3 * core::SlotsPerSlab(core::SizeClassOf(1024)));
  for (char*& block : blocks) block = Allocate(1024);
  for (char* block : blocks) Free(block);
  return blocks[blocks.size() / 2];
}

char g_static[64];

struct BadPointerRow {
  const char* name;
  char* (*make)();
  // The kind in the report of free, and of the calls that go on using the memory.
  const char* freeing;
  const char* using_it;
};
void PrintTo(const BadPointerRow& row, std::ostream* out) { *out << row.name; }

constexpr char kDouble[] = "double free";
constexpr char kStale[] = "stale pointer";
constexpr char kInterior[] = "interior pointer";
constexpr char kMisaligned[] = "misaligned pointer";
constexpr char kForeign[] = "foreign pointer";
constexpr char kUnallocated[] = "unallocated pointer";

const BadPointerRow kBadPointers[] = {
    {"FreedSlot16", [] { return Freed(16); }, kDouble, kStale},
    {"FreedSlot1000", [] { return Freed(1000); }, kDouble, kStale},
    {"FreedSlot60000", [] { return Freed(60'000); }, kDouble, kStale},
    {"FreedRun", [] { return Freed(100'000); }, kDouble, kStale},
    {"FreedRunOfManyPages", [] { return Freed(20 << 20); }, kDouble, kStale},
    {"FreedSlotByAThread", [] { return FreedByAThread(64); }, kDouble, kStale},
    {"FreedRunByAThread", [] { return FreedByAThread(100'000); }, kDouble, kStale},
    {"FreedWithItsSlab", FreedWithItsSlab, kDouble, kStale},
    {"FreedByRealloc",
     [] {
       char* block = Allocate(64);
       Reallocate(block, 5000);
       return block;
     },
     kDouble, kStale},
    {"InteriorOfASlot", [] { return Allocate(64) + 16; }, kInterior, kInterior},
    {"InteriorOfALargeSlot", [] { return Allocate(60'000) + 59'984; }, kInterior, kInterior},
    {"InteriorOfARun", [] { return Allocate(1 << 20) + 4096; }, kInterior, kInterior},
    {"InteriorOfARunInALaterSlice", [] { return Allocate(1 << 20) + 700'000; }, kInterior,
     kInterior},
    {"MisalignedInASlot", [] { return Allocate(64) + 1; }, kMisaligned, kMisaligned},
    {"MisalignedInARun", [] { return Allocate(1 << 20) + 8; }, kMisaligned, kMisaligned},
    {"Static", [] { return g_static; }, kForeign, kForeign},
    {"Low", [] { return reinterpret_cast<char*>(16); }, kForeign, kForeign},
    {"NonCanonical", [] { return reinterpret_cast<char*>(uintptr_t{1} << 63); }, kForeign,
     kForeign},
    {"Highest", [] { return reinterpret_cast<char*>(~uintptr_t{15}); }, kForeign, kForeign},
    {"FirstSliceOfTheCage",
     [] { return reinterpret_cast<char*>(core::heap_constants->cage_base + 4096); }, kUnallocated,
     kUnallocated},
    {"LastSliceOfTheCage",
     [] {
       return reinterpret_cast<char*>(core::heap_constants->cage_base +
                                      core::heap_constants->cage_bytes - 4096);
     },
     kUnallocated, kUnallocated},
};

class HeapBadPointerDeathTest : public testing::TestWithParam<BadPointerRow> {};

TEST_P(HeapBadPointerDeathTest, IsReportedByEveryCallThatIsGivenIt) {
  Free(Allocate(1));  // the heap is started
  const BadPointerRow& row = GetParam();
  for (const auto& [call, name, kind] :
       {std::tuple(Call::kFree, "free", row.freeing),
        std::tuple(Call::kReallocate, "realloc", row.using_it),
        std::tuple(Call::kUsableSize, "malloc_usable_size", row.using_it)}) {
    const std::string text = std::string("^hardened: heap corruption: ") + kind +
                             "\n(.*\n)*  found by  " + name + ", level " + kFeatures.name + "\n";
    EXPECT_EXIT(Commit(call, row.make()), KilledBySignal(SIGABRT), text) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(, HeapBadPointerDeathTest, testing::ValuesIn(kBadPointers),
                         [](const auto& row) { return std::string(row.param.name); });

// A short thread takes little from the slabs, and gives little back at its end.
TEST(HeapTest, AThreadTakesFewSlotsAtFirstAndThenMore) {
  constexpr size_t kSize = 100;
  std::vector<size_t> taken;
  std::thread([&taken] {
    const auto stock = [] {
      const core::SizeClass size_class = core::SizeClassOf(kSize + HeapUnderTest::Canary::kRoom);
      return core::current_heap->magazines[size_class].count();
    };
    for (int i = 0; i < 300; ++i) {
      const size_t before = stock();
      Allocate(kSize);
      if (before == 0) taken.push_back(stock() + 1);
    }
  }).join();
  ASSERT_GE(taken.size(), 3u);
  EXPECT_EQ(std::vector<size_t>(taken.begin(), taken.begin() + 3),
            (std::vector<size_t>{8, 16, 32}));
  EXPECT_EQ(*std::max_element(taken.begin(), taken.end()), 128u);
}

uint64_t TakenSlots() { return core::heap_registry.Total().taken_slots; }

// Its magazines are empty and full at once until their first use, and nothing is lost or doubled.
TEST(HeapTest, AChildPutsBackWhatItsParentHadInStock) {
  constexpr size_t kSizes[] = {16, 100, 1000, 20000};
  const uint64_t before = TakenSlots();
  std::set<char*> live;
  for (const size_t size : kSizes) {
    for (int i = 0; i < 20; ++i) live.insert(AllocateSlot(size));
    Free(AllocateSlot(size));
  }
  const auto expect = [](bool good, const char* what) {
    if (good) return;
    fprintf(stderr, "%s\n", what);
    _exit(1);
  };
  const auto use_in_child = [&](bool free_first) {
    return prim::RunInChild([&] {
      expect(TakenSlots() == before + live.size(), "taken slots after the fork");
      if (free_first) {
        for (char* block : live) Free(block);
        live.clear();
      }
      for (const size_t size : kSizes) {
        for (int i = 0; i < 2000; ++i) {
          expect(live.insert(AllocateSlot(size)).second, "a live slot was handed out");
        }
      }
      for (char* block : live) Free(block);
      expect(TakenSlots() == before, "taken slots at the end");
    });
  };
  for (const bool free_first : {false, true}) {
    const prim::ChildResult child = use_in_child(free_first);
    EXPECT_TRUE(child.exited_with(0)) << child.status << child.text;
  }
  for (char* block : live) Free(block);
}

TEST(HeapDeathTest, AnOverwrittenLinkOfASlotThatCameAloneIsReported) {
  const auto overwrite_and_collect = [] {
    static char* block;
    block = AllocateSlot(64);
    AtTheEndOfAThread([] { Free(Allocate(64)); }, [] { Free(block); });
    std::memset(block, 0x41, 8);
    // More than one magazine: the owner collects at its next refill.
    for (int i = 0; i < 2000; ++i) Allocate(64);
  };
  EXPECT_EXIT(overwrite_and_collect(), KilledBySignal(SIGABRT),
              "^hardened: heap corruption: bad link\n");
}

}  // namespace
}  // namespace hardened
