// lifecycle_test: allocation before main, at exit, in dying threads, after
// fork, and from many threads at once.
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <barrier>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tests/preload/pattern.h"

namespace {

constexpr size_t kSizes[] = {1, 16, 64, 100, 1000, 4096, 5000, 20000, 100000, 1 << 20};
constexpr size_t kSizeCount = std::size(kSizes);

// A block of each size, filled; the seed is the size.
struct OneOfEach {
  void* blocks[kSizeCount];

  void Allocate() {
    for (size_t i = 0; i < kSizeCount; ++i) {
      blocks[i] = Opaque(std::malloc(kSizes[i]));
      if (blocks[i] != nullptr) FillPattern(blocks[i], kSizes[i], kSizes[i]);
    }
  }
  // Returns: whether every block was there with its contents. Frees them all.
  bool VerifyAndFree() {
    bool good = true;
    for (size_t i = 0; i < kSizeCount; ++i) {
      good = good && blocks[i] != nullptr && HasPattern(blocks[i], kSizes[i], kSizes[i]);
      std::free(Opaque(blocks[i]));
    }
    return good;
  }
};

// --- Before main ------------------------------------------------------------------

OneOfEach from_preinit, from_constructor, from_late_constructor;

// Runs before the constructors of every shared library, a preloaded one too.
void AllocateInPreinit(int, char**, char**) { from_preinit.Allocate(); }
[[gnu::section(".preinit_array"), gnu::used]] void (*preinit)(int, char**, char**) =
    AllocateInPreinit;
[[gnu::constructor(101)]] void AllocateInConstructor() { from_constructor.Allocate(); }
[[gnu::constructor]] void AllocateInLateConstructor() { from_late_constructor.Allocate(); }

TEST(EarlyStartTest, BlocksFromPreinitArrayAreValid) { EXPECT_TRUE(from_preinit.VerifyAndFree()); }
TEST(EarlyStartTest, BlocksFromTheFirstConstructorAreValid) {
  EXPECT_TRUE(from_constructor.VerifyAndFree());
}
TEST(EarlyStartTest, BlocksFromALateConstructorAreValid) {
  EXPECT_TRUE(from_late_constructor.VerifyAndFree());
}

// --- At exit ----------------------------------------------------------------------

void UseTheHeapAtExit() {
  OneOfEach blocks;
  blocks.Allocate();
  std::fputs(blocks.VerifyAndFree() ? "heap works at exit" : "heap is broken at exit", stderr);
}

TEST(ExitDeathTest, TheHeapWorksInAtexitHandlers) {
  EXPECT_EXIT((std::atexit(UseTheHeapAtExit), std::exit(0)), testing::ExitedWithCode(0),
              "^heap works at exit");
}

struct UsesHeapInDestructor {
  ~UsesHeapInDestructor() { UseTheHeapAtExit(); }
};

TEST(ExitDeathTest, TheHeapWorksInDestructorsOfStatics) {
  auto exit_with_a_static = [] {
    static UsesHeapInDestructor object;
    std::exit(0);
  };
  EXPECT_EXIT(exit_with_a_static(), testing::ExitedWithCode(0), "^heap works at exit");
}

TEST(ExitDeathTest, TheHeapWorksAtExitWhileAThreadAllocates) {
  auto exit_beside_a_thread = [] {
    std::thread([] {
      for (;;) std::free(Opaque(std::malloc(100)));
    }).detach();
    std::atexit(UseTheHeapAtExit);
    std::exit(0);
  };
  EXPECT_EXIT(exit_beside_a_thread(), testing::ExitedWithCode(0), "^heap works at exit");
}

// --- Dying threads ------------------------------------------------------------------

std::atomic<int> good_destructor_rounds;
pthread_key_t key;

// Sets its own key again, so that it runs in every destructor round.
void AllocateInKeyDestructor(void* value) {
  OneOfEach blocks;
  blocks.Allocate();
  if (blocks.VerifyAndFree() && HasPattern(value, 100, 9)) ++good_destructor_rounds;
  std::free(Opaque(value));
  void* next = std::malloc(100);
  FillPattern(next, 100, 9);
  pthread_setspecific(key, next);
}

TEST(ThreadExitTest, PthreadKeyDestructorsMayAllocateInEveryRound) {
  constexpr int kThreads = 50;
  good_destructor_rounds = 0;
  ASSERT_EQ(pthread_key_create(&key, AllocateInKeyDestructor), 0);
  for (int i = 0; i < kThreads; ++i) {
    std::thread([] {
      void* value = std::malloc(100);
      FillPattern(value, 100, 9);
      pthread_setspecific(key, value);
    }).join();
  }
  EXPECT_EQ(good_destructor_rounds, kThreads * PTHREAD_DESTRUCTOR_ITERATIONS);
  pthread_key_delete(key);
}

struct AllocatesWhenItsThreadEnds {
  OneOfEach blocks;
  ~AllocatesWhenItsThreadEnds() {
    if (blocks.VerifyAndFree()) ++good_destructor_rounds;
    blocks.Allocate();
    if (blocks.VerifyAndFree()) ++good_destructor_rounds;
  }
};

TEST(ThreadExitTest, ThreadLocalDestructorsMayAllocate) {
  good_destructor_rounds = 0;
  for (int i = 0; i < 50; ++i) {
    std::thread([] {
      thread_local AllocatesWhenItsThreadEnds object;
      object.blocks.Allocate();
    }).join();
  }
  EXPECT_EQ(good_destructor_rounds, 100);
}

TEST(ThreadExitTest, BlocksOutliveTheThreadThatAllocatedThem) {
  std::vector<OneOfEach> all(50);
  for (OneOfEach& blocks : all) std::thread([&blocks] { blocks.Allocate(); }).join();
  for (OneOfEach& blocks : all) EXPECT_TRUE(blocks.VerifyAndFree());
}

// --- Many threads -------------------------------------------------------------------

TEST(ThreadsTest, SixtyFourThreadsAllocateAtOnce) {
  constexpr int kThreads = 64;
  std::barrier start(kThreads);
  std::atomic<int> good = 0;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      constexpr size_t kBlocks = 500;
      void* blocks[kBlocks];
      auto size_of = [&](size_t i) { return 1 + (i * 37 + thread * 11) % 3000; };
      auto seed_of = [&](size_t i) { return uint64_t(thread) << 32 | i; };
      start.arrive_and_wait();
      bool all = true;
      for (int round = 0; round < 4; ++round) {
        for (size_t i = 0; i < kBlocks; ++i) {
          blocks[i] = std::malloc(size_of(i));
          FillPattern(blocks[i], size_of(i), seed_of(i));
        }
        for (size_t i = 0; i < kBlocks; ++i) {
          all = all && HasPattern(blocks[i], size_of(i), seed_of(i));
          std::free(blocks[i]);
        }
      }
      good += all;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, kThreads);
}

