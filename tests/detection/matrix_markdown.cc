#include "tests/detection/matrix_markdown.h"

#include <stdio.h>

#include "tests/detection/detection_table.h"

namespace {

// 99.6 %, 6 %.
std::string Percent(double rate) {
  char text[32];
  const double percent = 100 * rate;
  // Down, so that no rate is printed as more than it is; the small number mends what binary costs.
  const double digits = percent < 99 ? 1 : percent < 99.9 ? 10 : 1000;
  const double rounded =
      static_cast<double>(static_cast<int64_t>(percent * digits + 1e-9)) / digits;
  snprintf(text, sizeof text, "%.*f %%", percent < 99 ? 0 : percent < 99.9 ? 1 : 3, rounded);
  return text;
}

std::string TextOf(const Cell& cell) {
  if (IsMissing(cell.needs)) return "not yet";
  switch (cell.outcome) {
    case Outcome::kReported:
    case Outcome::kReportedAndGoesOn:
    case Outcome::kFaults:
    case Outcome::kPrevented:
      return "always (" + std::string(cell.when) + ")";
    case Outcome::kSometimes:
      return (cell.rate < 0.9 ? "by chance (" : "likely (") + Percent(cell.rate) + ", " +
             std::string(cell.when) + ")";
    case Outcome::kNotDetected:
      return "no";
  }
  return "";
}

}  // namespace

std::string MatrixMarkdown() {
  std::string text;
  for (const Group& group : DetectionTable()) {
    text += "\n### " + std::string(group.title) + "\n\n| misuse |";
    std::string rule = "|---|";
    for (const std::string& level : BuiltLevels()) {
      text += " " + level + " |";
      rule += "---|";
    }
    text += "\n" + rule + "\n";
    for (const Row& row : group.rows) {
      text += "| " + std::string(row.misuse) + " |";
      for (const std::string& level : BuiltLevels()) {
        text += " " + TextOf(row.cells[ColumnOf(level)]) + " |";
      }
      text += "\n";
    }
  }
  return text + "\n";
}
