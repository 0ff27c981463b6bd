// helpers_stress_test: owners come and go while others file what waits for them, under
// ThreadSanitizer too.

#include <array>
#include <atomic>
#include <chrono>
#include <random>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tests/hardened/heap_under_test.h"
#include "tests/preload/pattern.h"

namespace hardened {
namespace {

#if defined(__SANITIZE_THREAD__)
#define TESTS_UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TESTS_UNDER_TSAN 1
#endif
#endif

#ifdef TESTS_UNDER_TSAN
constexpr int kRounds = 40;
#else
constexpr int kRounds = 400;
#endif
constexpr size_t kOwners = 4;
constexpr size_t kFreers = 2;
constexpr size_t kPlaces = 8192;
constexpr size_t kMostBytes = 400;

// Where blocks pass from owners to those who free them; each names its size and its contents.
struct Place {
  std::atomic<char*> block = nullptr;
};
std::array<Place, kPlaces> places;

size_t SizeAt(size_t place) { return 16 + place * 37 % (kMostBytes - 16); }

void FreeBlock(char* block, size_t place) {
  if (block == nullptr) return;
  ASSERT_TRUE(HasPattern(block, SizeAt(place), place)) << place;
  Free(block);
}

// Makes more than one round of what waits is bounded by, sometimes frees some of it itself, and
// sleeps, or works on, or ends.
void Own(unsigned seed) {
  std::mt19937 random(seed);
  for (int round = 0; round < kRounds; ++round) {
    const size_t first = random() % kPlaces;
    const size_t count = random() % kPlaces;
    for (size_t i = 0; i < count; ++i) {
      const size_t place = (first + i) % kPlaces;
      char* block = Allocate(SizeAt(place));
      FillPattern(block, SizeAt(place), place);
      FreeBlock(places[place].block.exchange(block), place);
    }
    if (random() % 2 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(random() % 5));
  }
}

TEST(HelpersStressTest, OwnersComeAndGoWhileOthersFileTheirSlots) {
  Free(Allocate(1));
  const uint64_t before = [] {
    const core::ThreadHeap::Tally tally = core::heap_registry.Total();
    return tally.taken_slots - tally.remote_sent_slots + tally.live_runs;
  }();
  std::atomic<bool> stop = false;
  std::vector<std::thread> helpers;
  for (size_t t = 0; t < kFreers; ++t) {
    helpers.emplace_back([&stop, t] {
      std::mt19937 random(static_cast<unsigned>(100 + t));
      while (!stop.load()) {
        // In bursts, so that much waits for each owner.
        const size_t first = random() % kPlaces;
        for (size_t i = 0; i < kPlaces; ++i) {
          const size_t place = (first + i) % kPlaces;
          FreeBlock(places[place].block.exchange(nullptr), place);
        }
        if (random() % 4 == 0) core::heap_registry.ReclaimAll();
        std::this_thread::sleep_for(std::chrono::microseconds(random() % 1000));
      }
    });
  }
  std::vector<std::thread> owners;
  for (unsigned t = 0; t < kOwners; ++t) owners.emplace_back(&Own, t);
  for (std::thread& owner : owners) owner.join();
  stop = true;
  for (std::thread& helper : helpers) helper.join();
  for (size_t place = 0; place < kPlaces; ++place) {
    FreeBlock(places[place].block.exchange(nullptr), place);
  }
  const core::ThreadHeap::Tally tally = core::heap_registry.Total();
  EXPECT_EQ(tally.taken_slots - tally.remote_sent_slots + tally.live_runs, before);
}

}  // namespace
}  // namespace hardened
