// inside_test: limits that are seen from inside only; Heap<Policy> of one level, called directly.

#include <signal.h>
#include <string.h>

#include <algorithm>
#include <cstdio>
#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "hardened/core/heap_state.h"
#include "hardened/core/magazine.h"
#include "hardened/core/thread_heap.h"
#include "hardened/heap_plugs.h"
#include "hardened/secrets.h"
#include "tests/hardened/heap_under_test.h"
#include "tests/prim/child_process.h"
#include "tests/support/proc_numbers.h"

namespace hardened {
namespace {

constexpr size_t kMostCached = 128 << 10;

void StartHeap() { Free(Allocate(1)); }

// ---- thread caches

TEST(MagazineTest, HoldsAtMost128KibOfAnyClass) {
  for (unsigned c = 0; c < core::kSizeClassCount; ++c) {
    const auto size_class = static_cast<core::SizeClass>(c);
    EXPECT_LE(core::MagazineCapacity(size_class) * core::SlotSize(size_class), kMostCached);
  }
}

TEST(MagazineTest, StaysWithinItsLimitWhateverIsFreed) {
  StartHeap();
  const core::HeapFront& heap = *core::current_heap;
  size_t filled = 0;
  for (unsigned c = 0; c < core::kSizeClassCount; ++c) {
    const auto size_class = static_cast<core::SizeClass>(c);
    const size_t size = core::SlotSize(size_class);
    std::vector<char*> blocks((size_t{2} << 20) / size);
    for (char*& block : blocks) block = Allocate(size - HeapUnderTest::Canary::kRoom);
    size_t most = 0;
    for (char* block : blocks) {
      Free(block);
      most = std::max(most, heap.magazines[c].count());
    }
    EXPECT_LE(most * size, kMostCached) << size;
    filled += most > 0;
  }
  // At paranoid the quarantine keeps all of some classes.
  EXPECT_GT(filled, core::kSizeClassCount / 2u);
}

// ---- what is read-only after the start, and what stays out of core dumps

// The flags that /proc/self/smaps gives the mapping of an address.
std::set<std::string> FlagsOf(const void* at) {
  std::string text;
  ReadPieces("/proc/self/smaps",
             [&text](const char* piece, size_t length) { text.append(piece, length); });
  const auto address = reinterpret_cast<uintptr_t>(at);
  std::set<std::string> flags;
  bool inside = false;
  for (size_t start = 0, end; (end = text.find('\n', start)) != text.npos; start = end + 1) {
    const std::string line = text.substr(start, end - start);
    unsigned long low = 0, high = 0;
    if (sscanf(line.c_str(), "%lx-%lx ", &low, &high) == 2) {
      inside = low <= address && address < high;
    } else if (inside && line.rfind("VmFlags:", 0) == 0) {
      for (size_t word = 9; word + 2 <= line.size(); word += 3) flags.insert(line.substr(word, 2));
    }
  }
  return flags;
}

struct Place {
  const char* name;
  const void* at;
};

std::vector<Place> ReadOnlyPlaces() {
  std::vector<Place> places = {
      {"heap_constants", &*core::heap_constants},
      {"link keys", &core::heap_constants->link_keys},
      {"active_features", &*active_features},
  };
  if (HeapUnderTest::kFeatures.canary) {
    places.push_back({"the place of the secrets", &*secrets_location});
    places.push_back({"the secrets", secrets_location->at});
  }
  return places;
}

TEST(SealedStateDeathTest, AWriteToWhatIsSettledAtTheStartFaults) {
  StartHeap();
  for (const Place& place : ReadOnlyPlaces()) {
    // Looked up, too: the child has drawn keys of its own, and made them read-only again.
    EXPECT_EQ(FlagsOf(place.at).count("rd"), 1u) << place.name;
    EXPECT_EQ(FlagsOf(place.at).count("wr"), 0u) << place.name;
    const prim::ChildResult child = prim::RunInChild([&place] {
      signal(SIGSEGV, SIG_DFL);
      // Writes what is there.
      auto* byte = static_cast<volatile char*>(const_cast<void*>(place.at));
      *byte = *byte;
    });
    EXPECT_TRUE(child.died_of(SIGSEGV)) << place.name << ": " << child.status;
  }
}

// The same in a child, where the keys of its epoch were written.
TEST(SealedStateDeathTest, AWriteInAForkedChildFaults) {
  StartHeap();
  for (const Place& place : ReadOnlyPlaces()) {
    const prim::ChildResult child = prim::RunInChild([&place] {
      Free(Allocate(100));
      const prim::ChildResult grandchild = prim::RunInChild([&place] {
        signal(SIGSEGV, SIG_DFL);
        auto* byte = static_cast<volatile char*>(const_cast<void*>(place.at));
        *byte = *byte;
      });
      _exit(grandchild.died_of(SIGSEGV) ? 0 : 1);
    });
    EXPECT_TRUE(child.exited_with(0)) << place.name;
  }
}

TEST(DumpTest, MetadataAndKeysStayOutOfCoreDumps) {
  StartHeap();
  char* block = Allocate(100);
  char* run = Allocate(200'000);
  const core::SliceDescriptor& slice =
      core::heap_state.FindArena(AddressOf(block))->SliceAt(AddressOf(block));
  std::vector<Place> places = {
      {"heap_constants", &*core::heap_constants}, {"heap_state", &core::heap_state},
      {"the thread heap", core::current_heap},    {"a descriptor", &slice},
      {"the records of a slab", slice.records},
  };
  if (HeapUnderTest::kFeatures.canary) places.push_back({"the secrets", secrets_location->at});
  for (const Place& place : places) {
    EXPECT_EQ(FlagsOf(place.at).count("dd"), 1u) << place.name;
  }
  // What the program stored is for its debugger.
  for (char* user : {block, run}) {
    EXPECT_EQ(FlagsOf(user).count("rd"), 1u);
    EXPECT_EQ(FlagsOf(user).count("dd"), 0u);
    Free(user);
  }
}

}  // namespace
}  // namespace hardened
