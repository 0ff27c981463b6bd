// The detection matrix: what each level does about each misuse of the heap.
//
// One table, which detection_test.cc puts to the proof and matrix_markdown.h prints for
// SECURITY.md. A row is a misuse: a crime that a child process commits under the preloaded library,
// in every variant and size that the row lists. A cell is what must come of it.

#ifndef TESTS_DETECTION_DETECTION_TABLE_H_
#define TESTS_DETECTION_DETECTION_TABLE_H_

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

using Names = std::vector<std::string>;
using Sizes = std::vector<size_t>;

enum class Outcome {
  kReported,           // a report of the right kind, then SIGABRT
  kReportedAndGoesOn,  // the same report, and the program runs to its end
  kFaults,             // SIGSEGV, after a report of the right kind
  kSometimes,          // reported or faults, at a rate; else not detected
  kPrevented,          // the program runs to its end and the crime has gained nothing
  kNotDetected,        // the program runs to its end
};

// What a cell waits for. A cell whose feature is in kMissing is run all the same: it is skipped
// while it fails, and fails when it passes, so that the list cannot grow stale.
enum class Feature {
  kPresent,
  kAlignedZero,  // zero bytes with an alignment fault as malloc(0) does
};
extern const std::vector<Feature> kMissing;
std::string_view NameOf(Feature feature);
bool IsMissing(Feature feature);

struct Cell {
  Outcome outcome = Outcome::kNotDetected;
  std::string_view when = "";  // words for the printed table: "at free"
  Names kinds = {};            // of the report, any of them
  Names found_by = {};         // any of them; empty: the call that the variant names
  double rate = 1;             // kSometimes: of the crimes that are stopped
  int runs = 1;                // of each variant and size
  Feature needs = Feature::kPresent;
};

enum class Program { kMisuse, kCrimes };  // tests/misuse:misuse, tests/detection:crimes

inline constexpr std::array<std::string_view, 4> kColumns = {"light", "standard", "strict",
                                                             "paranoid"};

struct Row {
  std::string_view misuse;  // in words, unique
  Program program;
  std::string_view crime;
  Names variants;
  Sizes sizes;
  std::array<Cell, kColumns.size()> cells;  // in the order of kColumns
};

struct Group {
  std::string_view title;
  std::vector<Row> rows;
};

const std::vector<Group>& DetectionTable();

// The levels that are built (tools/bazel/levels.bzl), weakest first.
const Names& BuiltLevels();
// The column of a level; kColumns.size() when there is none.
size_t ColumnOf(std::string_view level);

// What reports call the function that a word of the variant names: "delete" is "operator delete".
// "" when none does.
std::string CallNamedBy(std::string_view variant);

#endif  // TESTS_DETECTION_DETECTION_TABLE_H_
