#include "hardened/prim/thread_exit.h"

#include <limits.h>
#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <thread>

#include "gtest/gtest.h"
#include "tests/prim/child_process.h"

namespace hardened::prim {
namespace {

std::atomic<int> g_calls{0};
std::atomic<void*> g_last_value{nullptr};
// How many more times the callback arms again, as an allocation in a later destructor would.
std::atomic<int> g_rearm{0};

void Callback(void* value) {
  g_calls.fetch_add(1);
  g_last_value = value;
  if (g_rearm.fetch_sub(1) > 0) ArmThreadExit(value);
}

// One registration per process.
class ThreadExitTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { ASSERT_TRUE(RegisterThreadExit(&Callback)); }
  void SetUp() override {
    g_calls = 0;
    g_last_value = nullptr;
    g_rearm = 0;
  }
};

TEST_F(ThreadExitTest, AnArmedThreadCallsBackWithItsLastValue) {
  int first = 0, second = 0;
  std::thread([&] {
    EXPECT_TRUE(ArmThreadExit(&first));
    EXPECT_TRUE(ArmThreadExit(&second));
    EXPECT_EQ(g_calls, 0);
  }).join();
  EXPECT_EQ(g_calls, 1);
  EXPECT_EQ(g_last_value, &second);
}

TEST_F(ThreadExitTest, AThreadThatWasNeverArmedOrWasDisarmedDoesNotCallBack) {
  int value = 0;
  std::thread([] {}).join();
  std::thread([&] {
    ArmThreadExit(&value);
    DisarmThreadExit();
  }).join();
  EXPECT_EQ(g_calls, 0);
}

TEST_F(ThreadExitTest, ArmingInADestructorCallsBackAgain) {
  int value = 0;
  g_rearm = 1;
  std::thread([&] { ArmThreadExit(&value); }).join();
  EXPECT_EQ(g_calls, 2);
}

TEST_F(ThreadExitTest, TheRoundsAreBounded) {
  int value = 0;
  g_rearm = 1000;
  std::thread([&] { ArmThreadExit(&value); }).join();
  EXPECT_EQ(g_calls, PTHREAD_DESTRUCTOR_ITERATIONS);
}

TEST(ThreadExitDeathTest, RegisteringTwiceFailsACheck) {
  const ChildResult child = RunInChild([] {
    RegisterThreadExit(&Callback);
    RegisterThreadExit(&Callback);
  });
  EXPECT_TRUE(child.died_of(SIGABRT)) << child.status;
}

}  // namespace
}  // namespace hardened::prim
