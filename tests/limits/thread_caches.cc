// Thread caches: what 1,000 threads keep of what they have freed.

#include <cstdlib>
#include <cstring>
#include <iterator>
#include <latch>
#include <memory>
#include <semaphore>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/limits/scenario.h"
#include "tests/support/resident.h"

namespace {

constexpr size_t kThreads = 1000;
constexpr size_t kSizes[] = {64, 1024, 16 << 10};
// Of each size, by each thread: many times what it may keep.
constexpr size_t kBytesOfEach = 1 << 20;

// What a thread may keep, by ARCHITECTURE.md. A magazine has 64 KiB of slots, which lie in at most
// two slabs when they were freed in a row; of both the other slots' memory stays as well. Slots
// above 8 KiB have slabs of 512 KiB.
constexpr size_t kInSlabsKib = 2 * 64 + 2 * 64 + 2 * 512;
// Its stack, its thread heap with the entries of its magazines, records and headers of its slabs.
constexpr size_t kOfAThreadKib = 80;
// What all threads together leave: dirty spans and empty slabs, 8 MiB each.
constexpr size_t kDirtyKib = 16 << 10;

struct QuarantineOfLevel {
  std::string_view level;
  size_t slots_kib;
  size_t itself_kib;
};
constexpr QuarantineOfLevel kQuarantines[] = {
    {"light", 0, 0}, {"standard", 490, 131}, {"strict", 1024, 161}};

QuarantineOfLevel QuarantineHere() {
  for (const QuarantineOfLevel& row : kQuarantines) {
    if (row.level == LibraryUnderTest::ExpectedLevel()) return row;
  }
  CannotRunHere("no figures for this level");
}

void AllocateAndFreeMuch() {
  static void* blocks[kBytesOfEach / kSizes[0]];
  for (const size_t size : kSizes) {
    const size_t count = kBytesOfEach / size;
    for (size_t i = 0; i < count; ++i) {
      blocks[i] = malloc(size);
      Require(blocks[i] != nullptr, "no memory");
      memset(blocks[i], 1, size);
    }
    for (size_t i = 0; i < count; ++i) free(blocks[i]);
  }
}

// Mappings that a fork wipes: the random streams of the heaps.
size_t WipedMappings() {
  size_t count = 0;
  FILE* smaps = fopen("/proc/self/smaps", "re");
  if (smaps == nullptr) CannotRunHere("no smaps");
  char line[512];
  while (fgets(line, sizeof(line), smaps) != nullptr) {
    count += strncmp(line, "VmFlags:", 8) == 0 && strstr(line, " wf ") != nullptr;
  }
  fclose(smaps);
  return count;
}

// The threads work one after another, so that nothing but what they keep is there at the end, and
// stay until all have.
void AThousandThreadsKeepLittle() {
  AllocateAndFreeMuch();
  const size_t before_kib = ResidentKib();
  const hardened_counters before = Counters();
  size_t kept_kib;
  {
    std::binary_semaphore done(0);
    std::latch leave(1);
    std::vector<std::thread> threads;
    for (size_t i = 0; i < kThreads; ++i) {
      threads.emplace_back([&] {
        AllocateAndFreeMuch();
        done.release();
        leave.wait();
      });
      done.acquire();
    }
    kept_kib = ResidentKib() - before_kib;
    const size_t wiped = WipedMappings();
    Print("%zu mappings hold random state", wiped);
    Require(wiped <= 3, "random state is spread over %zu mappings", wiped);
    leave.count_down();
    for (std::thread& thread : threads) thread.join();
  }
  const size_t left_kib = ResidentKib() - before_kib;
  Print("%zu threads keep %zu KiB, %zu KiB each; after they ended %zu KiB are left", kThreads,
        kept_kib, kept_kib / kThreads, left_kib);
  Require(Counters().live_slots <= before.live_slots + 8, "slots are left");
  const QuarantineOfLevel quarantine = QuarantineHere();
  const size_t may_leave_kib = kOfAThreadKib + quarantine.itself_kib;
  Require(kept_kib < kThreads * (kInSlabsKib + quarantine.slots_kib + may_leave_kib) + kDirtyKib,
          "each thread keeps %zu KiB", kept_kib / kThreads);
  Require(left_kib < kThreads * may_leave_kib + kDirtyKib,
          "%zu KiB are left of each thread that ended", left_kib / kThreads);
}

}  // namespace

const Scenario kThreadCacheScenarios[] = {
    {"AThousandThreadsKeepLittle", AThousandThreadsKeepLittle},
};
const size_t kThreadCacheScenarioCount = std::size(kThreadCacheScenarios);
