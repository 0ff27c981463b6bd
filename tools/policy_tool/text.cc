#include "tools/policy_tool/text.h"

#include <algorithm>
#include <span>

#include "absl/strings/str_cat.h"
#include "hardened/prim/raw_writer.h"

namespace hardened::policy_tool {

using policies::FactsOf;
using policies::Setting;
using policies::ValueType;

std::string ValueText(Setting setting, uint64_t value) {
  prim::RawWriter out;
  policies::PrintValue(setting, value, out);
  return std::string(out.view());
}

std::string SettingText(Setting setting, uint64_t value) {
  return std::string(FactsOf(setting).name) + "=" + ValueText(setting, value);
}

std::string GrammarText(Setting setting) {
  const policies::SettingFacts& facts = FactsOf(setting);
  const std::string most = ValueText(setting, facts.most);
  switch (facts.type) {
    case ValueType::kLevel:
      return "light, standard, strict, paranoid";
    case ValueType::kAction:
      return "abort, report, ignore";
    case ValueType::kBoolean:
      return "on, off";
    case ValueType::kRate:
      return absl::StrCat("0 or 1/1 to ", most);
    case ValueType::kWindow:
      return absl::StrCat("uniform or ", ValueText(setting, facts.least), " to ", most);
    case ValueType::kBytes:
    case ValueType::kNumber:
      return absl::StrCat(ValueText(setting, facts.least), " to ", most);
  }
  return "";
}

std::string Escaped(std::string_view text) {
  std::string escaped(4 * text.size(), '\0');
  prim::RawWriter out{std::span<char>(escaped)};
  escaped.resize(out.Escaped(text).view().size());
  return escaped;
}

std::string Quoted(std::string_view word) { return absl::StrCat("\"", Escaped(word), "\""); }

std::string Aligned(const std::vector<std::vector<std::string>>& rows, std::string_view indent) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line(indent);
    for (size_t i = 0; i < row.size(); ++i) {
      line += row[i] + std::string(widths[i] + 2 - row[i].size(), ' ');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::string JsonText(const nlohmann::ordered_json& json) {
  return json.dump(2, ' ', /*ensure_ascii=*/true,
                   nlohmann::ordered_json::error_handler_t::replace) +
         "\n";
}

std::vector<Setting> AllSettings() {
  std::vector<Setting> all;
  for (unsigned i = 0; i < policies::kSettingCount; ++i) all.push_back(static_cast<Setting>(i));
  return all;
}

}  // namespace hardened::policy_tool
