#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "policies/resolve.h"
#include "tools/policy_tool/commands.h"
#include "tools/policy_tool/text.h"

namespace hardened::policy_tool {
namespace {

using policies::FactsOf;
using policies::Level;
using policies::Setting;

// The value of a setting at a level; "" where it is not part of a level or has no effect.
std::string DefaultAt(Level level, Setting setting) {
  uint64_t value = 0;
  if (level < FactsOf(setting).needs) return "";
  if (!policies::ValueIn(policies::FeaturesOf(level), setting, &value)) return "";
  return ValueText(setting, value);
}

std::string Row(const std::vector<std::string>& cells) {
  return absl::StrCat("| ", absl::StrJoin(cells, " | "), " |\n");
}

std::string Markdown() {
  std::vector<std::string> head = {"setting", "values"};
  std::vector<std::string> rule = {"---", "---"};
  for (unsigned i = 0; i < policies::kLevelCount; ++i) {
    head.emplace_back(NameOf(static_cast<Level>(i)));
    rule.emplace_back("---");
  }
  head.emplace_back("meaning");
  rule.emplace_back("---");
  std::string text = Row(head) + absl::StrCat("|", absl::StrJoin(rule, "|"), "|\n");
  for (const Setting setting : AllSettings()) {
    const policies::SettingFacts& facts = FactsOf(setting);
    std::vector<std::string> cells = {"`" + std::string(facts.name) + "`", GrammarText(setting)};
    for (unsigned i = 0; i < policies::kLevelCount; ++i) {
      const std::string value = DefaultAt(static_cast<Level>(i), setting);
      cells.push_back(value.empty() ? "-" : value);
    }
    cells.push_back(std::string(facts.help) + (facts.file_only ? " (policy files only)" : ""));
    text += Row(cells);
  }
  return text;
}

nlohmann::ordered_json Json() {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const Setting setting : AllSettings()) {
    const policies::SettingFacts& facts = FactsOf(setting);
    nlohmann::ordered_json levels;
    for (unsigned i = 0; i < policies::kLevelCount; ++i) {
      const std::string value = DefaultAt(static_cast<Level>(i), setting);
      nlohmann::ordered_json& place = levels[std::string(NameOf(static_cast<Level>(i)))];
      if (!value.empty()) place = value;
    }
    all.push_back({{"name", facts.name},
                   {"values", GrammarText(setting)},
                   {"needs", NameOf(facts.needs)},
                   {"file_only", facts.file_only},
                   {"levels", levels},
                   {"help", facts.help}});
  }
  return {{"settings", all}};
}

}  // namespace

absl::StatusOr<int> SettingsTable(bool json, std::ostream& out) {
  out << (json ? JsonText(Json()) : Markdown());
  return 0;
}

}  // namespace hardened::policy_tool
