// misuse_test: one table of small crimes, each run as a child process under the
// preloaded library of each level, with the report it must end in.
//
// Environment: MISUSE names the misuse program, LIBRARY_<level> the library of
// a level. A variable that is missing is a failure.
#include <signal.h>
#include <stdlib.h>

#include <algorithm>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"
#include "tests/misuse/child_process.h"
#include "tests/misuse/exit_codes.h"

namespace {

using Names = std::vector<std::string>;
using Sizes = std::vector<size_t>;

const Names kLevels = {"light", "standard", "strict", "paranoid"};
const Sizes kAllSizes = {16, 64, 1000, 4096, 20000, 256 << 10, 4 << 20};
const Sizes kSmallSizes = {16, 64, 1000, 4096};
const Names kAllOperations = {"free",         "realloc",    "malloc_usable_size", "delete",
                              "delete_array", "free_sized", "reallocarray"};

// Entry points a report may name for an operation: an operator may be a name
// for the C function it calls.
Names FoundBy(const std::string& operation) {
  if (operation == "delete") return {"operator delete", "delete", "free"};
  if (operation == "delete_array") return {"operator delete[]", "delete[]", "operator delete", "free"};
  if (operation == "free_sized") return {"free_sized", "free"};
  if (operation == "reallocarray") return {"reallocarray", "realloc"};
  return {operation};
}

bool Frees(const std::string& operation) {
  return operation.find("free") == 0 || operation.find("delete") == 0;
}

// What the first line may say. kFreed: "double free" of an operation that frees,
// "stale pointer" of one that does not.
enum class Kind { kFreed, kFreedOrGone, kInterior, kMisaligned, kForeign, kGuess };

Names KindTexts(Kind kind, const std::string& operation) {
  const std::string freed = Frees(operation) ? "double free" : "stale pointer";
  switch (kind) {
    case Kind::kFreed:
      return {freed};
    case Kind::kFreedOrGone:
      return {freed, "unallocated pointer"};
    case Kind::kInterior:
      return {"interior pointer"};
    case Kind::kMisaligned:
      return {"misaligned pointer"};
    case Kind::kForeign:
      return {"foreign pointer"};
    case Kind::kGuess:
      return {"unallocated pointer", "foreign pointer", "interior pointer", freed};
  }
  return {};
}

struct Row {
  const char* crime;
  Kind kind;
  Names operations;
  Sizes sizes;
};

// SECURITY.md promises each of these at every level, always.
const Row kRows[] = {
    {"Freed", Kind::kFreed, kAllOperations, kAllSizes},
    {"FreedWithLiveNeighbour", Kind::kFreed, {"free", "realloc"}, kAllSizes},
    {"FreedBeforeAnotherFree", Kind::kFreed, {"free", "realloc"}, kAllSizes},
    // Larger blocks may be unmapped when freed; then the write itself faults.
    {"FreedThenOverwritten", Kind::kFreed, kAllOperations, kSmallSizes},
    {"FreedThenZeroed", Kind::kFreed, {"free", "realloc"}, kSmallSizes},
    {"FreedThenManyAllocations", Kind::kFreed, {"free", "realloc", "delete"}, kSmallSizes},
    // The slab may be gone as a whole, and what it held with it.
    {"FreedWithItsWholeSlab", Kind::kFreedOrGone, {"free", "realloc"}, {16, 64, 1000}},
    {"FreedByRealloc", Kind::kFreed, {"free", "realloc", "malloc_usable_size"}, kAllSizes},
    {"FreedByMovingRealloc", Kind::kFreed, {"free", "realloc"}, kSmallSizes},
    {"OwnerThenRemote", Kind::kFreed, {"free", "realloc", "delete"}, kAllSizes},
    {"RemoteThenOwner", Kind::kFreed, {"free", "realloc", "delete"}, kAllSizes},
    {"RemoteThenOtherRemote", Kind::kFreed, {"free", "realloc", "delete"}, kAllSizes},
    {"RemoteTwice", Kind::kFreed, {"free", "realloc", "delete"}, kAllSizes},
    {"RemoteWhileOwnerAllocates", Kind::kFreed, {"free"}, kSmallSizes},
    {"FreedByAnOwnerThatEnded", Kind::kFreed, {"free", "realloc"}, kAllSizes},
    {"FreedTwiceAfterItsOwnerEnded", Kind::kFreed, {"free", "realloc"}, kAllSizes},
    {"FreedByRemotesAfterItsOwnerEnded", Kind::kFreed, {"free", "realloc"}, kAllSizes},
    {"FreedWithItsSlabByAnOwnerThatEnded", Kind::kFreedOrGone, {"free", "realloc"}, kAllSizes},
    {"FreedWithItsSlabAfterItsOwnerEnded", Kind::kFreedOrGone, {"free", "realloc"}, kAllSizes},

    {"InteriorBy16", Kind::kInterior, kAllOperations, {64, 1000, 4096, 20000, 256 << 10, 4 << 20}},
    {"InteriorAtTheMiddle", Kind::kInterior, kAllOperations,
     {64, 1000, 4096, 20000, 256 << 10, 4 << 20}},
    {"InteriorNearTheEnd", Kind::kInterior, {"free", "realloc"},
     {64, 1000, 4096, 20000, 256 << 10, 4 << 20}},
    {"InteriorAtAPage", Kind::kInterior, {"free", "realloc"}, {20000, 256 << 10, 4 << 20}},
    {"MisalignedBy1", Kind::kMisaligned, kAllOperations, kAllSizes},
    {"MisalignedBy8", Kind::kMisaligned, kAllOperations, kAllSizes},
    {"MisalignedNearTheEnd", Kind::kMisaligned, {"free", "realloc"}, kAllSizes},
    {"MisalignedInAFreedBlock", Kind::kMisaligned, {"free", "realloc"}, kSmallSizes},

    {"ForeignStack", Kind::kForeign, kAllOperations, {64}},
    {"ForeignGlobal", Kind::kForeign, kAllOperations, {64}},
    {"ForeignGlobalPage", Kind::kForeign, kAllOperations, {64}},
    {"ForeignGlobalMisaligned", Kind::kForeign, kAllOperations, {64}},
    {"ForeignThreadLocal", Kind::kForeign, kAllOperations, {64}},
    {"ForeignMmap", Kind::kForeign, kAllOperations, {64}},
    {"ForeignMmapInside", Kind::kForeign, kAllOperations, {64}},
    {"ForeignMunmapped", Kind::kForeign, kAllOperations, {64}},
    {"ForeignFakeHeaderInGlobal", Kind::kForeign, kAllOperations, {64}},
    {"ForeignFakeHeaderInMmap", Kind::kForeign, kAllOperations, {64}},
    {"ForeignStringLiteral", Kind::kForeign, kAllOperations, {64}},
    {"ForeignFunction", Kind::kForeign, kAllOperations, {64}},
    {"ForeignProgramBreak", Kind::kForeign, kAllOperations, {64}},
    {"ForeignEnvironment", Kind::kForeign, kAllOperations, {64}},
    {"Foreign0x1", Kind::kForeign, kAllOperations, {64}},
    {"Foreign0x10", Kind::kForeign, kAllOperations, {64}},
    {"Foreign0x1000", Kind::kForeign, kAllOperations, {64}},
    {"ForeignTopOfUserSpace", Kind::kForeign, kAllOperations, {64}},
    {"ForeignNonCanonical", Kind::kForeign, kAllOperations, {64}},
    {"ForeignKernel", Kind::kForeign, kAllOperations, {64}},
    {"ForeignMinus16", Kind::kForeign, kAllOperations, {64}},

    {"GuessOneChunkUp", Kind::kGuess, {"free", "realloc"}, {64, 1000, 20000}},
    {"GuessSevenChunksUp", Kind::kGuess, {"free", "realloc"}, {64, 1000, 20000}},
    {"GuessOneChunkDown", Kind::kGuess, {"free", "realloc"}, {64, 1000, 20000}},
    {"GuessThirtyMibUp", Kind::kGuess, {"free", "realloc"}, {64, 1000, 20000}},
};

struct Case {
  std::string level, crime, operation;
  size_t size;
  Kind kind;
};
void PrintTo(const Case& row, std::ostream* out) { *out << row.crime; }

std::vector<Case> AllCases() {
  std::vector<Case> cases;
  for (const std::string& level : kLevels) {
    for (const Row& row : kRows) {
      for (const std::string& operation : row.operations) {
        for (size_t size : row.sizes) {
          cases.push_back({level, row.crime, operation, size, row.kind});
        }
      }
    }
  }
  return cases;
}

ChildResult RunMisuse(const Case& row, size_t address_space_limit = 0) {
  return RunChild({.arguments = {AbsolutePath("MISUSE"), row.crime, row.operation,
                                 std::to_string(row.size)},
                   .environment = {"LD_PRELOAD=" + AbsolutePath("LIBRARY_" + row.level),
                                   "HARDENED_EXPECTED_LEVEL=" + row.level},
                   .address_space_limit = address_space_limit});
}

std::string_view LineWith(std::string_view text, std::string_view start) {
  size_t at = 0;
  while (at < text.size()) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    if (line.substr(0, start.size()) == start) return line;
    at = end + 1;
  }
  return "";
}

