#include "hardened/prim/environment.h"

#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "gtest/gtest.h"
#include "tests/prim/child_process.h"

namespace hardened::prim {
namespace {

TEST(EnvironmentTest, FindsTheWholeNameOnlyAndTheFirstOfTwo) {
  const char* const envp[] = {"AB=1", "A=2", "A=3", "EMPTY=", "NOEQUALS", "A", nullptr};
  EXPECT_EQ(FindEnvironment("A", envp), "2");
  EXPECT_EQ(FindEnvironment("AB", envp), "1");
  EXPECT_EQ(FindEnvironment("EMPTY", envp), "");
  EXPECT_NE(FindEnvironment("EMPTY", envp).data(), nullptr);
  EXPECT_EQ(FindEnvironment("NOEQUALS", envp).data(), nullptr);
  EXPECT_EQ(FindEnvironment("B", envp).data(), nullptr);
  EXPECT_EQ(FindEnvironment("", envp).data(), nullptr);
  EXPECT_EQ(FindEnvironment("A", nullptr).data(), nullptr);
}

TEST(EnvironmentTest, TheProcessEnvironmentFollowsLibc) {
  setenv("HARDENED_PRIM_TEST", "a value", 1);
  EXPECT_EQ(FindEnvironment("HARDENED_PRIM_TEST", ProcessEnvironment()), "a value");
}

TEST(EnvironmentTest, BeforeLibcIsReadyTheStackServes) {
#ifdef __GLIBC__
  const ChildResult child = RunInChild([] {
    const std::string_view path = FindEnvironment("PATH", environ);
    if (path.data() == nullptr) _exit(1);
    environ = nullptr;  // as before libc's start
    const char* const* const envp = ProcessEnvironment();
    if (envp == nullptr) _exit(2);
    if (FindEnvironment("PATH", envp) != path) _exit(3);
  });
  EXPECT_TRUE(child.exited_with(0)) << child.status;
#else
  GTEST_SKIP() << "only glibc has __libc_stack_end";
#endif
}

// A block as the kernel leaves it: pointers, then the strings above them.
struct Block {
  uintptr_t words[8] = {};
  char text[16] = "A=1";
};

TEST(EnvironmentTest, AStackBlockGivesItsEnvironment) {
  Block block;
  const auto text = reinterpret_cast<uintptr_t>(block.text);
  const uintptr_t words[8] = {2, text, text, 0, text, 0, 0, 0};
  std::copy(words, words + 8, block.words);
  const char* const* const envp = EnvironmentFromStackBlock(&block);
  EXPECT_EQ(envp, reinterpret_cast<const char* const*>(block.words + 4));
  EXPECT_EQ(FindEnvironment("A", envp), "1");
}

TEST(EnvironmentTest, AnImplausibleStackBlockGivesNothing) {
  Block block;
  const auto text = reinterpret_cast<uintptr_t>(block.text);
  const auto below = reinterpret_cast<uintptr_t>(&block) - 64;
  const uintptr_t bad[][8] = {
      {3, text, text, 0, text, 0, 0, 0},           // fewer arguments than it says
      {1, text, text, 0, text, 0, 0, 0},           // more
      {2, text, below, 0, text, 0, 0, 0},          // a string below the block
      {2, text, text, 0, text, 5, 0, 0},           // a number among the strings
      {UINTPTR_MAX, text, text, 0, text, 0, 0, 0}  // an absurd count
  };
  for (const auto& words : bad) {
    std::copy(words, words + 8, block.words);
    EXPECT_EQ(EnvironmentFromStackBlock(&block), nullptr) << &words - bad;
  }
  EXPECT_EQ(EnvironmentFromStackBlock(nullptr), nullptr);
  EXPECT_EQ(EnvironmentFromStackBlock(reinterpret_cast<char*>(&block) + 1), nullptr);
}

TEST(EnvironmentTest, ATestRunsWithoutRaisedPrivileges) {
  errno = 77;
  EXPECT_FALSE(RunsWithRaisedPrivileges());
  EXPECT_EQ(errno, 77);
}

TEST(ParseUnsignedTest, AcceptsDigitsWithASuffix) {
  struct Row {
    const char* text;
    uint64_t value;
  };
  for (const Row& row : {Row{"0", 0}, Row{"007", 7}, Row{"18446744073709551615", UINT64_MAX},
                         Row{"1k", 1024}, Row{"64K", 65536}, Row{"3M", 3u << 20},
                         Row{"2g", uint64_t{2} << 30}, Row{"17179869183G", 17179869183ull << 30}}) {
    uint64_t value = 1;
    EXPECT_TRUE(ParseUnsigned(row.text, &value)) << row.text;
    EXPECT_EQ(value, row.value) << row.text;
  }
}

TEST(ParseUnsignedTest, RejectsEverythingElseAndLeavesTheValue) {
  for (const char* text :
       {"", "K", "-1", "+1", " 1", "1 ", "1KB", "1.5", "0x10", "1T", "18446744073709551616",
        "99999999999999999999", "17179869184G", "1K1", "1\n"}) {
    uint64_t value = 77;
    EXPECT_FALSE(ParseUnsigned(text, &value)) << text;
    EXPECT_EQ(value, 77u) << text;
  }
}

TEST(ParseBooleanTest, AcceptsTheEightWordsInEitherCase) {
  for (const char* text : {"1", "on", "true", "yes", "ON", "True", "yEs"}) {
    bool value = false;
    EXPECT_TRUE(ParseBoolean(text, &value)) << text;
    EXPECT_TRUE(value) << text;
  }
  for (const char* text : {"0", "off", "false", "no", "OFF", "False", "nO"}) {
    bool value = true;
    EXPECT_TRUE(ParseBoolean(text, &value)) << text;
    EXPECT_FALSE(value) << text;
  }
}

TEST(ParseBooleanTest, RejectsEverythingElseAndLeavesTheValue) {
  for (const char* text : {"", "2", "o", "onn", "tru", "y", "t", "10", " on", "on "}) {
    bool value = true;
    EXPECT_FALSE(ParseBoolean(text, &value)) << text;
    EXPECT_TRUE(value) << text;
  }
}

}  // namespace
}  // namespace hardened::prim
