#include "hardened/prim/lock.h"

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tests/prim/child_process.h"
#include "tests/prim/deny_system_calls.h"

namespace hardened::prim {
namespace {

constexpr int kThreads = 4;
constexpr int kNoFilter = 99;

constinit Lock g_static_lock;

struct Counter {
  Lock lock;
  int value ABSL_GUARDED_BY(lock) = 0;
};

void Count(Counter& counter, int times) {
  for (int i = 0; i < times; ++i) {
    LockGuard guard(counter.lock);
    ++counter.value;
  }
}

TEST(LockTest, AStaticLockStartsFree) { EXPECT_FALSE(g_static_lock.IsHeld()); }

TEST(LockTest, AGuardHoldsForTheLengthOfItsScope) {
  Lock lock;
  {
    LockGuard guard(lock);
    EXPECT_TRUE(lock.IsHeld());
  }
  EXPECT_FALSE(lock.IsHeld());
}

TEST(LockTest, TryLockTakesAFreeLockOnly) {
  Lock lock;
  // if, not ASSERT_TRUE: the thread safety analysis looks through this only.
  if (!lock.TryLock()) FAIL() << "free, but not taken";
  std::thread([&lock] {
    if (lock.TryLock()) {
      lock.Release();
      ADD_FAILURE() << "taken twice";
    }
  }).join();
  lock.Release();
  if (!lock.TryLock()) FAIL() << "free again, but not taken";
  lock.Release();
}

TEST(LockTest, ThreadsExcludeEachOther) {
  constexpr int kTimes = 100'000;
  Counter counter;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) threads.emplace_back([&] { Count(counter, kTimes); });
  for (std::thread& thread : threads) thread.join();
  LockGuard guard(counter.lock);
  EXPECT_EQ(counter.value, kThreads * kTimes);
}

TEST(LockTest, EverySleeperIsWoken) {
  // Long sections put all others to sleep; a lost wake-up would hang the test.
  Counter counter;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&counter] {
      for (int j = 0; j < 50; ++j) {
        LockGuard guard(counter.lock);
        std::this_thread::sleep_for(std::chrono::microseconds(200));
        ++counter.value;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  LockGuard guard(counter.lock);
  EXPECT_EQ(counter.value, kThreads * 50);
}

TEST(LockTest, WaitingSleepsAndKeepsErrno) {
  Lock lock;
  lock.Acquire();
  std::atomic<bool> started{false};
  std::atomic<int64_t> used_milliseconds{-1};
  std::atomic<int> error{0};
  std::thread waiter([&] {
    started = true;
    errno = 77;
    lock.Acquire();
    error = errno;
    lock.Release();
    timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    used_milliseconds = used.tv_sec * 1000 + used.tv_nsec / 1'000'000;
  });
  while (!started) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  lock.Release();
  waiter.join();
  EXPECT_EQ(error, 77);
  EXPECT_LT(used_milliseconds, 100);
}

TEST(LockTest, WithoutFutexThreadsStillExcludeEachOther) {
  for (const unsigned error : {unsigned{EPERM}, unsigned{ENOSYS}}) {
    const ChildResult child = RunInChild([error] {
      if (!DenySystemCalls({SYS_futex}, error)) _exit(kNoFilter);
      static Counter counter;
      static std::atomic<int> finished{0};
      for (int i = 0; i < kThreads; ++i) {
        // Not joined: joining needs the futex call.
        pthread_t thread;
        const auto body = [](void*) -> void* {
          for (int j = 0; j < 100; ++j) {
            LockGuard guard(counter.lock);
            const int before = counter.value;
            usleep(10);
            counter.value = before + 1;
          }
          finished.fetch_add(1);
          for (;;) usleep(1000);
        };
        if (pthread_create(&thread, nullptr, body, nullptr) != 0) _exit(1);
      }
      while (finished.load() < kThreads) usleep(1000);
      LockGuard guard(counter.lock);
      _exit(counter.value == kThreads * 100 ? 0 : 2);
    });
    if (child.exited_with(kNoFilter)) GTEST_SKIP() << "no seccomp filters here";
    EXPECT_TRUE(child.exited_with(0)) << child.status << child.text;
  }
}

TEST(LockTest, AForkedChildResetsALockThatAnotherThreadHeld) {
  Lock lock;
  std::atomic<bool> held{false}, done{false};
  std::thread holder([&] {
    LockGuard guard(lock);
    held = true;
    while (!done) std::this_thread::yield();
  });
  while (!held) std::this_thread::yield();
  const ChildResult child = RunInChild([&lock] {
    if (!lock.IsHeld()) _exit(1);
    lock.ForkReset();
    LockGuard guard(lock);
  });
  done = true;
  holder.join();
  EXPECT_TRUE(child.exited_with(0)) << child.status;
}

}  // namespace
}  // namespace hardened::prim