std::string CaseName(const testing::TestParamInfo<Case>& info) {
  const Case& row = info.param;
  return row.crime + "_" + row.operation + "_" + std::to_string(row.size) + "_" + row.level;
}

class MisuseTest : public testing::TestWithParam<Case> {};

TEST_P(MisuseTest, IsReportedWithItsKindAndPointer) {
  const Case& row = GetParam();
  const ChildResult child = RunMisuse(row);
  if (child.exit_code == kNotCommitted) GTEST_SKIP() << "not staged: " << child.err;
  ASSERT_EQ(child.signal, SIGABRT) << child.Describe();

  const std::string_view first_line = std::string_view(child.err).substr(0, child.err.find('\n'));
  bool kind_is_right = false;
  for (const std::string& text : KindTexts(row.kind, row.operation)) {
    kind_is_right = kind_is_right || first_line == "hardened: heap corruption: " + text;
  }
  EXPECT_TRUE(kind_is_right) << "expected \"" << KindTexts(row.kind, row.operation)[0] << "\"\n"
                             << child.Describe();

  const std::string pointer = child.out.substr(0, child.out.find('\n'));
  const std::string_view pointer_line = LineWith(child.err, "  pointer   ");
  EXPECT_FALSE(pointer.empty());
  EXPECT_EQ((std::string(pointer_line) + " ").find("  pointer   " + pointer + " "), 0u)
      << child.Describe();

  const std::string_view found_line = LineWith(child.err, "  found by  ");
  bool found_is_right = false;
  for (const std::string& name : FoundBy(row.operation)) {
    found_is_right = found_is_right || found_line == "  found by  " + name + ", level " + row.level;
  }
  EXPECT_TRUE(found_is_right) << "expected found by " << row.operation << ", level " << row.level
                              << "\n" << child.Describe();
}
INSTANTIATE_TEST_SUITE_P(, MisuseTest, testing::ValuesIn(AllCases()), CaseName);

