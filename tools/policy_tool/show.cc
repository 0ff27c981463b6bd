#include <fstream>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hardened/features.h"
#include "policies/resolve.h"
#include "tools/policy_tool/commands.h"
#include "tools/policy_tool/text.h"

namespace hardened::policy_tool {
namespace {

using policies::FactsOf;
using policies::Level;
using policies::Setting;

struct Feature {
  std::string name;
  std::string value;
  std::string help = "";
};

std::string WipeText(size_t limit) {
  if (limit == 0) return "none";
  return limit >= core::kMaxSlotSize ? "all" : absl::StrCat("up to ", limit, " bytes");
}

std::vector<Feature> FeatureList(const Features& features) {
  const auto flag = [](bool on) { return std::string(on ? "on" : "off"); };
  return {
      {"exact_size", flag(features.exact_size),
       "`malloc_usable_size(p)` is the size that was asked for"},
      {"canary", flag(features.canary), "secret bytes behind every request"},
      {"check_neighbours", flag(features.check_neighbours),
       "canaries and free memory on both sides are looked at by each `free`"},
      {"wipe", WipeText(features.wipe_limit), "slots that are zeroed when they are freed"},
      {"check_on_allocate", flag(features.check_on_allocate),
       "wiped memory is still zero when it is handed out"},
      {"sweep", flag(features.sweep), "all canaries are looked at bit by bit, and at exit"},
      {"zero_size_faults", flag(features.zero_size_faults),
       "allocations of zero bytes fault on any access"},
      {"check_stated_size", flag(features.check_stated_size),
       "the size that a sized free states must be right"},
      {"isolate_classes", flag(features.core.isolate_classes),
       "address space of one size class never serves another"},
      {"random_run_guards", flag(features.core.random_run_guards),
       "guards of runs (above 64 KiB) have random sizes, and freed runs wait"},
      {"end_aligned_runs", flag(features.core.end_aligned_runs),
       "a run ends against the guard behind it"},
  };
}

// The settings of the level that have an effect there.
std::vector<Feature> SettingList(Level level) {
  std::vector<Feature> list;
  for (const Setting setting : AllSettings()) {
    uint64_t value = 0;
    if (FactsOf(setting).needs > level) continue;
    if (!policies::ValueIn(policies::FeaturesOf(level), setting, &value)) continue;
    list.push_back({std::string(FactsOf(setting).name), ValueText(setting, value)});
  }
  return list;
}

// Measured costs; empty when there are none.
absl::StatusOr<nlohmann::json> ReadCosts(const std::string& file) {
  std::ifstream stream(file);
  if (!stream) return nlohmann::json::object();
  nlohmann::json costs = nlohmann::json::parse(stream, nullptr, /*allow_exceptions=*/false);
  if (!costs.is_object())
    return absl::DataLossError(absl::StrCat(Escaped(file), ": not a JSON object"));
  return costs;
}

const nlohmann::json* Find(const nlohmann::json* json, const std::string& name) {
  if (json == nullptr || !json->is_object() || !json->contains(name)) return nullptr;
  return &json->at(name);
}

std::optional<double> Ratio(const nlohmann::json* json) {
  if (json == nullptr || !json->is_number()) return std::nullopt;
  return json->get<double>();
}

std::string RatioText(std::optional<double> ratio) {
  return ratio ? absl::StrFormat("x %.3f", *ratio) : "";
}

}  // namespace

absl::StatusOr<int> ShowAll(bool json, std::ostream& out) {
  std::vector<std::vector<Feature>> of_levels;
  for (unsigned i = 0; i < policies::kLevelCount; ++i) {
    of_levels.push_back(FeatureList(policies::FeaturesOf(static_cast<Level>(i))));
  }
  nlohmann::ordered_json all;
  std::string head = "| feature |", rule = "|---|", body;
  for (unsigned i = 0; i < policies::kLevelCount; ++i) {
    const std::string name(NameOf(static_cast<Level>(i)));
    absl::StrAppend(&head, " ", name, " |");
    absl::StrAppend(&rule, "---|");
    for (const Feature& feature : of_levels[i]) all[name][feature.name] = feature.value;
  }
  for (size_t row = 0; row < of_levels[0].size(); ++row) {
    absl::StrAppend(&body, "| `", of_levels[0][row].name, "` |");
    for (const std::vector<Feature>& level : of_levels) {
      absl::StrAppend(&body, " ", level[row].value, " |");
    }
    absl::StrAppend(&body, " ", of_levels[0][row].help, " |\n");
  }
  if (json) {
    out << JsonText(all);
  } else {
    out << head << " meaning |\n" << rule << "---|\n" << body;
  }
  return 0;
}

absl::StatusOr<int> Show(const std::string& level_name, const std::string& costs_file, bool json,
                         std::ostream& out) {
  Level level;
  if (!policies::ParseLevel(level_name, &level)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "no level ", Quoted(level_name), "; the levels are ", GrammarText(Setting::kLevel)));
  }
  const auto costs = ReadCosts(costs_file);
  if (!costs.ok()) return costs.status();
  const nlohmann::json* const levels = Find(&*costs, "levels");
  const nlohmann::json* const of_level = Find(levels, level_name);
  const nlohmann::json* const of_features = Find(of_level, "features");
  const nlohmann::json* const source = Find(&*costs, "source");
  const auto total = Ratio(Find(of_level, "total"));

  const std::vector<Feature> features = FeatureList(policies::FeaturesOf(level));
  const std::vector<Feature> settings = SettingList(level);
  if (json) {
    nlohmann::ordered_json feature_json;
    nlohmann::ordered_json setting_json;
    nlohmann::ordered_json cost_json = nlohmann::ordered_json::object();
    for (const Feature& feature : features) feature_json[feature.name] = feature.value;
    for (const Feature& setting : settings) setting_json[setting.name] = setting.value;
    if (of_level != nullptr) cost_json = *of_level;
    out << JsonText({{"level", level_name},
                     {"features", feature_json},
                     {"settings", setting_json},
                     {"costs", cost_json}});
    return 0;
  }
  out << "level " << level_name << (total ? ", " + RatioText(total) : "") << "\n";
  for (const auto& [title, list] : {std::pair("features", &features), {"settings", &settings}}) {
    out << title << "\n";
    std::vector<std::vector<std::string>> rows;
    for (const Feature& feature : *list) {
      rows.push_back(
          {feature.name, feature.value, RatioText(Ratio(Find(of_features, feature.name)))});
    }
    out << Aligned(rows, "  ");
  }
  if (of_level != nullptr && source != nullptr && source->is_string()) {
    out << "costs: " << source->get<std::string>() << "\n";
  }
  return 0;
}

}  // namespace hardened::policy_tool
