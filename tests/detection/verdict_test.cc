#include "tests/detection/verdict.h"

#include <signal.h>

#include "gtest/gtest.h"
#include "tests/misuse/exit_codes.h"

namespace {

std::string Report(const std::string& kind, const std::string& found_by) {
  return "hardened: heap corruption: " + kind + "\n  pointer   0x10  (not in the heap)\n" +
         "  found by  " + found_by + ", level strict\n  meaning   ...\n";
}
ChildResult Killed(int signal, const std::string& err) { return {.signal = signal, .err = err}; }
ChildResult Exited(int code, const std::string& err = "", const std::string& out = "") {
  return {.exit_code = code, .out = out, .err = err};
}

const Cell kAtFree = {.outcome = Outcome::kReported, .when = "at free", .kinds = {"double free"}};
const Cell kFault = {.outcome = Outcome::kFaults,
                     .when = "fault",
                     .kinds = {"use after free"},
                     .found_by = {"a fault"}};
const Cell kHalf = {.outcome = Outcome::kSometimes,
                    .when = "at free",
                    .kinds = {"double free"},
                    .rate = 0.5,
                    .runs = 200};

int VerdictOn(const Cell& cell, const ChildResult& child, std::string_view variant = "free:1") {
  return Judge(cell, Observe(child), "strict", variant).verdict;
}

TEST(VerdictTest, ARightReportIsADetection) {
  EXPECT_EQ(VerdictOn(kAtFree, Killed(SIGABRT, Report("double free", "free"))),
            Judgement::kAsExpected);
  EXPECT_EQ(VerdictOn(kAtFree, Killed(SIGABRT, Report("double free", "operator delete[]")),
                      "delete_array_sized:new"),
            Judgement::kAsExpected);
  EXPECT_EQ(VerdictOn(kFault, Killed(SIGSEGV, Report("use after free", "a fault"))),
            Judgement::kAsExpected);
}

TEST(VerdictTest, AWrongKindCallOrLevelIsNone) {
  const Observation seen = Observe(Killed(SIGABRT, Report("double free", "free")));
  EXPECT_EQ(VerdictOn(kAtFree, Killed(SIGABRT, Report("stale pointer", "free"))),
            Judgement::kWrong);
  EXPECT_EQ(VerdictOn(kAtFree, Killed(SIGABRT, Report("double free", "realloc"))),
            Judgement::kWrong);
  EXPECT_EQ(Judge(kAtFree, seen, "light", "free").verdict, Judgement::kWrong);
}

TEST(VerdictTest, AnyOtherDeathIsNone) {
  for (const Cell* cell : {&kAtFree, &kFault, &kHalf}) {
    EXPECT_EQ(VerdictOn(*cell, Killed(SIGABRT, "")), Judgement::kWrong);
    EXPECT_EQ(VerdictOn(*cell, Killed(SIGABRT, "free(): double free detected in tcache 2\n")),
              Judgement::kWrong);
    EXPECT_EQ(VerdictOn(*cell, Killed(SIGABRT, "hardened: internal error: a.cc:1: false\n")),
              Judgement::kWrong);
    EXPECT_EQ(VerdictOn(*cell, Killed(SIGSEGV, "")), Judgement::kWrong);
    EXPECT_EQ(VerdictOn(*cell, Killed(SIGKILL, Report("double free", "free"))), Judgement::kWrong);
    EXPECT_EQ(VerdictOn(*cell, Exited(127)), Judgement::kWrong);
    EXPECT_EQ(VerdictOn(*cell, Exited(kWrongLibrary, "misuse: ...\n")), Judgement::kWrong);
  }
}

TEST(VerdictTest, AHangIsNone) {
  ChildResult child = Killed(SIGABRT, Report("double free", "free"));
  child.timed_out = true;
  EXPECT_EQ(VerdictOn(kAtFree, child), Judgement::kWrong);
}

TEST(VerdictTest, TwoReportsAreNone) {
  const std::string report = Report("double free", "free");
  EXPECT_EQ(VerdictOn(kAtFree, Killed(SIGABRT, report + report)), Judgement::kWrong);
}

TEST(VerdictTest, GoingOnIsNotDying) {
  Cell cell = kAtFree;
  cell.outcome = Outcome::kReportedAndGoesOn;
  const std::string report = Report("double free", "free");
  EXPECT_EQ(VerdictOn(cell, Exited(kSurvived, report)), Judgement::kAsExpected);
  EXPECT_EQ(VerdictOn(cell, Killed(SIGABRT, report)), Judgement::kWrong);
  EXPECT_EQ(VerdictOn(kAtFree, Exited(kSurvived, report)), Judgement::kWrong);
  EXPECT_EQ(VerdictOn(cell, Exited(kSurvived)), Judgement::kWrong);
}

TEST(VerdictTest, NotDetectedMeansThatTheProgramRanToItsEndInSilence) {
  const Cell cell = {};
  EXPECT_EQ(VerdictOn(cell, Exited(kSurvived)), Judgement::kAsExpected);
  EXPECT_EQ(VerdictOn(cell, Exited(kSurvived, "something\n")), Judgement::kWrong);
  EXPECT_EQ(VerdictOn(cell, Exited(0)), Judgement::kWrong);
  EXPECT_EQ(VerdictOn(cell, Exited(kPrevented)), Judgement::kWrong);
  EXPECT_EQ(VerdictOn(cell, Killed(SIGSEGV, "")), Judgement::kWrong);
  EXPECT_EQ(VerdictOn(cell, Killed(SIGABRT, Report("double free", "free"))), Judgement::kWrong);
}

TEST(VerdictTest, ACrimeThatWasNotStagedProvesNothing) {
  const ChildResult child = Exited(kNotCommitted, "misuse: no neighbours\n");
  EXPECT_EQ(VerdictOn(kAtFree, child), Judgement::kNotStaged);
  EXPECT_EQ(VerdictOn(Cell{}, child), Judgement::kNotStaged);
}

TEST(VerdictTest, ManyCrimesOfOneProgramAreCounted) {
  const ChildResult half = Exited(kMeasured, "", "512 of 1024\n");
  const Judgement judgement = Judge(kHalf, Observe(half), "strict", "");
  EXPECT_EQ(judgement.verdict, Judgement::kAsExpected);
  EXPECT_EQ(judgement.stopped, 512u);
  EXPECT_EQ(judgement.committed, 1024u);
  EXPECT_EQ(VerdictOn(kAtFree, half), Judgement::kWrong);
  EXPECT_EQ(VerdictOn(kAtFree, Exited(kMeasured, "", "1024 of 1024\n")), Judgement::kAsExpected);
  EXPECT_EQ(VerdictOn(Cell{}, Exited(kMeasured, "", "0 of 1024\n")), Judgement::kAsExpected);
  EXPECT_EQ(VerdictOn(Cell{}, half), Judgement::kWrong);
  EXPECT_EQ(VerdictOn(kHalf, Exited(kMeasured, "", "garbage\n")), Judgement::kWrong);
  EXPECT_EQ(VerdictOn(kHalf, Exited(kMeasured, "", "0 of 0\n")), Judgement::kWrong);
}

TEST(VerdictTest, ARateIsHeldToWhatChanceAllows) {
  EXPECT_EQ(JudgeRate(0.5, 100, 200), "");
  EXPECT_NE(JudgeRate(0.5, 60, 200), "");
  EXPECT_NE(JudgeRate(0.5, 140, 200), "");
  EXPECT_EQ(JudgeRate(1.0 / 16, 5, 200), "");
  EXPECT_NE(JudgeRate(1.0 / 16, 0, 400), "");
  // A promise of "likely" may be kept better than it says.
  EXPECT_EQ(JudgeRate(0.95, 200, 200), "");
  EXPECT_EQ(JudgeRate(1 - 1.0 / 256, 4080, 4096), "");
  EXPECT_NE(JudgeRate(1 - 1.0 / 256, 4050, 4096), "");
}

}  // namespace
