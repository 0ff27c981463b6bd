// fork_test: programs that fork (scenarios.cc) under every level, linked and preloaded, by level
// and by the library that chooses at run time, under a policy that disables it, and on libc alone.

#include <stdlib.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/misuse/child_process.h"

namespace {

// Where a library comes from, and who decides about its level.
struct Library {
  std::string name;
  std::string preload;  // the variable that names the file; none: not preloaded
  std::string program = "SCENARIOS";
  std::string level = "";  // HARDENED_LEVEL
  bool disabled = false;   // by a policy file
};
void PrintTo(const Library& library, std::ostream* out) { *out << library.name; }

std::vector<Library> Libraries() {
  std::vector<Library> all = {{.name = "libc", .preload = ""}};
  for (const char* level : {"light", "standard", "strict", "paranoid"}) {
    all.push_back({.name = level, .preload = std::string("LIBRARY_") + level});
    all.push_back({.name = std::string("env_") + level, .preload = "LIBRARY_env", .level = level});
  }
  all.push_back({.name = "linked", .preload = "", .program = "SCENARIOS_LINKED"});
  all.push_back({.name = "disabled", .preload = "LIBRARY_env", .disabled = true});
  return all;
}

ChildResult RunScenario(const Library& library, const std::string& scenario,
                        std::vector<std::string> environment = {},
                        const std::string& besides = "") {
  std::string preload = besides;
  if (!library.preload.empty()) {
    if (!preload.empty()) preload = ":" + preload;
    preload = AbsolutePath(library.preload) + preload;
  }
  environment.push_back("PATH=" + std::string(getenv("PATH")));
  if (!library.level.empty()) environment.push_back("HARDENED_LEVEL=" + library.level);
  std::vector<std::string> arguments = {AbsolutePath(library.program), scenario};
  if (library.disabled) {
    // A policy of its own, in a namespace of its own.
    const std::string script =
        "mount -t tmpfs none /etc; mkdir /etc/hardened; echo '* disable' > /etc/hardened/policy; "
        "exec env LD_PRELOAD=\"$0\" \"$@\"";
    arguments = {"/usr/bin/unshare", "-rm",       "sh", "-ec", script, preload,
                 arguments[0],       arguments[1]};
  } else if (!preload.empty()) {
    environment.push_back("LD_PRELOAD=" + preload);
  }
  return RunChild({.arguments = arguments, .environment = environment, .timeout_seconds = 600});
}

class ForkTest : public testing::TestWithParam<Library> {
 protected:
  void ExpectGood(const ChildResult& result) {
    EXPECT_EQ(result.exit_code, 0) << result.Describe();
    EXPECT_EQ(result.err, "");
  }
};

TEST_P(ForkTest, ThreadsOfAChildOfOneThreadUseStreams) {
  ExpectGood(RunScenario(GetParam(), "ThreadsOfTheChild"));
}
TEST_P(ForkTest, PrepareHandlersOfOthersAllocate) {
  for (const char* mode : {"m", "b", "z", "j", "t"}) {
    SCOPED_TRACE(mode);
    ExpectGood(RunScenario(GetParam(), "Handlers", {std::string("FORK_HANDLER=") + mode}));
  }
}
TEST_P(ForkTest, BusyThreadsWhileOthersFork) { ExpectGood(RunScenario(GetParam(), "Storm")); }
TEST_P(ForkTest, ASignalHandlerForks) {
  ExpectGood(RunScenario(GetParam(), "ForksInHandlerOfOneThread"));
}
TEST_P(ForkTest, ASignalHandlerForksBesideBusyThreads) {
  // libc waits for locks that the interrupted thread holds.
  if (GetParam().preload.empty() && GetParam().program == "SCENARIOS") GTEST_SKIP();
  if (GetParam().disabled) GTEST_SKIP();
  ExpectGood(RunScenario(GetParam(), "ForksInHandlerOfManyThreads"));
}
TEST_P(ForkTest, OtherWaysToStartAProcess) { ExpectGood(RunScenario(GetParam(), "OtherWays")); }
TEST_P(ForkTest, FunctionsThatStartUpCallsAllocate) {
  ExpectGood(RunScenario(GetParam(), "Asked", {}, AbsolutePath("ASKER")));
}

INSTANTIATE_TEST_SUITE_P(All, ForkTest, testing::ValuesIn(Libraries()),
                         [](const auto& param_info) { return param_info.param.name; });

TEST(LateForkTest, ALibraryThatComesLate) {
  const ChildResult result = RunScenario({.name = "late", .preload = ""}, "Late",
                                         {"LATE_LIBRARY=" + AbsolutePath("LIBRARY_env")});
  EXPECT_EQ(result.exit_code, 0) << result.Describe();
  EXPECT_EQ(result.err, "");
}

}  // namespace
