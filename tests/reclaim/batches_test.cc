// batches_test: what becomes of the batches in which slots travel that other threads freed.

#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <semaphore>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/hardened/heap_under_test.h"
#include "tests/preload/pattern.h"
#include "tests/prim/child_process.h"

namespace hardened {
namespace {

constexpr size_t kBytes = 40;
constexpr size_t kMany = 300'000;
// What the batches of kMany slots take.
constexpr size_t kBatchesBytes = kMany / core::RemoteBatch::kSlots * sizeof(core::RemoteBatch);

char** Blocks() {
  static char** const blocks =
      static_cast<char**>(mmap(nullptr, kMany * sizeof(char*), PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0));
  return blocks;
}

void Make(size_t count) {
  for (size_t i = 0; i < count; ++i) {
    Blocks()[i] = Allocate(kBytes);
    FillPattern(Blocks()[i], kBytes, i);
  }
}
void FreeBlocks(size_t count) {
  for (size_t i = 0; i < count; ++i) {
    if (!HasPattern(Blocks()[i], kBytes, i)) abort();
    Free(Blocks()[i]);
  }
}

uint64_t Live() {
  const core::ThreadHeap::Tally tally = core::heap_registry.Total();
  return tally.taken_slots - tally.remote_sent_slots + tally.live_runs;
}
size_t MetadataBytes() { return core::heap_state.Counters().metadata_bytes; }

size_t AddressSpaceBytes() {
  FILE* file = fopen("/proc/self/statm", "r");
  size_t pages = 0;
  if (file == nullptr || fscanf(file, "%zu", &pages) != 1) abort();
  fclose(file);
  return pages * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

// In a child.
void Expect(bool good, const char* what) {
  if (good) return;
  fprintf(stderr, "%s\n", what);
  _exit(1);
}

// A thread with a heap of its own that does one thing after the other.
class Worker {
 public:
  Worker()
      : thread_([this] {
          for (;;) {
            wake_.acquire();
            if (!work_) return;
            work_();
            done_.release();
          }
        }) {}
  ~Worker() { End(); }
  void Begin(std::function<void()> work) {
    work_ = std::move(work);
    wake_.release();
  }
  void Wait() { done_.acquire(); }
  void Run(std::function<void()> work) {
    Begin(std::move(work));
    Wait();
  }
  void End() {
    if (!thread_.joinable()) return;
    Begin({});
    thread_.join();
  }

 private:
  std::function<void()> work_;
  std::binary_semaphore wake_{0};
  std::binary_semaphore done_{0};
  std::thread thread_;
};

// ---- memory

TEST(BatchesTest, TheyComeBackToWhoSendsThem) {
  Blocks();
  Worker owner;
  constexpr size_t kCount = 5000;
  const auto hand_over = [&](int rounds) {
    for (int i = 0; i < rounds; ++i) {
      owner.Run([] { Make(kCount); });
      FreeBlocks(kCount);
    }
  };
  hand_over(50);
  const size_t before = MetadataBytes();
  hand_over(300);
  // Without it: 300 times 43 KiB.
  EXPECT_LE(MetadataBytes(), before + (2 << 20));
}

// The owner is on its slow side all the time, so that nobody helps.
TEST(BatchesTest, SlotsGoAloneWhereThereIsNoMemoryForABatch) {
  const prim::ChildResult child = prim::RunInChild([] {
    Blocks();
    Free(Allocate(kBytes));
    const uint64_t before = Live();
    const uint64_t taken_before = core::heap_registry.Total().taken_slots;
    Worker owner;
    owner.Run([] { Make(kMany); });
    std::binary_semaphore goes_on{0};
    std::binary_semaphore stands{0};
    owner.Begin([&] {
      const core::ThreadHeap::SlowSide slow_side(
          *static_cast<core::ThreadHeap*>(core::current_heap));
      stands.release();
      goes_on.acquire();
    });
    stands.acquire();
    const size_t metadata = MetadataBytes();
    rlimit old_limit;
    getrlimit(RLIMIT_AS, &old_limit);
    const rlimit limit = {AddressSpaceBytes(), old_limit.rlim_max};
    setrlimit(RLIMIT_AS, &limit);
    FreeBlocks(kMany);
    Expect(Live() == before, "live slots when they wait");
    Expect(MetadataBytes() < metadata + kBatchesBytes / 2, "no slot went alone");
    setrlimit(RLIMIT_AS, &old_limit);
    static_cast<core::ThreadHeap*>(core::current_heap)->FlushOutgoing();
    goes_on.release();
    owner.Wait();
    owner.Run([] {
      core::ThreadHeap& heap = *static_cast<core::ThreadHeap*>(core::current_heap);
      const core::ThreadHeap::SlowSide slow_side(heap);
      heap.Collect(UINT32_MAX);
    });
    const uint64_t taken = core::heap_registry.Total().taken_slots;
    // This thread may have put its parent's stock back meanwhile.
    if (taken > taken_before) {
      fprintf(stderr, "%lld of ", static_cast<long long>(taken - taken_before));
      Expect(false, "the slots did not come back");
    }
    owner.Run([] {
      std::set<char*> live;
      for (size_t i = 0; i < kMany; ++i) {
        Blocks()[i] = Allocate(kBytes);
        FillPattern(Blocks()[i], kBytes, i);
        if (!live.insert(Blocks()[i]).second) abort();
      }
      FreeBlocks(kMany);
    });
    Expect(Live() == before, "live slots at the end");
  });
  EXPECT_TRUE(child.exited_with(0)) << child.status << child.text;
}

// ---- owners that change and that are not there

core::ThreadHeap* OwnerOf(const char* slot) {
  return core::heap_state.FindSlice(AddressOf(slot))->owner.load();
}
bool IsPending(const char* slot) {
  const core::SliceDescriptor& slice = *core::heap_state.FindSlice(AddressOf(slot));
  return slice.RecordAt(slice.IndexOf(AddressOf(slot)), HeapUnderTest::kFeatures.core.record_shift)
             .load() == core::kPendingRecord;
}

TEST(BatchesTest, SlotsOfAnAdoptedSlabArePassedOn) {
  constexpr int kSlots = 20;
  static char* slots[kSlots];
  Free(Allocate(kBytes));
  Worker adopter;
  adopter.Run([] { Free(Allocate(2000)); });
  Worker owner;
  owner.Run([] {
    for (char*& slot : slots) slot = AllocateSlot(kBytes);
  });
  core::ThreadHeap* const first_owner = OwnerOf(slots[0]);
  owner.End();
  // A batch for the heap in the pool, which is not pushed yet.
  for (char* slot : slots) Free(slot);
  adopter.Run([] {
    for (int i = 0; i < 5000; ++i) Allocate(kBytes);
  });
  ASSERT_NE(OwnerOf(slots[0]), first_owner) << "its slab was not adopted";
  static_cast<core::ThreadHeap*>(core::current_heap)->FlushOutgoing();
  {
    Worker next;  // takes over the heap that left last, and comes for what waits for it
    next.Run([] { Allocate(9000); });
    for (const char* slot : slots) EXPECT_TRUE(IsPending(slot));
  }
  adopter.Run([] {
    for (int i = 0; i < 5000; ++i) Allocate(kBytes);
  });
  for (const char* slot : slots) EXPECT_FALSE(IsPending(slot));
}

TEST(BatchesTest, WhatAChildFreesOfThreadsThatItDoesNotHaveTakesNoMemory) {
  Blocks();
  Worker owner;
  owner.Run([] { Make(kMany); });
  const prim::ChildResult child = prim::RunInChild([] {
    const uint64_t live = Live();
    const size_t metadata = MetadataBytes();
    FreeBlocks(kMany);
    Expect(Live() == live - kMany, "live slots");
    Expect(MetadataBytes() < metadata + kBatchesBytes / 2, "metadata");
  });
  EXPECT_TRUE(child.exited_with(0)) << child.status << child.text;
  FreeBlocks(kMany);
}

TEST(BatchesDeathTest, WhatAChildFreesTwiceOfSuchAThreadIsReported) {
  Blocks();
  Worker owner;
  owner.Run([] { Make(1); });
  const auto free_twice = [] {
    Free(Blocks()[0]);
    Free(Blocks()[0]);
  };
  EXPECT_EXIT(free_twice(), testing::KilledBySignal(SIGABRT),
              "^hardened: heap corruption: double free\n");
  FreeBlocks(1);
}

}  // namespace
}  // namespace hardened
