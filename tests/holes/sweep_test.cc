// sweep_test: the sweep of paranoid while the slabs that it looks at come and go, called directly,
// so that ThreadSanitizer sees all of it.

#include "hardened/sweep.h"

#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "hardened/core/empty_slabs.h"
#include "hardened/heap.h"
#include "policies/paranoid.h"

namespace hardened {
namespace {

using Heap = Heap<policies::Paranoid>;

void* Allocate(size_t bytes) { return Heap::Allocate(bytes, core::AllocationKind::kMalloc); }
void Free(void* pointer) { Heap::Free(pointer, EntryPoint::kFree); }

TEST(SweepTest, LooksAtNothingThatIsGone) {
  std::atomic<bool> stop{false};
  std::thread sweeper([&stop] {
    while (!stop.load(std::memory_order_relaxed)) SweepStep();
    SweepEverything();
  });
  // More than is kept: slabs are dissolved, made again, and dissolved.
  for (int round = 0; round < 12; ++round) {
    constexpr size_t kBytes = 24 << 20;
    const size_t bytes = size_t{1024} << round % 6;
    std::vector<void*> blocks;
    for (size_t i = 0; i < kBytes / bytes; ++i) blocks.push_back(Allocate(bytes - 16));
    for (void* block : blocks) Free(block);
    // What it held in quarantine stays in slabs of the thread; of one that ended nothing does.
    std::thread([] { Free(Allocate(100)); }).join();
  }
  stop.store(true, std::memory_order_relaxed);
  sweeper.join();
}

// Whose results an assertion looks at, which hides them from the analysis.
bool TryHold(bool wait) ABSL_NO_THREAD_SAFETY_ANALYSIS { return core::empty_slabs->TryHold(wait); }
void EndHold() ABSL_NO_THREAD_SAFETY_ANALYSIS { core::empty_slabs->EndHold(); }

TEST(SweepTest, PassesByWhileTheSlabsAreHeld) {
  Free(Allocate(100));
  ASSERT_TRUE(TryHold(/*wait=*/false));
  EXPECT_FALSE(TryHold(/*wait=*/false));
  // A thread that exits in the middle of everything must come to an end.
  SweepStep();
  SweepEverything();
  EndHold();
  ASSERT_TRUE(TryHold(/*wait=*/true));
  EndHold();
}

}  // namespace
}  // namespace hardened
