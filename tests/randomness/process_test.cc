// Randomness that a program sees: addresses of fresh processes under the preloaded library of one
// level. Processes take their seeds from the kernel, so these tests are random; every bound says
// why it fails a sound library less than once in a million runs.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/misuse/child_process.h"
#include "tests/randomness/collisions.h"

namespace hardened {
namespace {

constexpr int kSeconds = 1000;
// Requests above leave no room for the canary in a class of at most 256 bytes.
constexpr size_t kPromisedUpTo = 248;
constexpr double kPromisedBits = 9;

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}
bool IsLight() { return Variable("LEVEL") == "light"; }
// Whose quarantine takes long to fill.
bool IsParanoid() { return Variable("LEVEL") == "paranoid"; }

ChildResult RunProbe(std::vector<std::string> arguments, std::vector<std::string> environment) {
  arguments.insert(arguments.begin(), Variable("PROBE"));
  return RunChild({.arguments = std::move(arguments),
                   .environment = std::move(environment),
                   .timeout_seconds = kSeconds});
}

// Column -> sample of that name -> value of each process.
using Columns = std::map<std::string, std::vector<std::vector<int64_t>>>;

Columns Measure(const std::string& pattern, int processes,
                std::vector<std::string> environment = {}) {
  Columns columns;
  std::vector<std::string> names;
  std::istringstream lines(RunProbe({"columns", pattern}, {}).out);
  for (std::string line; std::getline(lines, line);) names.push_back(line);
  environment.push_back("PROBE_PRELOAD=" + Variable("LIBRARY"));
  const ChildResult result =
      RunProbe({"launch", pattern, std::to_string(processes), "2"}, std::move(environment));
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const size_t bytes = names.size() * sizeof(int64_t);
  EXPECT_EQ(result.out.size(), bytes * static_cast<size_t>(processes)) << result.err;
  for (size_t start = 0; start + bytes <= result.out.size(); start += bytes) {
    std::map<std::string, size_t> seen;
    for (size_t i = 0; i < names.size(); ++i) {
      int64_t value;
      std::memcpy(&value, result.out.data() + start + i * sizeof(value), sizeof(value));
      std::vector<std::vector<int64_t>>& of_name = columns[names[i]];
      const size_t repeat = seen[names[i]]++;
      if (repeat == of_name.size()) of_name.emplace_back();
      of_name[repeat].push_back(value);
    }
  }
  return columns;
}

// Each sample against the same sample of other processes.
Collisions CollisionsOf(const std::vector<std::vector<int64_t>>& samples) {
  Collisions collisions;
  for (const std::vector<int64_t>& of_processes : samples) collisions.Add(of_processes);
  return collisions;
}

// Bytes of "name/bytes" when the name is `name`, else 0.
size_t BytesOf(const std::string& column, const std::string& name) {
  if (column.compare(0, name.size() + 1, name + "/") != 0) return 0;
  return std::strtoul(column.c_str() + name.size() + 1, nullptr, 10);
}

TEST(ProcessTest, TheLibraryIsPreloaded) {
  const ChildResult result = RunProbe({"library"}, {"LD_PRELOAD=" + Variable("LIBRARY")});
  EXPECT_NE(result.out.find("libhardened_" + Variable("LEVEL")), std::string::npos)
      << result.Describe();
}

// With 1,000 processes and the weakest class (372 slots, 9.12 bits) about 900 of the 500,000 pairs
// agree, with a standard error of 0.06 bits: 8.75 bits are six of them below. A loss of half a bit
// is seen.
TEST(ProcessTest, FreshDistancesHaveNineBitsAndBasesDiffer) {
  constexpr int kProcesses = 1000;
  Columns columns = Measure("fresh", kProcesses);
  // 24 random bits: two of 1,000 agree in 1 of 33 runs, five pairs in fewer than one of a million.
  for (const char* base : {"base/0", "second-base/0"}) {
    EXPECT_LT(CollisionsOf(columns[base]).equal, 5) << base;
  }
  std::vector<int64_t> between;
  for (int i = 0; i < kProcesses; ++i) {
    between.push_back(columns["second-base/0"][0][i] - columns["base/0"][0][i]);
  }
  EXPECT_LT(CollisionsOf({between}).equal, 5) << "the place of metadata follows from the heap's";
  if (IsLight()) GTEST_SKIP() << "light promises a few cache lines";
  int checked = 0;
  for (const auto& [column, samples] : columns) {
    for (const char* name : {"p1-p0", "p99-p98"}) {
      const size_t bytes = BytesOf(column, name);
      if (bytes == 0 || bytes > kPromisedUpTo) continue;
      ++checked;
      EXPECT_GE(CollisionsOf(samples).Bits(), 8.75) << column;
    }
  }
  EXPECT_EQ(checked, 2 * 16);
}

// 49 places at standard and 369 at strict are 6.20 and 9.11 bits of the distance; with 600 processes
// the standard error is 0.02 and 0.07 bits.
TEST(ProcessTest, DistancesOfRunsKeepTheirPromise) {
  if (IsLight()) GTEST_SKIP() << "runs of light have one place";
  const bool standard = std::string_view(Variable("LEVEL")) == "standard";
  int checked = 0;
  for (const auto& [column, samples] : Measure("runs", 600)) {
    ++checked;
    EXPECT_GE(CollisionsOf(samples).Bits(), standard ? 6.0 : 8.6) << column;
  }
  EXPECT_EQ(checked, 2 * 15);
}

// Processes with 8 samples of each size and age; 50 of them make 9,800 pairs. The bounds on equal
// ones lie six standard deviations (1.5 times Poisson's variance) above what half a bit less than a
// fresh slab, but nine bits, make of them. All sizes together show a loss of one bit, one alone of
// three.
TEST(ProcessTest, DistancesHaveNotDecayedAtTheMillionthObject) {
  if (IsLight()) GTEST_SKIP() << "light promises a few cache lines";
  const Columns columns = Measure("aged", IsParanoid() ? 25 : 50);
  const auto bound = [](double most) { return most + 6 * std::sqrt(1.5 * most); };
  int checked = 0;
  for (const char* name : {"at-1e5", "at-1e6"}) {
    double all_equal = 0, all_most = 0;
    for (const auto& [column, samples] : columns) {
      const size_t bytes = BytesOf(column, name);
      if (bytes == 0 || bytes > kPromisedUpTo) continue;
      ++checked;
      const Collisions collisions = CollisionsOf(samples);
      // Of a fresh slab of the class, whose slots are 8 bytes larger than the request.
      const uint32_t slots =
          static_cast<uint32_t>((bytes + 8 >= 192 ? 2 : 1) * 65536 / (bytes + 8));
      const double weakest = std::max(kPromisedBits, BitsOfUniformDistance(slots) - 0.5);
      const double most = collisions.pairs * std::exp2(-weakest);
      EXPECT_LT(collisions.equal, bound(most)) << column << ": " << collisions.Bits() << " bits";
      all_equal += collisions.equal;
      all_most += most;
    }
    EXPECT_LT(all_equal, bound(all_most)) << name;
  }
  EXPECT_EQ(checked, 2 * 16);
}

// 300 processes: 44,850 pairs; at the promised 9 bits 88 agree, with a standard deviation below 13;
// 8 bits are 175. 200 processes: 39 and 78, with 7.
TEST(ProcessTest, WhichFreedSlotReturnsHasNineBits) {
  if (IsLight()) GTEST_SKIP() << "light hands out what was freed last";
  Columns columns = Measure("reuse", IsParanoid() ? 200 : 300);
  EXPECT_GE(CollisionsOf(columns["first-returned/56"]).Bits(), 8) << "index in the order of frees";
  // Guarded samples (one allocation in 100 at paranoid) do not return: then there is no time to
  // guess.
  std::vector<int64_t>& after = columns["one-returns-after/56"][0];
  const size_t measured = after.size();
  after.erase(std::remove(after.begin(), after.end(), -1), after.end());
  EXPECT_GE(after.size(), measured * 3 / 4);
  EXPECT_GE(CollisionsOf({after}).Bits(), 8) << "allocations until one returns";
  for (const char* column : {"reuse-minimum/56", "pair-reuse-minimum/56"}) {
    const std::vector<int64_t>& least = columns[column][0];
    EXPECT_GE(*std::min_element(least.begin(), least.end()), 4096) << column;
  }
}

// Addresses without the base of the heap, in the order of the program.
std::vector<int64_t> Addresses(std::vector<std::string> environment) {
  const Columns columns = Measure("addresses", 1, std::move(environment));
  std::vector<int64_t> addresses;
  for (const auto& [column, samples] : columns) {
    if (BytesOf(column, "base") != 0 || column == "base/0") continue;
    for (const std::vector<int64_t>& sample : samples) addresses.push_back(sample[0]);
  }
  EXPECT_EQ(addresses.size(), 480u);
  return addresses;
}

TEST(ProcessTest, ASeedReproducesEveryAddress) {
  const std::vector<int64_t> once = Addresses({"PROBE_SEED=7"});
  // A process that is stopped for 50 ms keeps house at another place, and differs from there on.
  bool again = false;
  for (int i = 0; i < 10 && !again; ++i) again = Addresses({"PROBE_SEED=7"}) == once;
  EXPECT_TRUE(again) << "none of ten processes with the same seed got the same addresses";
  EXPECT_NE(once, Addresses({"PROBE_SEED=8"}));
  EXPECT_NE(Addresses({}), Addresses({}));
}

// By chance one position in hundreds agrees, and more than three of 32 in 1 fork of 200,000 (the
// mean of a process; its last fork has 156 free slots): three such forks of 100 come in fewer than
// one of a billion runs.
TEST(ProcessTest, ParentAndChildDrawDifferentAddresses) {
  int forks = 0, over = 0;
  int64_t most = 0;
  for (const auto& [column, samples] : Measure("fork", 5)) {
    for (const std::vector<int64_t>& sample : samples) {
      for (const int64_t equal : sample) {
        ++forks;
        over += equal > 3;
        most = std::max(most, equal);
      }
    }
  }
  EXPECT_EQ(forks, 100);
  EXPECT_LE(over, 2) << "forks of 100 in which more than 3 of the next 32 addresses are equal; "
                     << "at most " << most;
}

// 1,000 forks: --test_env=HARDENED_TEST_FORKS=1000 --test_timeout=3600. A child that does not end
// within 100 seconds ends the probe; so a slow machine is no failure.
TEST(ProcessTest, NoForkOfAProcessWithManyThreadsHangs) {
  std::string forks = Variable("HARDENED_TEST_FORKS");
  if (forks.empty()) forks = "100";
  std::vector<std::string> arguments = {Variable("PROBE"), "storm", forks};
  const ChildResult result = RunChild({.arguments = std::move(arguments),
                                       .environment = {"LD_PRELOAD=" + Variable("LIBRARY")},
                                       .timeout_seconds = kSeconds + std::atoi(forks.c_str())});
  EXPECT_EQ(result.exit_code, 0) << result.Describe();
}

}  // namespace
}  // namespace hardened
