// The words of HARDENED_FUZZ.

#include "fuzzers/backing_allocator/options.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace hardened::fuzzing {
namespace {

std::vector<std::string> rejected;

hardened_fuzz_options Parse(std::string_view text) {
  rejected.clear();
  hardened_fuzz_options options = kDefaultOptions;
  ParseOptions(text, &options, [](std::string_view word) { rejected.emplace_back(word); });
  return options;
}

TEST(OptionsTest, EveryWordSetsItsOption) {
  const hardened_fuzz_options options = Parse(
      "budget=256M:fail_at=17:fail_rate=1/1000:fail_above=1M:leaks=off:seed=18446744073709551615");
  EXPECT_EQ(options.budget_bytes, 256u << 20);
  EXPECT_EQ(options.fail_at, 17u);
  EXPECT_EQ(options.fail_hits, 1u);
  EXPECT_EQ(options.fail_of, 1000u);
  EXPECT_EQ(options.fail_above, 1u << 20);
  EXPECT_EQ(options.leaks, 0);
  EXPECT_EQ(options.seed, UINT64_MAX);
  EXPECT_TRUE(rejected.empty());
}

TEST(OptionsTest, WithoutWordsTheDefaultsHold) {
  for (const char* text : {"", ":", "::"}) {
    const hardened_fuzz_options options = Parse(text);
    EXPECT_EQ(options.seed, kDefaultOptions.seed);
    EXPECT_EQ(options.budget_bytes, kDefaultOptions.budget_bytes);
    EXPECT_EQ(options.fail_at, 0u);
    EXPECT_EQ(options.fail_above, UINT64_MAX);
    EXPECT_EQ(options.fail_of, 0u);
    EXPECT_EQ(options.leaks, 1);
    EXPECT_TRUE(rejected.empty());
  }
}

TEST(OptionsTest, WhatIsNoWordIsNamedAndChangesNothing) {
  for (const char* word : {"budget",
                           "budget=",
                           "budget=-1",
                           "budget= 1",
                           "budget=1T",
                           "budget=18446744073709551616",
                           "Budget=1",
                           "fail_rate=1",
                           "fail_rate=0/5",
                           "fail_rate=2/1",
                           "fail_rate=1/",
                           "fail_rate=/2",
                           "fail_rate=1/2/3",
                           "fail_rate=1/0",
                           "leaks",
                           "leaks=2",
                           "leaks=maybe",
                           "=",
                           "=1",
                           "budge=1",
                           "seed=0x1",
                           "fail_at=1.5"}) {
    const hardened_fuzz_options options = Parse(std::string("seed=7:") + word + ":fail_at=3");
    ASSERT_EQ(rejected.size(), 1u) << word;
    EXPECT_EQ(rejected[0], word);
    // The words around it count.
    EXPECT_EQ(options.seed, 7u) << word;
    EXPECT_EQ(options.fail_at, 3u) << word;
    EXPECT_EQ(options.budget_bytes, kDefaultOptions.budget_bytes) << word;
    EXPECT_EQ(options.fail_of, 0u) << word;
    EXPECT_EQ(options.leaks, 1) << word;
  }
}

}  // namespace
}  // namespace hardened::fuzzing
