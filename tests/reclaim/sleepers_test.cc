// sleepers_test: memory of threads that sleep comes back when others have freed it.

#include "tests/reclaim/sleepers.h"

#include <malloc.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tests/preload/library_under_test.h"
#include "tests/preload/pattern.h"
#include "tests/support/resident.h"

namespace {

constexpr size_t kThreads = 8;
constexpr size_t kBytesOfEach = 24 << 20;
constexpr size_t kMostBlocks = kBytesOfEach / 16;

// What all of it may leave: what waits for each thread, sparse slabs, and 16 MiB of free memory
// that was not yet given back.
constexpr size_t kLeftAfterFreesKib = 80 << 10;
// Behind malloc_trim: what threads keep of their own.
constexpr size_t kLeftAfterTrimKib = 32 << 10;

// The blocks of a round, in memory that is not in question.
void** Blocks() {
  static void** const blocks = [] {
    void* memory = mmap(nullptr, kMostBlocks * sizeof(void*), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    return static_cast<void**>(memory);
  }();
  return blocks;
}

size_t LiveAllocations() {
  hardened_counters counters = {};
  const LibraryUnderTest library = LibraryUnderTest::Find();
  if (library.get_counters != nullptr) library.get_counters(&counters);
  return counters.live_slots + counters.live_runs;
}

size_t GrowthKib(size_t before_kib) {
  const size_t now_kib = ResidentKib();
  return now_kib > before_kib ? now_kib - before_kib : 0;
}

void Make(Sleepers& sleepers, size_t index, size_t size, size_t count) {
  sleepers.Run(index, [size, count] {
    for (size_t i = 0; i < count; ++i) {
      Blocks()[i] = malloc(size);
      FillPattern(Blocks()[i], size, i);
    }
  });
}

// Returns: whether all of them kept their contents.
bool FreeBlocks(size_t size, size_t count) {
  bool good = true;
  for (size_t i = 0; i < count; ++i) {
    good = good && FirstDifference(Blocks()[i], std::min<size_t>(size, 16), i) >=
                       std::min<size_t>(size, 16);
    free(Blocks()[i]);
  }
  return good;
}

// This thread does what leads to housekeeping until there is no more than `most_kib`; gives up in
// the end. Returns: what there is.
size_t KeepHouse(size_t before_kib, size_t most_kib) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  size_t growth_kib;
  while ((growth_kib = GrowthKib(before_kib)) > most_kib &&
         std::chrono::steady_clock::now() < end) {
    free(malloc(100000));
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return growth_kib;
}

enum class Order { kAsMade, kShuffled, kByAThreadThatEnds };

struct Case {
  size_t size;
  Order order;
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << c.size << " bytes, order " << static_cast<int>(c.order);
}

class SleepersTest : public testing::TestWithParam<Case> {
 protected:
  // Everybody has been there once, so that what comes is not a first time.
  void WarmUp(Sleepers& sleepers, size_t size) {
    for (size_t i = 0; i < sleepers.count(); ++i) {
      Make(sleepers, i, size, 1);
      std::thread([size] { FreeBlocks(size, 1); }).join();
    }
    malloc_trim(0);
  }
};

TEST_P(SleepersTest, MemoryThatOthersFreedComesBack) {
  const auto [size, order] = GetParam();
  const size_t count = kBytesOfEach / size;
  Blocks();
  Sleepers sleepers(kThreads);
  WarmUp(sleepers, size);
  const size_t live = LiveAllocations();
  const size_t before_kib = ResidentKib();
  size_t good = 0;
  for (size_t i = 0; i < kThreads; ++i) {
    Make(sleepers, i, size, count);
    if (order == Order::kByAThreadThatEnds) {
      std::thread([&] { good += FreeBlocks(size, count); }).join();
    } else if (order == Order::kAsMade) {
      good += FreeBlocks(size, count);
    } else {
      std::shuffle(Blocks(), Blocks() + count, std::mt19937(static_cast<unsigned>(i)));
      for (size_t k = 0; k < count; ++k) free(Blocks()[k]);
    }
  }
  size_t after_frees_kib = GrowthKib(before_kib);
  // At random places each slot that waits keeps a page.
  if (order == Order::kShuffled) after_frees_kib = KeepHouse(before_kib, kLeftAfterFreesKib);
  malloc_trim(0);
  const size_t after_trim_kib = GrowthKib(before_kib);
  const size_t live_after_trim = LiveAllocations();
  // The heaps go on as if their threads had collected it.
  for (size_t i = 0; i < kThreads; ++i) {
    Make(sleepers, i, size, 1000);
    good += FreeBlocks(size, 1000);
  }
  const size_t live_at_end = LiveAllocations();
  // Now that nothing is counted any more: failures allocate.
  std::printf("%zu MiB freed of threads that sleep: %zu KiB left, %zu KiB after malloc_trim\n",
              kThreads * kBytesOfEach >> 20, after_frees_kib, after_trim_kib);
  EXPECT_LE(after_frees_kib, kLeftAfterFreesKib);
  EXPECT_LE(after_trim_kib, kLeftAfterTrimKib);
  EXPECT_EQ(live_after_trim, live);
  EXPECT_EQ(live_at_end, live);
  EXPECT_EQ(good, kThreads * (order == Order::kShuffled ? 1 : 2));
}

INSTANTIATE_TEST_SUITE_P(Sizes, SleepersTest,
                         testing::Values(Case{16, Order::kAsMade}, Case{64, Order::kAsMade},
                                         Case{200, Order::kAsMade}, Case{1000, Order::kAsMade},
                                         Case{5000, Order::kAsMade}, Case{30000, Order::kAsMade},
                                         Case{200000, Order::kAsMade}, Case{64, Order::kShuffled},
                                         Case{1000, Order::kShuffled},
                                         Case{200, Order::kByAThreadThatEnds}));

// Less waits for each thread than is filed by who frees.
TEST(HousekeepingTest, LittleThatWaitsForManyThreadsIsFiledInTime) {
  constexpr size_t kMany = 128;
  constexpr size_t kSize = 2000;
  constexpr size_t kCount = 200;
  constexpr size_t kAllKib = kMany * kCount * kSize / 1024;
  Blocks();
  Sleepers sleepers(kMany);
  for (size_t i = 0; i < kMany; ++i) {
    Make(sleepers, i, kSize, 1);
    FreeBlocks(kSize, 1);
  }
  malloc_trim(0);
  const size_t before_kib = ResidentKib();
  for (size_t i = 0; i < kMany; ++i) {
    Make(sleepers, i, kSize, kCount);
    FreeBlocks(kSize, kCount);
  }
  EXPECT_LE(KeepHouse(before_kib, kAllKib / 2), kAllKib / 2);
}

// ---- what is written to a slot that waits

// What a child says that dies by a report, in the end.
std::string ReportOf(void (*misuse)()) {
  int ends[2];
  if (pipe(ends) != 0) return "no pipe";
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    alarm(60);
    misuse();
    _exit(0);
  }
  close(ends[1]);
  std::string text;
  char piece[4096];
  for (ssize_t length; (length = read(ends[0], piece, sizeof(piece))) > 0;) {
    text.append(piece, static_cast<size_t>(length));
  }
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) text += "signal " + std::to_string(WTERMSIG(status));
  return text;
}

