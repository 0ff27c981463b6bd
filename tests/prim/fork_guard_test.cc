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

TEST(ForkGuardTest, InstallingTwiceKeepsTheFirstHandlers) {
  const ChildResult child = RunInChild([] {
    // In the child of a run of the test above the handlers may be there already.
    InstallForkHandlers([] { ++g_prepared; }, [] { ++g_in_parent; }, [] { ++g_in_child; });
    const int before = g_prepared;
    const bool again = InstallForkHandlers([] { g_prepared = -100; }, [] {}, [] {});
    const ChildResult grandchild = RunInChild([] { _exit(0); });
    _exit(again && grandchild.exited_with(0) && g_prepared == before + 1 ? 0 : 1);
  });
  EXPECT_TRUE(child.exited_with(0)) << child.status;
}

}  // namespace
}  // namespace hardened::prim
