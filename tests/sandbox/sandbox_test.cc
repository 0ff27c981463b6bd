// sandbox_test: each scenario of scenarios.cc on each level, in the library of the level and in the
// one that chooses at run time, and on libc's malloc.

#include <stdlib.h>

#include <sstream>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/misuse/child_process.h"

namespace {

constexpr int kGood = 0, kCannotRunHere = 3;

std::vector<std::string> Names() {
  std::vector<std::string> names;
  const ChildResult child = RunChild({.arguments = {AbsolutePath("SCENARIOS")}});
  std::istringstream lines(child.out);
  for (std::string name; std::getline(lines, name);) names.push_back(name);
  return names;
}

struct Library {
  const char* name;      // for the test's
  const char* variable;  // its path; null: libc's malloc
  const char* level = nullptr;
};
constexpr Library kLibraries[] = {
    {.name = "libc", .variable = nullptr},
    {.name = "light", .variable = "LIBRARY_light"},
    {.name = "standard", .variable = "LIBRARY_standard"},
    {.name = "strict", .variable = "LIBRARY_strict"},
    {.name = "paranoid", .variable = "LIBRARY_paranoid"},
    {.name = "env_light", .variable = "LIBRARY_env", .level = "light"},
    {.name = "env_standard", .variable = "LIBRARY_env", .level = "standard"},
    {.name = "env_strict", .variable = "LIBRARY_env", .level = "strict"},
    {.name = "env_paranoid", .variable = "LIBRARY_env", .level = "paranoid"},
};

// glibc asks the kernel where a warmed heap need not.
bool IsNotForLibc(const std::string& scenario) { return scenario.rfind("StrictMode", 0) == 0; }

class SandboxTest : public testing::TestWithParam<Library> {};

TEST_P(SandboxTest, EveryScenarioEndsWell) {
  const Library& library = GetParam();
  const bool is_libc = library.variable == nullptr;
  const std::vector<std::string> names = Names();
  ASSERT_GE(names.size(), 20u);
  for (const std::string& scenario : names) {
    if (is_libc && IsNotForLibc(scenario)) continue;
    ChildOptions options{.arguments = {AbsolutePath("SCENARIOS"), scenario},
                         .timeout_seconds = 300};
    if (library.variable != nullptr) {
      // What sampling asks of the kernel is seen, too.
      options.environment = {
          "LD_PRELOAD=" + AbsolutePath(library.variable) + ":" + AbsolutePath("PASSED_ON"),
          "HARDENED_OPTIONS=sample=1/200"};
      if (library.level != nullptr) {
        options.environment.push_back(std::string("HARDENED_LEVEL=") + library.level);
      }
    }
    const ChildResult child = RunChild(options);
    if (child.exit_code == kCannotRunHere) {
      printf("%s: %s", scenario.c_str(), child.err.c_str());
      continue;
    }
    EXPECT_EQ(child.exit_code, kGood) << scenario << ": " << child.Describe();
    EXPECT_EQ(child.err, "") << scenario;
  }
}

INSTANTIATE_TEST_SUITE_P(, SandboxTest, testing::ValuesIn(kLibraries),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
