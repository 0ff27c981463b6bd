// bounds_test: libhardened_bounds.so stops each of its functions at the exact end of a heap object,
// and nowhere else. Each row is a child process.
//
// Environment: OVERFLOW names the program, BOUNDS the library, LIBRARY_<level> that of a level.

#include <signal.h>

#include <ostream>
#include <string>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"
#include "tests/bounds/calls.h"
#include "tests/misuse/child_process.h"
#include "tests/misuse/exit_codes.h"

void PrintTo(const Call& call, std::ostream* out) { *out << call.name; }

namespace {

// Slots and a run.
constexpr size_t kSizes[] = {16, 64, 4096, 256 << 10};

struct Row {
  std::string level;  // empty: libc's heap
  const Call* call;
  const char* how = "write";
  const char* place = "heap";
  size_t size = 64;
  size_t offset = 0;
  size_t bytes = 0;
  std::string options = "sample=0";
};

ChildResult RunOverflow(const Row& row) {
  std::string preload = AbsolutePath("BOUNDS");
  if (!row.level.empty()) preload += ":" + AbsolutePath("LIBRARY_" + row.level);
  return RunChild({.arguments = {AbsolutePath("OVERFLOW"), row.call->name, row.how, row.place,
                                 std::to_string(row.size), std::to_string(row.offset),
                                 std::to_string(row.bytes)},
                   .environment = {"LD_PRELOAD=" + preload, "HARDENED_OPTIONS=" + row.options}});
}

void ExpectSurvives(const Row& row) {
  const ChildResult child = RunOverflow(row);
  EXPECT_EQ(child.exit_code, kSurvived) << row.size << " at " << row.offset << child.Describe();
  EXPECT_EQ(child.err, "");
}

void ExpectText(const ChildResult& child, const std::string& text) {
  EXPECT_NE(child.err.find(text), std::string::npos) << text << "\n" << child.Describe();
}

void ExpectReport(const ChildResult& child, const Row& row, const std::string& detail) {
  ExpectText(child, "hardened: heap corruption: heap overflow by a call\n");
  ExpectText(child, std::string("  found by  ") + row.call->reported + ", level " + row.level);
  ExpectText(child, "  asked for " + std::to_string(row.size) + " bytes\n");
  ExpectText(child, "  detail    " + detail + "\n");
}

void ExpectCaught(const Row& row, const std::string& detail) {
  const ChildResult child = RunOverflow(row);
  EXPECT_EQ(child.signal, SIGABRT) << row.size << " at " << row.offset << child.Describe();
  ExpectReport(child, row, detail);
}

std::string Detail(const char* does, size_t bytes, size_t room) {
  return std::string(does) + " " + std::to_string(bytes) + " bytes, " +
         std::to_string(bytes - room) + " too many";
}

class BoundsTest : public testing::TestWithParam<std::tuple<const char*, Call>> {
 protected:
  const Call& call() const { return std::get<1>(GetParam()); }
  std::string level() const { return std::get<0>(GetParam()); }
  size_t unit() const { return call().unit; }
};

TEST_P(BoundsTest, AWriteBehindTheEndIsCaughtAndOneUpToTheEndPasses) {
  for (const size_t size : kSizes) {
    for (const size_t offset : {size_t{0}, size / 2}) {
      Row row = {.level = level(), .call = &call(), .size = size, .offset = offset};
      row.bytes = size - offset;
      ExpectSurvives(row);
      row.bytes += unit();
      ExpectCaught(row, Detail("writes", row.bytes, size - offset));
    }
  }
}

TEST_P(BoundsTest, AReadBehindTheEndIsCaughtAndOneUpToTheEndPasses) {
  if (call().read == nullptr) return;
  for (const size_t size : kSizes) {
    for (const size_t offset : {size_t{0}, size / 2}) {
      Row row = {.level = level(), .call = &call(), .how = "read", .size = size, .offset = offset};
      row.bytes = size - offset;
      ExpectSurvives(row);
      row.bytes += unit();
      ExpectCaught(row, Detail("reads", row.bytes, size - offset));
    }
  }
}

TEST_P(BoundsTest, AStringWithoutItsNulIsCaught) {
  if (call().read_string == nullptr) return;
  for (const size_t size : kSizes) {
    const Row row = {
        .level = level(), .call = &call(), .how = "read_string", .size = size, .offset = size / 2};
    ExpectCaught(row, Detail("reads", size / 2 + unit(), size / 2));
  }
}

TEST_P(BoundsTest, StackAndGlobalVariablesHaveNoBounds) {
  for (const char* place : {"stack", "global"}) {
    ExpectSurvives({.level = level(), .call = &call(), .place = place, .size = 64, .bytes = 4096});
  }
}

std::string NameOf(const testing::TestParamInfo<std::tuple<const char*, Call>>& info) {
  return std::string(std::get<0>(info.param)) + "_" + std::get<1>(info.param).name;
}
INSTANTIATE_TEST_SUITE_P(All, BoundsTest,
                         testing::Combine(testing::Values("standard", "strict"),
                                          testing::ValuesIn(AllCalls().begin(), AllCalls().end())),
                         NameOf);

const Call* Memcpy() { return &AllCalls()[0]; }

TEST(BoundsPolicyTest, EveryByteTooManyIsCounted) {
  for (const size_t size : {1, 15, 24, 100, 1000, 5000, 70'001}) {
    for (const size_t more : {1, 2, 100, 10'000}) {
      ExpectCaught({.level = "standard", .call = Memcpy(), .size = size, .bytes = size + more},
                   Detail("writes", size + more, size));
    }
  }
}

TEST(BoundsPolicyTest, AWriteThatStartsBehindTheEndIsCaught) {
  ExpectCaught({.level = "standard", .call = Memcpy(), .size = 20, .offset = 21, .bytes = 1},
               Detail("writes", 1, 0));
}

TEST(BoundsPolicyTest, AnAllocationOfNothingIsFull) {
  ExpectCaught({.level = "standard", .call = Memcpy(), .size = 0, .bytes = 1},
               Detail("writes", 1, 0));
}

TEST(BoundsPolicyTest, AnotherThreadsBlockHasTheSameBounds) {
  ExpectSurvives(
      {.level = "strict", .call = Memcpy(), .place = "thread", .size = 100, .bytes = 100});
  ExpectCaught({.level = "strict", .call = Memcpy(), .place = "thread", .size = 100, .bytes = 101},
               Detail("writes", 101, 100));
}

// What SECURITY.md says is not seen.
TEST(BoundsPolicyTest, FreedMemoryIsNotLookedAt) {
  ExpectSurvives(
      {.level = "standard", .call = Memcpy(), .place = "freed", .size = 1000, .bytes = 1000});
}

TEST(BoundsPolicyTest, LightBoundsBySlots) {
  ExpectSurvives({.level = "light", .call = Memcpy(), .size = 100, .bytes = 112});
  const ChildResult child =
      RunOverflow({.level = "light", .call = Memcpy(), .size = 100, .bytes = 113});
  EXPECT_EQ(child.signal, SIGABRT) << child.Describe();
  ExpectText(child, "heap overflow by a call\n");
  ExpectText(child, "writes 113 bytes, 1 too many");
}

TEST(BoundsPolicyTest, AuditReportsAndGoesOn) {
  const Row row = {.level = "standard",
                   .call = Memcpy(),
                   .size = 64,
                   .bytes = 65,
                   .options = "sample=0:canary=report"};
  const ChildResult child = RunOverflow(row);
  EXPECT_EQ(child.exit_code, kSurvived) << child.Describe();
  ExpectReport(child, row, Detail("writes", 65, 64));
}

TEST(BoundsPolicyTest, WithoutTheHeapEverythingPasses) {
  for (const Call& call : AllCalls()) {
    ExpectSurvives({.level = "", .call = &call, .size = 64, .bytes = 64});
  }
  ExpectSurvives({.level = "", .call = Memcpy(), .size = 64, .bytes = 72});
}

}  // namespace
