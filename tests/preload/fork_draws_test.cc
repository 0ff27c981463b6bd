// fork_draws_test: parent and children of fork() and of a bare clone() hand out different slots.
//
// Bounds: kSize has 546 slots to a slab. Two uniform draws of 32 slots agree in 32 / 546 positions
// on average; half of the slab may be taken. A guarded sample falls on the same position in all
// processes and may lie at the same address: one more. Without new randomness all 32 agree.
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <thread>

#include "gtest/gtest.h"
#include "tests/preload/library_under_test.h"
#include "tests/preload/pattern.h"

namespace {

constexpr size_t kSize = 232;
constexpr size_t kOtherSize = 3000;
constexpr size_t kNext = 32;
constexpr size_t kChildren = 8;
constexpr size_t kProcesses = kChildren + 1;
using Addresses = std::array<uintptr_t, kNext>;
using Fork = pid_t (*)();

// Runs no handlers of pthread_atfork().
pid_t BareClone() { return static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)); }
pid_t OrdinaryFork() { return fork(); }

Addresses Draw(void (*before)()) {
  if (before != nullptr) before();
  Addresses addresses;
  for (uintptr_t& address : addresses) {
    address = reinterpret_cast<uintptr_t>(Opaque(std::malloc(kSize)));
  }
  return addresses;
}

// What a child draws; it also frees `inherited`. All zero when the child failed.
Addresses DrawInChild(Fork make_child, void (*before)(), void* inherited) {
  Addresses addresses = {};
  int ends[2];
  if (pipe(ends) != 0) return addresses;
  const pid_t child = make_child();
  if (child == 0) {
    alarm(60);
    std::free(Opaque(inherited));
    const Addresses drawn = Draw(before);
    const bool written = write(ends[1], drawn.data(), sizeof(drawn)) == sizeof(drawn);
    for (const uintptr_t address : drawn) std::free(reinterpret_cast<void*>(address));
    _exit(written ? 0 : 1);
  }
  close(ends[1]);
  const ssize_t got = read(ends[0], addresses.data(), sizeof(addresses));
  close(ends[0]);
  int status = -1;
  const bool ended = child > 0 && waitpid(child, &status, 0) == child && status == 0;
  EXPECT_TRUE(ended && got == sizeof(addresses)) << status;
  return addresses;
}

// Children of one state, and their parent after them. `stock` runs in the parent before, `before`
// in each process before it draws. In a thread of its own, whose heap holds nothing in advance.
// Returns: how many of the 36 * 32 positions of any two of the nine agree.
size_t EqualDraws(Fork make_child, void (*stock)(), void (*before)()) {
  std::array<Addresses, kProcesses> drawn;
  std::thread([&] {
    void* inherited = std::malloc(100);
    if (stock != nullptr) stock();
    for (size_t i = 0; i < kChildren; ++i) drawn[i] = DrawInChild(make_child, before, inherited);
    drawn[kChildren] = Draw(before);
    for (const uintptr_t address : drawn[kChildren]) std::free(reinterpret_cast<void*>(address));
    std::free(inherited);
  }).join();
  size_t equal = 0;
  for (size_t a = 0; a < kProcesses; ++a) {
    for (size_t b = a + 1; b < kProcesses; ++b) {
      for (size_t i = 0; i < kNext; ++i) equal += drawn[a][i] == drawn[b][i];
    }
  }
  return equal;
}

// 36 for the sample, and of uniform draws 4.2 on average: 24 or more in fewer than one run of
// 10^10.
constexpr size_t kMostEqual = 36 + 24;

class ForkDrawsTest : public testing::Test {
 protected:
  void SetUp() override {
    if (LibraryUnderTest::ExpectedLevel() == "none") GTEST_SKIP() << "libc draws nothing";
  }
};

void StockASlot() { std::free(Opaque(std::malloc(kSize))); }
void UseAnotherSize() { std::free(Opaque(std::malloc(kOtherSize))); }

TEST_F(ForkDrawsTest, ChildrenOfForkDrawDifferently) {
  EXPECT_LE(EqualDraws(&OrdinaryFork, nullptr, nullptr), kMostEqual);
}

TEST_F(ForkDrawsTest, ChildrenOfForkDrawDifferentlyWhatTheirParentHadStocked) {
  // The parent goes on with its stock; so two children are what differs most surely.
  EXPECT_LE(EqualDraws(&OrdinaryFork, &StockASlot, nullptr), kMostEqual);
}

TEST_F(ForkDrawsTest, ChildrenOfABareCloneDrawDifferently) {
  EXPECT_LE(EqualDraws(&BareClone, nullptr, nullptr), kMostEqual);
}

TEST_F(ForkDrawsTest, ChildrenOfABareClonePutBackTheirStockWithTheFirstRefill) {
  EXPECT_LE(EqualDraws(&BareClone, &StockASlot, &UseAnotherSize), kMostEqual);
}

}  // namespace