// --- Correct programs: they end well and nothing is said ----------------------------

struct Control {
  const char* crime;
  size_t size;
  size_t address_space_limit;
};
constexpr size_t k256Mib = size_t{256} << 20;
const Control kControls[] = {
    {"ControlUsesEverything", 64, 0},
    {"ControlUsesEverything", 64, k256Mib},
    {"OomOnAnImpossibleSize", 64, 0},
    {"OomUnderALimit", 64, k256Mib},
    {"OomUnderALimit", 4096, k256Mib},
    {"OomUnderALimit", 20000, k256Mib},
    {"OomUnderALimit", 1 << 20, k256Mib},
    {"OomThrowsBadAlloc", 64, k256Mib},
    {"OomThrowsBadAlloc", 1 << 20, k256Mib},
    {"OomInReallocKeepsTheBlock", 1000, k256Mib},
    {"OomInReallocKeepsTheBlock", 1 << 20, k256Mib},
};

class CorrectProgramTest : public testing::TestWithParam<std::string> {};

TEST_P(CorrectProgramTest, ExitsWithZeroAndSaysNothing) {
  for (const Control& control : kControls) {
    const ChildResult child =
        RunMisuse({GetParam(), control.crime, "free", control.size, Kind::kForeign},
                  control.address_space_limit);
    EXPECT_EQ(child.exit_code, 0) << control.crime << " " << control.size << "\n"
                                  << child.Describe();
    EXPECT_EQ(child.err, "") << control.crime << " " << control.size;
  }
}
INSTANTIATE_TEST_SUITE_P(, CorrectProgramTest, testing::ValuesIn(kLevels),
                         [](const auto& row) { return row.param; });

// --- The test itself -----------------------------------------------------------------

TEST(ChildProcessTest, AChildThatHangsIsKilledAndReported) {
  const ChildResult child =
      RunChild({.arguments = {"/bin/sh", "-c", "sleep 100 & sleep 100"}, .timeout_seconds = 1});
  EXPECT_TRUE(child.timed_out);
  EXPECT_EQ(child.signal, SIGKILL);
}

TEST(ChildProcessTest, WithoutALibraryTheMisuseProgramSaysSo) {
  const ChildResult child = RunChild({.arguments = {AbsolutePath("MISUSE"), "Freed", "free", "64"},
                                      .environment = {"HARDENED_EXPECTED_LEVEL=light"}});
  EXPECT_EQ(child.exit_code, kWrongLibrary) << child.Describe();
}

}  // namespace
