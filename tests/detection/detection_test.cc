// detection_test: proves every cell of the detection matrix, each crime in child processes under
// the preloaded library of the level.
//
// Environment: MISUSE and CRIMES name the programs, LIBRARY_<level> the library of a level. A
// variable that is missing is a failure.

#include <ctype.h>
#include <stdlib.h>

#include <ostream>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/detection/detection_table.h"
#include "tests/detection/verdict.h"
#include "tests/misuse/child_process.h"
#include "tests/misuse/exit_codes.h"

namespace {

struct Case {
  const Row* row;
  std::string name;
  std::string level;

  const Cell& cell() const { return row->cells[ColumnOf(level)]; }
};
void PrintTo(const Case& test_case, std::ostream* out) { *out << test_case.row->misuse; }

// Letters, digits and single underscores. "new[]" is not "new".
std::string AsName(std::string_view words) {
  std::string name;
  for (const char c : words) {
    if (isalnum(static_cast<unsigned char>(c))) {
      name += c;
    } else if (c == '[') {
      name += "Array";
    } else if (!name.empty() && name.back() != '_') {
      name += '_';
    }
  }
  while (!name.empty() && name.back() == '_') name.pop_back();
  return name;
}

std::vector<Case> AllCases() {
  std::vector<Case> cases;
  for (const std::string& level : BuiltLevels()) {
    if (ColumnOf(level) == kColumns.size()) continue;
    for (const Group& group : DetectionTable()) {
      for (const Row& row : group.rows) {
        cases.push_back(
            {&row, AsName(group.title) + "_" + AsName(row.misuse) + "_" + level, level});
      }
    }
  }
  return cases;
}

ChildResult Commit(const Case& test_case, const std::string& variant, size_t size) {
  const Row& row = *test_case.row;
  std::vector<std::string> environment = {
      "LD_PRELOAD=" + AbsolutePath("LIBRARY_" + test_case.level),
      "HARDENED_EXPECTED_LEVEL=" + test_case.level};
  // A guarded sample sees what the level does not: there, the table leaves samples out.
  if (test_case.cell().outcome == Outcome::kNotDetected) {
    environment.push_back("HARDENED_OPTIONS=sample=0");
  }
  return RunChild(
      {.arguments = {AbsolutePath(row.program == Program::kMisuse ? "MISUSE" : "CRIMES"),
                     std::string(row.crime), variant, std::to_string(size)},
       .environment = std::move(environment)});
}

// Commits every crime of a cell.
struct Tally {
  std::vector<std::string> wrong;
  uint64_t stopped = 0;
  uint64_t committed = 0;
  uint64_t not_staged = 0;
};

Tally CommitAll(const Case& test_case) {
  Tally tally;
  for (const std::string& variant : test_case.row->variants) {
    for (const size_t size : test_case.row->sizes) {
      for (int run = 0; run < test_case.cell().runs; ++run) {
        const ChildResult child = Commit(test_case, variant, size);
        const Judgement judgement =
            Judge(test_case.cell(), Observe(child), test_case.level, variant);
        if (judgement.verdict == Judgement::kNotStaged) {
          ++tally.not_staged;
        } else if (judgement.verdict == Judgement::kWrong) {
          tally.wrong.push_back(variant + " " + std::to_string(size) + ": " + judgement.reason +
                                "\n" + child.Describe());
          // The first says it all when there is one for each of many runs.
          if (test_case.cell().runs > 1) return tally;
        } else {
          tally.stopped += judgement.stopped;
          tally.committed += judgement.committed;
        }
      }
    }
  }
  return tally;
}

class DetectionMatrixTest : public testing::TestWithParam<Case> {};

TEST_P(DetectionMatrixTest, TheLevelDoesWhatTheTableSays) {
  const Cell& cell = GetParam().cell();
  Tally tally = CommitAll(GetParam());
  if (tally.wrong.empty() && tally.committed == 0) {
    tally.wrong.push_back("no crime could be staged");
  }
  if (tally.wrong.empty() && cell.outcome == Outcome::kSometimes) {
    const std::string reason = JudgeRate(cell.rate, tally.stopped, tally.committed);
    if (!reason.empty()) tally.wrong.push_back(reason);
  }
  RecordProperty("stopped", std::to_string(tally.stopped));
  RecordProperty("committed", std::to_string(tally.committed));
  RecordProperty("not_staged", std::to_string(tally.not_staged));
  if (IsMissing(cell.needs)) {
    ASSERT_FALSE(tally.wrong.empty())
        << "passes: take \"" << NameOf(cell.needs) << "\" out of kMissing in detection_table.cc";
    GTEST_SKIP() << "waits for " << NameOf(cell.needs);
  }
  for (const std::string& wrong : tally.wrong) ADD_FAILURE() << wrong;
}
INSTANTIATE_TEST_SUITE_P(, DetectionMatrixTest, testing::ValuesIn(AllCases()),
                         [](const auto& info) { return info.param.name; });

// ---- the table itself

TEST(DetectionTableTest, EveryBuiltLevelHasAColumn) {
  ASSERT_FALSE(BuiltLevels().empty());
  for (const std::string& level : BuiltLevels()) {
    EXPECT_LT(ColumnOf(level), kColumns.size()) << level;
  }
}

TEST(DetectionTableTest, CoversSixtyKindsOfMisuse) {
  size_t rows = 0;
  for (const Group& group : DetectionTable()) rows += group.rows.size();
  EXPECT_GE(rows, 60u);
}

TEST(DetectionTableTest, NoTwoRowsOfAGroupHaveTheSameName) {
  std::set<std::string> names;
  for (const Case& test_case : AllCases()) EXPECT_TRUE(names.insert(test_case.name).second);
}

TEST(DetectionTableTest, EveryPromiseNamesItsReport) {
  for (const Case& test_case : AllCases()) {
    const Cell& cell = test_case.cell();
    const bool silent =
        cell.outcome == Outcome::kPrevented || cell.outcome == Outcome::kNotDetected;
    EXPECT_EQ(cell.kinds.empty(), silent) << test_case.name;
    EXPECT_EQ(cell.when.empty(), cell.outcome == Outcome::kNotDetected) << test_case.name;
    EXPECT_FALSE(test_case.row->variants.empty() || test_case.row->sizes.empty()) << test_case.name;
  }
}

// A rate is known from 200 crimes at least.
TEST(DetectionTableTest, RatesAreMeasuredOverManyCrimes) {
  for (const Case& test_case : AllCases()) {
    const Cell& cell = test_case.cell();
    if (cell.outcome != Outcome::kSometimes) continue;
    EXPECT_TRUE(cell.runs >= 200 || test_case.row->crime == "OverflowEverySize") << test_case.name;
    EXPECT_GT(cell.rate, 0) << test_case.name;
    EXPECT_LT(cell.rate, 1) << test_case.name;
  }
}

// The crimes ask for the library: on libc none of them runs, and none counts as detected.
TEST(DetectionTableTest, WithoutALibraryNoCrimeIsCommitted) {
  const ChildResult child =
      RunChild({.arguments = {AbsolutePath("CRIMES"), "Overflow", "free:1", "64"},
                .environment = {"HARDENED_EXPECTED_LEVEL=light"}});
  EXPECT_EQ(child.exit_code, kWrongLibrary) << child.Describe();
  EXPECT_EQ(Observe(child).verdict, Verdict::kOther);
}

}  // namespace
