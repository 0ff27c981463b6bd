// holes_test: ways past a promise that were once open, at every level, in the library of that level
// and in the one that chooses at run time.
//
// Environment: HOLES names the program, LIBRARY_<level> and LIBRARY the libraries.
#include <signal.h>
#include <stdlib.h>

#include <string>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"
#include "tests/misuse/child_process.h"
#include "tests/misuse/exit_codes.h"
#include "tests/support/kernel_guards.h"

namespace {

class HolesTest : public testing::TestWithParam<std::tuple<std::string, bool>> {
 protected:
  const std::string& level() const { return std::get<0>(GetParam()); }
  bool chosen_at_run_time() const { return std::get<1>(GetParam()); }
  bool light() const { return level() == "light"; }
  bool fatal_mismatch() const { return level() == "strict" || level() == "paranoid"; }

  ChildResult Run(const std::string& scenario, size_t number = 0,
                  const std::string& options = "") const {
    ChildOptions child;
    child.arguments = {AbsolutePath("HOLES"), scenario, std::to_string(number)};
    child.timeout_seconds = 300;
    child.environment = {
        "LD_PRELOAD=" + AbsolutePath(chosen_at_run_time() ? "LIBRARY" : "LIBRARY_" + level()),
        "HARDENED_EXPECTED_LEVEL=" + level(), "HARDENED_OPTIONS=" + options};
    if (chosen_at_run_time()) child.environment.push_back("HARDENED_LEVEL=" + level());
    return RunChild(child);
  }
};

// Nothing was gained: by the program's own judgement, by a report, or by a fault on a guard.
testing::AssertionResult Stopped(const ChildResult& result) {
  if (result.exit_code == kPrevented || result.signal == SIGABRT || result.signal == SIGSEGV) {
    return testing::AssertionSuccess();
  }
  return testing::AssertionFailure() << result.Describe();
}

TEST_P(HolesTest, CallocIsZeroAfterWritesToFreeSlots) {
  for (const size_t bytes : {8, 24, 64, 100, 120, 200, 1000, 4000, 20'000, 60'000}) {
    EXPECT_TRUE(Stopped(Run("CallocAfterAWriteToAFreedSlot", bytes))) << bytes;
    EXPECT_TRUE(Stopped(Run("CallocAfterAWriteToUnusedSlots", bytes))) << bytes;
  }
}

TEST_P(HolesTest, CallocReportsAWriteToASlotThatShouldBeZero) {
  if (light()) GTEST_SKIP() << "light wipes nothing";
  for (const size_t bytes : {8, 24, 64, 100, 120}) {
    for (const char* scenario :
         {"CallocAfterAWriteToAFreedSlot", "CallocAfterAWriteToUnusedSlots"}) {
      const ChildResult result = Run(scenario, bytes);
      // The canary of a neighbour that was written over may speak first.
      EXPECT_EQ(result.signal, SIGABRT) << bytes << result.Describe();
    }
  }
}

TEST_P(HolesTest, CallocIsZeroAfterWritesToFreedRuns) {
  for (const size_t bytes : {70'000, 300'000, 5'000'000}) {
    EXPECT_TRUE(Stopped(Run("CallocAfterAWriteToAFreedRun", bytes))) << bytes;
    EXPECT_TRUE(Stopped(Run("CallocAfterAWriteToARunThatWasHeld", bytes, "run_hold=8M"))) << bytes;
  }
  EXPECT_TRUE(Stopped(Run("CallocAfterAWriteToARunThatWasHeld", 300'000, "run_hold=1M")));
  EXPECT_TRUE(Stopped(Run("CallocAfterAWriteToAPurgedRun", 300'000, "run_hold=0")));
}

TEST_P(HolesTest, AnAllocationOfNothingFaultsAtEveryAlignment) {
  if (light()) GTEST_SKIP() << "at light it is memory";
  if (!KernelHasGuards()) GTEST_SKIP() << "guards are limited here";
  const ChildResult result = Run("ZeroSizeAligned");
  EXPECT_EQ(result.exit_code, kPrevented) << result.Describe();
}

TEST_P(HolesTest, AFreedRunDoesNotComeBackAtOnce) {
  if (light()) GTEST_SKIP() << "light gives it back";
  for (const size_t bytes : {70'000, 300'000, 1'000'000, 4'000'000}) {
    EXPECT_EQ(Run("RunComesBackAtOnce", bytes).exit_code, kPrevented) << bytes;
  }
}

// Of 49 places or more twelve children choose the same in fewer than one run of 10^18.
TEST_P(HolesTest, SiblingsDoNotAllGetTheSameRun) {
  if (light()) GTEST_SKIP() << "runs of light have one place";
  for (const size_t bytes : {122'880, 300'000, 3'000'000}) {
    EXPECT_EQ(Run("SiblingsGetTheSameRun", bytes).exit_code, kPrevented) << bytes;
  }
}

TEST_P(HolesTest, RightAlignmentsAreNotReported) {
  const ChildResult result = Run("RightAlignments");
  EXPECT_EQ(result.exit_code, 0) << result.Describe();
  EXPECT_EQ(result.err, "");
}

TEST_P(HolesTest, WrongAlignmentsAreMismatches) {
  if (light()) GTEST_SKIP() << "light does not know sizes";
  for (size_t number = 0;; ++number) {
    const ChildResult result = Run("WrongAlignment", number);
    if (result.exit_code == kBadArguments) {
      EXPECT_GT(number, 40);
      return;
    }
    EXPECT_NE(result.err.find("ended as aligned to"), std::string::npos)
        << number << result.Describe();
    if (fatal_mismatch()) {
      EXPECT_EQ(result.signal, SIGABRT) << result.Describe();
    } else {
      EXPECT_EQ(result.exit_code, kSurvived) << result.Describe();
    }
  }
}

TEST_P(HolesTest, AFreeThatWasOvertakenEndsNobodyElsesAllocation) {
  // Slots of light have no lives.
  const std::vector<size_t> sizes =
      light() ? std::vector<size_t>{300'000} : std::vector<size_t>{100, 1000, 70'000, 300'000};
  for (const size_t bytes : sizes) {
    const ChildResult result = Run("FreeOvertaken", bytes, "mismatch=report");
    EXPECT_EQ(result.signal, SIGABRT) << bytes << result.Describe();
  }
}

TEST_P(HolesTest, TheSweepLeavesAloneWhatIsGone) {
  if (level() != "paranoid") GTEST_SKIP() << "there is no sweep";
  const ChildResult result = Run("SlabsComeAndGo");
  EXPECT_EQ(result.exit_code, 0) << result.Describe();
  EXPECT_EQ(result.err, "");
}

INSTANTIATE_TEST_SUITE_P(
    All, HolesTest,
    testing::Combine(testing::Values("light", "standard", "strict", "paranoid"), testing::Bool()),
    [](const auto& info) {
      return std::get<0>(info.param) + (std::get<1>(info.param) ? "AtRunTime" : "");
    });

}  // namespace