TEST(ThreadsTest, BlocksFreedByTheOtherThreadComeBackClean) {
  constexpr size_t kBlocks = 2000;
  std::vector<void*> blocks(kBlocks);
  for (int round = 0; round < 20; ++round) {
    std::thread([&] {
      for (size_t i = 0; i < kBlocks; ++i) {
        blocks[i] = std::malloc(1 + i % 700);
        FillPattern(blocks[i], 1 + i % 700, i);
      }
    }).join();
    for (size_t i = 0; i < kBlocks; ++i) {
      ASSERT_TRUE(HasPattern(blocks[i], 1 + i % 700, i));
      std::free(blocks[i]);
    }
  }
}

// --- fork ---------------------------------------------------------------------------

// Returns: whether a child that uses the heap ends well. A hang ends by alarm.
bool ForkedChildCanAllocate(OneOfEach& inherited) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    OneOfEach fresh;
    fresh.Allocate();
    bool good = fresh.VerifyAndFree() && inherited.VerifyAndFree();
    std::thread([&] {
      fresh.Allocate();
      good = fresh.VerifyAndFree() && good;
    }).join();
    _exit(good ? 0 : 1);
  }
  int status = 0;
  return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) &&
         WEXITSTATUS(status) == 0;
}

TEST(ForkTest, TheChildOfASingleThreadCanAllocateAndFree) {
  OneOfEach inherited;
  inherited.Allocate();
  EXPECT_TRUE(ForkedChildCanAllocate(inherited));
  EXPECT_TRUE(inherited.VerifyAndFree());
}

TEST(ForkTest, TheChildOfABusyMultithreadedParentCanAllocateAndFree) {
  std::atomic<bool> stop = false;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      for (size_t n = i; !stop; ++n) std::free(Opaque(std::malloc(kSizes[n % kSizeCount])));
    });
  }
  OneOfEach inherited;
  inherited.Allocate();
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(ForkedChildCanAllocate(inherited)) << "fork " << i;
  EXPECT_TRUE(inherited.VerifyAndFree());
  stop = true;
  for (std::thread& thread : threads) thread.join();
}

// Each child frees what its parent allocated, and so on: keys may change from fork to fork, what
// was allocated with an old one must stay good.
TEST(ForkTest, EveryChildOfALongChainOfForksCanFreeWhatItsParentAllocated) {
  constexpr int kDepth = 40;
  const pid_t first = fork();
  ASSERT_GE(first, 0);
  if (first == 0) {
    for (int depth = 0; depth < kDepth; ++depth) {
      void* block = Opaque(std::malloc(30));
      const pid_t child = fork();
      if (child < 0) _exit(2);
      if (child > 0) {
        int status = 0;
        waitpid(child, &status, 0);
        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
      }
      std::free(block);
    }
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(first, &status, 0), first);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

TEST(ForkTest, ForksFromTwoThreadsAtOnceBothWork) {
  auto fork_often = [] {
    OneOfEach inherited;
    inherited.Allocate();
    for (int i = 0; i < 50; ++i) EXPECT_TRUE(ForkedChildCanAllocate(inherited));
    EXPECT_TRUE(inherited.VerifyAndFree());
  };
  std::thread other(fork_often);
  fork_often();
  other.join();
}

}  // namespace
