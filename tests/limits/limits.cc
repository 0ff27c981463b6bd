// limits SCENARIO [again]: runs one scenario (see scenario.h). Exits as exit_codes.h says.

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/limits/scenario.h"

namespace {

const char* program;  // its path
const char* scenario_name;
bool again;

void RunNamed(const Scenario* scenarios, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    if (strcmp(scenarios[i].name, scenario_name) != 0) continue;
    scenarios[i].run();
    _exit(kGood);
  }
}

// The text lies with the resolved policy, on pages of their own.
void ThePolicyIsReadOnly() {
  const LibraryUnderTest library = LibraryUnderTest::Find();
  Require(library.policy != nullptr && *library.policy() != '\0', "no policy");
  auto* text = const_cast<volatile char*>(library.policy());
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL);
    *text = *text;
    _exit(kGood);
  }
  int status = -1;
  Require(child > 0 && waitpid(child, &status, 0) == child, "no child");
  Require(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "a write to it does not fault");
}

constexpr Scenario kPolicyScenarios[] = {{"ThePolicyIsReadOnly", ThePolicyIsReadOnly}};

}  // namespace

bool Again() { return again; }

void RunAgain() {
  char word[] = "again";
  char* const arguments[] = {const_cast<char*>(program), const_cast<char*>(scenario_name), word,
                             nullptr};
  execv(program, arguments);
  Require(false, "execv failed");
  _exit(kFailed);
}

int main(int argc, char** argv) {
  if (argc < 2) return kBadArguments;
  program = argv[0];
  scenario_name = argv[1];
  again = argc > 2;
  const LibraryUnderTest library = LibraryUnderTest::Find();
  const std::string_view expected = LibraryUnderTest::ExpectedLevel();
  const std::string_view level = library.level == nullptr ? "none" : library.level();
  Require(level == expected, "level %s is in charge", level.data());
  RunNamed(kAddressSpaceScenarios, kAddressSpaceScenarioCount);
  RunNamed(kThreadCacheScenarios, kThreadCacheScenarioCount);
  RunNamed(kGuardScenarios, kGuardScenarioCount);
  RunNamed(kSmallMachineScenarios, kSmallMachineScenarioCount);
  RunNamed(kRefusedCallScenarios, kRefusedCallScenarioCount);
  RunNamed(kPolicyScenarios, 1);
  return kBadArguments;
}
