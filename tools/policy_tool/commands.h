// commands: what tools/policy can do. Each writes to `out` and returns the exit status, or why it
// could not be done.

#ifndef TOOLS_POLICY_TOOL_COMMANDS_H_
#define TOOLS_POLICY_TOOL_COMMANDS_H_

#include <sys/types.h>

#include <ostream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "policies/settings.h"

namespace hardened::policy_tool {

struct ExplainOptions {
  std::string program;      // a path, or a name to look for in PATH
  std::string environment;  // HARDENED_LEVEL=... HARDENED_OPTIONS=..., separated by spaces
  std::string defaults;     // the program's hardened_default_options
  std::string directory;
  uid_t owner = 0;
  policies::Level build_level = policies::Level::kStandard;
  bool fixed_level = false;
  bool secure = false;
};

// The policy of a process: which rule gave which value, and what was rejected.
absl::StatusOr<int> Explain(const ExplainOptions& options, bool json, std::ostream& out);

// What is wrong with policy files. Exit status 1 when anything is.
absl::StatusOr<int> Check(const std::vector<std::string>& files, bool json, std::ostream& out);

// The features of a level. `costs` names a JSON file with measured costs; it need not exist:
//   {"source": "what was measured, and where",
//    "levels": {"strict": {"total": 1.32, "features": {"canary": 1.04, ...}}, ...}}
absl::StatusOr<int> Show(const std::string& level, const std::string& costs, bool json,
                         std::ostream& out);

// The features of all levels, as a table in Markdown.
absl::StatusOr<int> ShowAll(bool json, std::ostream& out);

// All settings, as a table in Markdown.
absl::StatusOr<int> SettingsTable(bool json, std::ostream& out);

}  // namespace hardened::policy_tool

#endif  // TOOLS_POLICY_TOOL_COMMANDS_H_