template <size_t kSize, size_t kOffset>
void WriteToASlotThatWaits() {
  Sleepers sleepers(1);
  Make(sleepers, 0, kSize, 100);
  for (size_t i = 0; i < 100; ++i) free(Blocks()[i]);
  for (size_t i = 0; i < 100; ++i) Opaque(static_cast<char*>(Blocks()[i]))[kOffset] = 1;
  malloc_trim(0);
  // Not into destructors, which would let the threads come for it.
  _exit(0);
}

TEST(WaitingSlotTest, AWriteToItsContentsIsFoundWhereSlotsAreWiped) {
  const std::string report = ReportOf(&WriteToASlotThatWaits<100, 50>);
  if (LibraryUnderTest::ExpectedLevel() == "light") {
    EXPECT_EQ(report, "");
    return;
  }
  EXPECT_NE(report.find("write after free"), std::string::npos) << report;
  EXPECT_NE(report.find("collection"), std::string::npos) << report;
}

TEST(WaitingSlotTest, AWriteToItsLinkIsFound) {
  const std::string report = ReportOf(&WriteToASlotThatWaits<100, 0>);
  EXPECT_NE(report.find("collection"), std::string::npos) << report;
}

// ---- fork

// Returns: null or what went wrong.
const char* UseTheHeapInAChild() {
  static void* blocks[2000];
  for (int round = 0; round < 3; ++round) {
    for (size_t i = 0; i < 2000; ++i) {
      blocks[i] = malloc(16 + i % 700);
      FillPattern(blocks[i], 16 + i % 700, i);
    }
    for (size_t i = 0; i < 2000; ++i) {
      if (!HasPattern(blocks[i], 16 + i % 700, i)) return "contents";
      free(blocks[i]);
    }
    malloc_trim(0);
  }
  return nullptr;
}

// The helper holds the locks of a heap of somebody else, often that of the thread that forks.
TEST(ForkTest, AChildMadeWhileOthersFileItsSlotsGoesOn) {
  constexpr size_t kSize = 64;
  std::atomic<bool> stop = false;
  std::atomic<void*> handed_over[256] = {};
  // They free what this thread makes, much at a time, and file what waits for it.
  std::vector<std::thread> helpers;
  for (int t = 0; t < 2; ++t) {
    helpers.emplace_back([&] {
      while (!stop) {
        for (auto& place : handed_over) free(place.exchange(nullptr));
        malloc_trim(0);
      }
    });
  }
  for (int child_number = 0; child_number < 60; ++child_number) {
    for (int i = 0; i < 5000; ++i) {
      void* block = malloc(kSize);
      FillPattern(block, kSize, 1);
      free(handed_over[i % 256].exchange(block));
    }
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      alarm(60);
      const char* wrong = UseTheHeapInAChild();
      if (wrong != nullptr) {
        [[maybe_unused]] const auto written = write(STDERR_FILENO, wrong, strlen(wrong));
      }
      _exit(wrong == nullptr ? 0 : 1);
    }
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_EQ(status, 0) << "child " << child_number;
  }
  stop = true;
  for (std::thread& helper : helpers) helper.join();
  for (auto& place : handed_over) free(place.exchange(nullptr));
}

}  // namespace
