#include "tests/detection/verdict.h"

#include <signal.h>
#include <stdio.h>

#include <algorithm>

#include "tests/misuse/exit_codes.h"
#include "tests/support/binomial.h"

namespace {

constexpr std::string_view kReport = "hardened: heap corruption: ";
constexpr std::string_view kFoundBy = "  found by  ";
constexpr std::string_view kLevel = ", level ";

// What follows `start` to the end of its line; "" when no line starts so.
std::string_view LineAfter(std::string_view text, std::string_view start) {
  size_t at = 0;
  while (at < text.size()) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    if (line.substr(0, start.size()) == start) return line.substr(start.size());
    at = end + 1;
  }
  return "";
}

size_t CountOf(std::string_view text, std::string_view part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++count;
  return count;
}

bool IsOneOf(const Names& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string Joined(const Names& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : " or ") + name;
  return text;
}

Verdict VerdictOf(const ChildResult& child, size_t reports) {
  if (child.timed_out || reports > 1) return Verdict::kOther;
  if (reports == 1) {
    if (child.signal == SIGABRT) return Verdict::kReported;
    if (child.signal == SIGSEGV) return Verdict::kFault;
    return child.exit_code == kSurvived ? Verdict::kReportedAndGoesOn : Verdict::kOther;
  }
  if (child.signal == SIGSEGV && child.err.empty()) return Verdict::kFault;
  if (child.exit_code == kNotCommitted) return Verdict::kNotStaged;
  if (!child.err.empty()) return Verdict::kOther;
  if (child.exit_code == kSurvived) return Verdict::kUnnoticed;
  if (child.exit_code == kPrevented) return Verdict::kPrevented;
  return child.exit_code == kMeasured ? Verdict::kMeasured : Verdict::kOther;
}

// "" when the report is the one that the cell asks for.
std::string WrongReport(const Cell& cell, const Observation& seen, std::string_view level,
                        std::string_view variant) {
  if (seen.kind.empty()) return "it died without a report";
  if (!IsOneOf(cell.kinds, seen.kind)) {
    return "reported as \"" + seen.kind + "\", not as \"" + Joined(cell.kinds) + "\"";
  }
  const Names calls = cell.found_by.empty() ? Names{CallNamedBy(variant)} : cell.found_by;
  if (!IsOneOf(calls, seen.found_by)) {
    return "found by \"" + seen.found_by + "\", not by \"" + Joined(calls) + "\"";
  }
  if (seen.level != level) return "reported by level \"" + seen.level + "\"";
  return "";
}

bool IsStop(Verdict verdict) { return verdict == Verdict::kReported || verdict == Verdict::kFault; }

Judgement JudgeMeasured(const Cell& cell, const Observation& seen) {
  const uint64_t expected = cell.outcome == Outcome::kReported ? seen.committed : 0;
  if (seen.committed > 0 && (cell.outcome == Outcome::kSometimes || seen.reported == expected)) {
    return {
        .verdict = Judgement::kAsExpected, .stopped = seen.reported, .committed = seen.committed};
  }
  return {.reason = std::to_string(seen.reported) + " of " + std::to_string(seen.committed) +
                    " were reported"};
}

}  // namespace

Observation Observe(const ChildResult& child) {
  const size_t reports = CountOf(child.err, kReport);
  Observation seen{.verdict = VerdictOf(child, reports)};
  if (reports == 1) {
    seen.kind = LineAfter(child.err, kReport);
    const std::string_view found = LineAfter(child.err, kFoundBy);
    const size_t comma = std::min(found.rfind(kLevel), found.size());
    seen.found_by = found.substr(0, comma);
    seen.level = found.substr(std::min(comma + kLevel.size(), found.size()));
  }
  unsigned long reported = 0;
  unsigned long committed = 0;
  if (seen.verdict == Verdict::kMeasured &&
      sscanf(child.out.c_str(), "%lu of %lu", &reported, &committed) == 2) {
    seen.reported = reported;
    seen.committed = committed;
  }
  return seen;
}

Judgement Judge(const Cell& cell, const Observation& seen, std::string_view level,
                std::string_view variant) {
  if (seen.verdict == Verdict::kNotStaged) return {.verdict = Judgement::kNotStaged};
  if (seen.verdict == Verdict::kMeasured) return JudgeMeasured(cell, seen);
  bool expected = false;
  switch (cell.outcome) {
    case Outcome::kReported:
      expected = seen.verdict == Verdict::kReported;
      break;
    case Outcome::kReportedAndGoesOn:
      expected = seen.verdict == Verdict::kReportedAndGoesOn;
      break;
    case Outcome::kFaults:
      expected = seen.verdict == Verdict::kFault;
      break;
    case Outcome::kSometimes:
      if (seen.verdict == Verdict::kUnnoticed) return {.verdict = Judgement::kMissed};
      expected = IsStop(seen.verdict);
      break;
    case Outcome::kPrevented:
      if (seen.verdict == Verdict::kPrevented) return {.verdict = Judgement::kAsExpected};
      break;
    case Outcome::kNotDetected:
      if (seen.verdict == Verdict::kUnnoticed) return {.verdict = Judgement::kAsExpected};
      break;
  }
  if (!expected) return {.reason = "the program ended otherwise"};
  const std::string wrong = WrongReport(cell, seen, level, variant);
  if (!wrong.empty()) return {.reason = wrong};
  return {.verdict = Judgement::kAsExpected, .stopped = 1};
}

std::string JudgeRate(double rate, uint64_t stopped, uint64_t committed) {
  // Some fifteen rates are judged in a run of all tests.
  constexpr double kChance = 1e-8;
  const bool too_few = hardened::BinomialAtMost(committed, rate, stopped) < kChance;
  const bool too_many = rate < 0.9 && hardened::BinomialAtLeast(committed, rate, stopped) < kChance;
  if (!too_few && !too_many) return "";
  return std::to_string(stopped) + " of " + std::to_string(committed) + " were stopped, which is " +
         (too_few ? "fewer" : "more") + " than at a rate of " + std::to_string(rate);
}
