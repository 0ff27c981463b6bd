// Verdict: what became of a crime, read from how its process ended and what it said.
//
// Pure functions. A process that died without the right report is never taken for a detection.

#ifndef TESTS_DETECTION_VERDICT_H_
#define TESTS_DETECTION_VERDICT_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "tests/detection/detection_table.h"
#include "tests/misuse/child_process.h"

enum class Verdict {
  kReported,           // one report, then SIGABRT
  kReportedAndGoesOn,  // one report, and the program ran to its end
  kFault,              // SIGSEGV, after one report or none
  kPrevented,
  kUnnoticed,  // ran to its end, nothing was said
  kMeasured,   // `reported` of `committed` crimes were reported, with the right kind
  kNotStaged,  // the crime was not committed
  kOther,      // anything else: a hang, an internal error, another allocator's abort
};

struct Observation {
  Verdict verdict = Verdict::kOther;
  std::string kind = "";      // of the report; "": none
  std::string found_by = "";  // of the report
  std::string level = "";     // of the report
  uint64_t reported = 0;
  uint64_t committed = 0;
};

Observation Observe(const ChildResult& child);

// What one child says about a cell.
struct Judgement {
  enum { kAsExpected, kMissed, kNotStaged, kWrong } verdict = kWrong;
  std::string reason = "";  // of kWrong
  // Of kAsExpected and kMissed: crimes that were stopped, and all. kMissed: a crime of a cell that
  // promises a rate went unnoticed.
  uint64_t stopped = 0;
  uint64_t committed = 1;
};

Judgement Judge(const Cell& cell, const Observation& seen, std::string_view level,
                std::string_view variant);

// "" when `stopped` of `committed` agrees with the rate that a kSometimes cell states: not below it
// by more than chance takes it once in a million; and where the rate is below 0.9, neither above,
// so that the table says what there is. Else the reason.
std::string JudgeRate(double rate, uint64_t stopped, uint64_t committed);

#endif  // TESTS_DETECTION_VERDICT_H_
