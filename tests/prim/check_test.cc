#include "hardened/prim/check.h"

#include <signal.h>

#include <algorithm>
#include <string>

#include "gtest/gtest.h"
#include "tests/prim/child_process.h"

namespace hardened::prim {
namespace {

TEST(CheckTest, ATrueConditionIsEvaluatedOnce) {
  int evaluations = 0;
  HARDENED_CHECK(++evaluations == 1);
  EXPECT_EQ(evaluations, 1);
}

TEST(CheckDeathTest, AFalseConditionNamesFileLineAndConditionAndAborts) {
  int line = 0;
  const ChildResult child = RunInChild([] { HARDENED_CHECK(1 + 1 == 3); });
  line = __LINE__ - 1;
  EXPECT_TRUE(child.died_of(SIGABRT)) << child.status;
  const std::string end = "check_test.cc:" + std::to_string(line) + ": 1 + 1 == 3\n";
  EXPECT_EQ(child.text.rfind("hardened: internal error: ", 0), 0u) << child.text;
  EXPECT_EQ(child.text.substr(child.text.size() - std::min(child.text.size(), end.size())), end);
}

TEST(CheckDeathTest, AHandlerThatFailsACheckItselfEndsTheProcess) {
  const ChildResult child = RunInChild([] {
    signal(SIGABRT, [](int) { HARDENED_CHECK(2 + 2 == 5); });
    HARDENED_CHECK(1 + 1 == 3);
  });
  EXPECT_TRUE(child.died_of(SIGABRT)) << child.status;
  EXPECT_EQ(Count(child.text, "hardened: internal error: "), 2) << child.text;
}

TEST(CheckDeathTest, TheDebugCheckDiesInDebugBuildsAndEvaluatesNothingInOthers) {
#ifdef NDEBUG
  bool evaluated = false;
  HARDENED_DCHECK((evaluated = true));
  EXPECT_FALSE(evaluated);
#else
  const ChildResult child = RunInChild([] { HARDENED_DCHECK(1 + 1 == 3); });
  EXPECT_TRUE(child.died_of(SIGABRT)) << child.status;
#endif
}

}  // namespace
}  // namespace hardened::prim
