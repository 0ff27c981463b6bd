// tools/policy, installed as hardened-policy: which policy a program gets and why, and what is
// wrong with policy files.

#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/reflection.h"
#include "absl/flags/usage.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_replace.h"
#include "hardened/hardened.h"
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
ABSL_FLAG(std::string, costs, "", "show: a file with measured costs; default: the installed one");

namespace hardened::policy_tool {
namespace {

constexpr char kUsage[] =
    R"(usage: PROGRAM explain FILE [--environment='HARDENED_LEVEL=... HARDENED_OPTIONS=...']
                    [--directory=/etc/hardened] [--owner=UID] [--defaults=OPTIONS]
                    [--level=LEVEL] [--fixed] [--secure]
       PROGRAM check FILE...
       PROGRAM show [LEVEL]
       PROGRAM settings

explain   the policy that the program FILE gets: which rule gave which value, what was rejected and why
check     what is wrong with policy files; exits 1 when anything is
show      the features of a level and what they cost, where that was measured; without a level those
          of all, as a table in Markdown
settings  all settings, as a table in Markdown

--json prints JSON instead. --level, --fixed describe the library, --defaults the program's
hardened_default_options, --owner whose the files must be (the library wants root).
)";

std::string program_name;

std::string UsageText() { return absl::StrReplaceAll(kUsage, {{"PROGRAM", program_name}}); }

int Usage() {
  std::cerr << UsageText();
  return 2;
}

// How the user calls it: tools/policy runs it under the name that Bazel gave it.
std::string ProgramName(const char* path) {
  const std::string name = std::filesystem::path(path).filename();
  return name == "policy_tool" ? "tools/policy" : name;
}

// Whether one of the words asks for help or the version, which Abseil would answer in its own way
// and with status 1.
bool Answered(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--") return false;
    if (word == "--help" || word == "-h") {
      std::cout << UsageText();
      return true;
    }
    if (word == "--version") {
      std::cout << program_name << " (hardened) " << HARDENED_VERSION << "\n";
      return true;
    }
  }
  return false;
}

// The file that tools/install puts beside this program; it need not exist.
std::string InstalledCosts() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error).parent_path() /
         "../share/hardened/costs.json";
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
      std::cerr << program_name << ": unknown option " << Quoted(argv[i]) << "\n";
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
    const std::string costs = absl::GetFlag(FLAGS_costs);
    result = Show(arguments[0], costs.empty() ? InstalledCosts() : costs, json, std::cout);
  } else if (command == "show" && arguments.empty()) {
    result = ShowAll(json, std::cout);
  } else if (command == "settings" && arguments.empty()) {
    result = SettingsTable(json, std::cout);
  } else {
    return Usage();
  }
  if (result.ok()) return *result;
  std::cerr << program_name << ": " << result.status().message() << "\n";
  return absl::IsInvalidArgument(result.status()) ? 2 : 1;
}

}  // namespace
}  // namespace hardened::policy_tool

int main(int argc, char** argv) {
  using namespace hardened::policy_tool;
  program_name = ProgramName(argv[0]);
  if (Answered(argc, argv)) return 0;
  absl::SetProgramUsageMessage(UsageText());
  if (!KnowsFlags(argc, argv)) return Usage();
  const std::vector<char*> words = absl::ParseCommandLine(argc, argv);
  return Run({words.begin() + 1, words.end()});
}
