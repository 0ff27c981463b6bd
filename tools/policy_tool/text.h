// text: values, words and columns as the tool prints them.

#ifndef TOOLS_POLICY_TOOL_TEXT_H_
#define TOOLS_POLICY_TOOL_TEXT_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "nlohmann/json.hpp"
#include "policies/settings.h"

namespace hardened::policy_tool {

// "4M", "1/1000", "strict", ...
std::string ValueText(policies::Setting setting, uint64_t value);
// "quarantine=4M".
std::string SettingText(policies::Setting setting, uint64_t value);

// The values that a setting takes, for readers: "64K to 1G".
std::string GrammarText(policies::Setting setting);

// Text of somebody else: bytes that a terminal could act upon are written as \x1b.
std::string Escaped(std::string_view text);
// The same in quotes.
std::string Quoted(std::string_view word);

// Rows with their columns aligned, two spaces between them; each line begins with `indent`.
std::string Aligned(const std::vector<std::vector<std::string>>& rows, std::string_view indent);

// In ASCII; bytes that are not UTF-8 are replaced.
std::string JsonText(const nlohmann::ordered_json& json);

// All settings, in the order of the table.
std::vector<policies::Setting> AllSettings();

}  // namespace hardened::policy_tool

#endif  // TOOLS_POLICY_TOOL_TEXT_H_
