#include "hardened/prim/fork_guard.h"

#include <signal.h>
#include <unistd.h>

#include "gtest/gtest.h"
#include "tests/prim/child_process.h"

namespace hardened::prim {
namespace {

int g_prepared = 0, g_in_parent = 0, g_in_child = 0;

TEST(ForkGuardTest, TheHandlersRunOnTheirSidesOfAFork) {
  ASSERT_FALSE(ForkHandlersInstalled());
  ASSERT_TRUE(
      InstallForkHandlers([] { ++g_prepared; }, [] { ++g_in_parent; }, [] { ++g_in_child; }));
  EXPECT_TRUE(ForkHandlersInstalled());
  const ChildResult child =
      RunInChild([] { _exit(g_prepared == 1 && g_in_parent == 0 && g_in_child == 1 ? 0 : 1); });
  EXPECT_TRUE(child.exited_with(0)) << child.status;
  EXPECT_EQ(g_prepared, 1);
  EXPECT_EQ(g_in_parent, 1);
  EXPECT_EQ(g_in_child, 0);
}

TEST(ForkGuardDeathTest, InstallingTwiceFailsACheck) {
  const ChildResult child = RunInChild([] {
    InstallForkHandlers(nullptr, nullptr, nullptr);
    InstallForkHandlers(nullptr, nullptr, nullptr);
  });
  EXPECT_TRUE(child.died_of(SIGABRT)) << child.status;
}

}  // namespace
}  // namespace hardened::prim
