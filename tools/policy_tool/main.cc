// tools/policy: which policy a program gets and why, and what is wrong with policy files.

#include <iostream>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/reflection.h"
#include "absl/flags/usage.h"
#include "absl/status/statusor.h"
#include "policies/policy_file.h"
#include "tools/policy_tool/commands.h"
#include "tools/policy_tool/text.h"

ABSL_FLAG(bool, json, false, "print JSON");
ABSL_FLAG(std::string, environment, "",
          "explain: 'HARDENED_LEVEL=... HARDENED_OPTIONS=...' of the process");
ABSL_FLAG(std::string, defaults, "", "explain: hardened_default_options of the program");
ABSL_FLAG(std::string, directory, hardened::policies::kPolicyDirectory,
          "explain: where the policy files are");
ABSL_FLAG(uint32_t, owner, 0, "explain: the user to whom they must belong; the library wants root");
ABSL_FLAG(std::string, level, "standard", "explain: the level of the build");
ABSL_FLAG(bool, fixed, false, "explain: the library has this level only");
ABSL_FLAG(bool, secure, false, "explain: the program runs with raised privileges (AT_SECURE)");
ABSL_FLAG(std::string, costs, "", "show: a file with measured costs");

namespace hardened::policy_tool {
namespace {

constexpr char kUsage[] =
    R"(usage: tools/policy explain PROGRAM [--environment='HARDENED_LEVEL=... HARDENED_OPTIONS=...']
                    [--directory=/etc/hardened] [--owner=UID] [--defaults=OPTIONS]
                    [--level=LEVEL] [--fixed] [--secure]
       tools/policy check FILE...
       tools/policy show [LEVEL]
       tools/policy settings

explain   the policy that PROGRAM gets: which rule gave which value, what was rejected and why
check     what is wrong with policy files; exits 1 when anything is
show      the features of a level and what they cost, where that was measured; without a level those
          of all, as a table in Markdown
settings  all settings, as a table in Markdown

--json prints JSON instead. --level, --fixed describe the library, --defaults the program's
hardened_default_options, --owner whose the files must be (the library wants root).
)";

int Usage() {
  std::cerr << kUsage;
  return 2;
}

// Abseil would exit with 1.
bool KnowsFlags(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    std::string word = argv[i];
    if (word == "--") return true;
    if (!word.starts_with("-") || word == "-") continue;
    word.erase(0, word.starts_with("--") ? 2 : 1);
    const bool has_value = word.find('=') != std::string::npos;
    if (has_value) word.erase(word.find('='));
    absl::CommandLineFlag* const flag = absl::FindCommandLineFlag(word);
    if (flag == nullptr &&
        !(word.starts_with("no") && absl::FindCommandLineFlag(word.substr(2)) != nullptr)) {
      std::cerr << "tools/policy: unknown option " << Quoted(argv[i]) << "\n";
      return false;
    }
    // "--flag value": the value is no flag.
    if (flag != nullptr && !flag->IsOfType<bool>() && !has_value) ++i;
  }
  return true;
}

int Run(const std::vector<std::string>& words) {
  const std::string command = words.empty() ? "" : words[0];
  const std::vector<std::string> arguments(words.begin() + !words.empty(), words.end());
  const bool json = absl::GetFlag(FLAGS_json);
  absl::StatusOr<int> result;
  if (command == "explain" && arguments.size() == 1) {
    ExplainOptions options;
    options.program = arguments[0];
    options.environment = absl::GetFlag(FLAGS_environment);
    options.defaults = absl::GetFlag(FLAGS_defaults);
    options.directory = absl::GetFlag(FLAGS_directory);
    options.owner = absl::GetFlag(FLAGS_owner);
    options.fixed_level = absl::GetFlag(FLAGS_fixed);
    options.secure = absl::GetFlag(FLAGS_secure);
    if (!policies::ParseLevel(absl::GetFlag(FLAGS_level), &options.build_level)) return Usage();
    result = Explain(options, json, std::cout);
  } else if (command == "check" && !arguments.empty()) {
    result = Check(arguments, json, std::cout);
  } else if (command == "show" && arguments.size() == 1) {
    result = Show(arguments[0], absl::GetFlag(FLAGS_costs), json, std::cout);
  } else if (command == "show" && arguments.empty()) {
    result = ShowAll(json, std::cout);
  } else if (command == "settings" && arguments.empty()) {
    result = SettingsTable(json, std::cout);
  } else {
    return Usage();
  }
  if (result.ok()) return *result;
  std::cerr << "tools/policy: " << result.status().message() << "\n";
  return absl::IsInvalidArgument(result.status()) ? 2 : 1;
}

}  // namespace
}  // namespace hardened::policy_tool

int main(int argc, char** argv) {
  using namespace hardened::policy_tool;
  absl::SetProgramUsageMessage(kUsage);
  if (!KnowsFlags(argc, argv)) return Usage();
  const std::vector<char*> words = absl::ParseCommandLine(argc, argv);
  return Run({words.begin() + 1, words.end()});
}
