#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "policies/policy_file.h"
#include "policies/resolve.h"
#include "tools/policy_tool/commands.h"
#include "tools/policy_tool/text.h"

namespace hardened::policy_tool {
namespace {

using policies::FactsOf;
using policies::Level;
using policies::Origin;
using policies::Setting;
using policies::Settings;

// A rule of a policy file that counts for the program.
struct Rule {
  std::string file;
  uint32_t line;
  Setting setting;
  uint64_t value;
};

struct Complained {
  std::string source;  // a file, or the name of a variable
  uint32_t line;
  uint32_t column;
  std::string word;
  std::string message;
};

struct Rejected {
  Origin origin;
  Setting setting;
  uint64_t value;
  std::string reason;
};

// Writes down all that happens on the way to a policy.
class Journal : public policies::PolicyFileSink, public policies::RejectionSink {
 public:
  void BeginFile(std::string_view path) override {
    source = path;
    files.emplace_back(path);
  }
  void Refuse(std::string_view path, policies::Refusal refusal) override {
    refused.emplace_back(path, TextOf(refusal));
  }
  void Apply(Setting setting, uint64_t value, uint32_t line) override {
    rules.push_back({source, line, setting, value});
  }
  void Complain(policies::Complaint complaint, std::string_view word, uint32_t line,
                uint32_t column) override {
    complaints.push_back({source, line, column, std::string(word), std::string(TextOf(complaint))});
  }
  void Reject(Origin origin, Setting setting, uint64_t value,
              policies::Rejection rejection) override {
    rejections.push_back({origin, setting, value, std::string(TextOf(rejection))});
  }

  std::string source;  // of what is being parsed
  std::vector<std::string> files;
  std::vector<std::pair<std::string, std::string>> refused;
  std::vector<Rule> rules;
  std::vector<Complained> complaints;
  std::vector<Rejected> rejections;
};

struct Program {
  std::string path;
  std::string note;  // what the reader should know about it
  bool secure = false;
};

// The name of the executable as the kernel knows it.
absl::StatusOr<Program> FindProgram(const std::string& given) {
  std::vector<std::string> candidates = {given};
  if (given.find('/') == std::string::npos) {
    candidates.clear();
    const char* const path = getenv("PATH");
    for (const absl::string_view folder : absl::StrSplit(path == nullptr ? "" : path, ':')) {
      candidates.push_back(absl::StrCat(folder, "/", given));
    }
  }
  for (const std::string& candidate : candidates) {
    char resolved[PATH_MAX];
    if (realpath(candidate.c_str(), resolved) == nullptr) continue;
    struct stat status;
    if (stat(resolved, &status) != 0 || !S_ISREG(status.st_mode)) continue;
    Program program{.path = resolved, .note = "", .secure = false};
    program.secure = (status.st_mode & (S_ISUID | S_ISGID)) != 0;
    std::ifstream file(resolved, std::ios::binary);
    if (file.get() == '#' && file.get() == '!') {
      program.note = "a script: what counts is the policy of its interpreter";
    }
    return program;
  }
  if (given.starts_with('/')) return Program{given, "there is no such file", false};
  return absl::NotFoundError(absl::StrCat(Quoted(given), ": no such program"));
}

// Adds what HARDENED_LEVEL=... and HARDENED_OPTIONS=... in `text` say.
absl::Status ParseEnvironment(const std::string& text, Settings* settings, Journal* journal) {
  std::map<std::string, std::string> variables;
  const std::vector<std::string> words = absl::StrSplit(text, ' ', absl::SkipEmpty());
  for (const std::string& word : words) {
    const std::pair<std::string, std::string> variable =
        absl::StrSplit(word, absl::MaxSplits('=', 1));
    if (variable.first != "HARDENED_LEVEL" && variable.first != "HARDENED_OPTIONS") {
      return absl::InvalidArgumentError(absl::StrCat(
          "--environment takes HARDENED_LEVEL=... and HARDENED_OPTIONS=..., not ", Quoted(word)));
    }
    variables.insert(variable);
  }
  if (variables.contains("HARDENED_LEVEL")) {
    journal->source = "HARDENED_LEVEL";
    const std::string& name = variables["HARDENED_LEVEL"];
    uint64_t level;
    policies::Complaint complaint;
    if (policies::ParseValue(Setting::kLevel, name, &level, &complaint)) {
      settings->Set(Setting::kLevel, level);
    } else {
      journal->Complain(complaint, name, 1, 1);
    }
  }
  if (variables.contains("HARDENED_OPTIONS")) {
    journal->source = "HARDENED_OPTIONS";
    policies::ParseSettings(variables["HARDENED_OPTIONS"], ':', false, settings, *journal);
  }
  return absl::OkStatus();
}

// All that explain prints.
struct Explanation {
  Program program;
  policies::PolicyInputs inputs;
  Journal journal;
  policies::ResolvedPolicy policy;

  // The last rule of the files that said so; null when none did.
  const Rule* RuleFor(Setting setting) const {
    const Rule* last = nullptr;
    for (const Rule& rule : journal.rules) {
      if (rule.setting == setting) last = &rule;
    }
    return last;
  }

  // Where a value comes from, for readers.
  std::string OriginText(Origin origin, Setting setting) const {
    if (origin != Origin::kFile) return std::string(TextOf(origin));
    const Rule* rule = RuleFor(setting);
    // A level that a floor raised, an action that audit made.
    if (rule == nullptr || setting == Setting::kLevel) {
      const Rule* const floor = RuleFor(Setting::kFloor);
      if (setting == Setting::kLevel && floor != nullptr &&
          (rule == nullptr || rule->value < static_cast<uint64_t>(policy.level))) {
        return absl::StrCat(Escaped(floor->file), ":", floor->line, " (floor)");
      }
    }
    const bool by_audit = rule == nullptr;
    if (by_audit) rule = RuleFor(Setting::kAudit);
    if (rule == nullptr) return std::string(TextOf(origin));
    return absl::StrCat(Escaped(rule->file), ":", rule->line, by_audit ? " (audit)" : "");
  }

  std::string FloorOrigin() const {
    if (inputs.fixed_level) return "build";
    if (RuleFor(Setting::kFloor) != nullptr) return OriginText(Origin::kFile, Setting::kFloor);
    const Rule* const level = RuleFor(Setting::kLevel);
    return level == nullptr ? "build"
                            : absl::StrCat(Escaped(level->file), ":", level->line, " (level)");
  }
};

// Rows of all values in force: name, value, where from.
std::vector<std::vector<std::string>> PolicyRows(const Explanation& all) {
  const policies::ResolvedPolicy& policy = all.policy;
  std::vector<std::vector<std::string>> rows = {
      {"level", std::string(NameOf(policy.level)),
       all.OriginText(policy.level_origin, Setting::kLevel)},
      {"floor", std::string(NameOf(policy.floor)), all.FloorOrigin()}};
  Features features = policies::FeaturesOf(policy.level);
  policies::ApplySettings(policy.settings, &features);
  for (const Setting setting : AllSettings()) {
    uint64_t value = 0;
    const bool given = policy.settings.has(setting);
    if (given) {
      value = policy.settings.Get(setting);
    } else if (FactsOf(setting).needs > policy.level ||
               !policies::ValueIn(features, setting, &value)) {
      continue;
    }
    rows.push_back({std::string(FactsOf(setting).name), ValueText(setting, value),
                    given ? all.OriginText(policy.origins[static_cast<unsigned>(setting)], setting)
                          : "level"});
  }
  return rows;
}

void PrintText(const Explanation& all, std::ostream& out) {
  out << "program " << Escaped(all.program.path);
  if (!all.program.note.empty()) out << " (" << all.program.note << ")";
  out << "\n";
  if (all.inputs.secure)
    out << "  runs with raised privileges: the environment counts for nothing\n";
  std::vector<std::vector<std::string>> rows;
  for (const std::string& file : all.journal.files) rows.push_back({Escaped(file), "read"});
  for (const auto& [file, reason] : all.journal.refused) {
    rows.push_back({Escaped(file), "refused: " + reason});
  }
  out << "policy files\n" << (rows.empty() ? "  none\n" : Aligned(rows, "  "));
  const auto section = [&](std::string_view title, std::string_view indent = "  ") {
    if (!rows.empty()) out << title << "\n" << Aligned(rows, indent);
    rows.clear();
  };
  rows.clear();
  for (const Rule& rule : all.journal.rules) {
    rows.push_back(
        {absl::StrCat(Escaped(rule.file), ":", rule.line), SettingText(rule.setting, rule.value)});
  }
  section("rules that match");
  for (const auto& [origin, settings] : {std::pair(Origin::kProgram, &all.inputs.program),
                                         {Origin::kEnvironment, &all.inputs.environment}}) {
    for (const Setting setting : AllSettings()) {
      if (!settings->has(setting)) continue;
      rows.push_back({std::string(TextOf(origin)), SettingText(setting, settings->Get(setting))});
    }
  }
  section("also said");
  for (const Complained& told : all.journal.complaints) {
    rows.push_back({absl::StrCat(Escaped(told.source), ":", told.line, ":", told.column),
                    absl::StrCat(Quoted(told.word), ": ", told.message)});
  }
  section("complaints");
  for (const Rejected& told : all.journal.rejections) {
    rows.push_back({told.origin == Origin::kFile ? all.OriginText(told.origin, told.setting)
                                                 : std::string(TextOf(told.origin)),
                    absl::StrCat(SettingText(told.setting, told.value), ": ", told.reason)});
  }
  section("rejected");
  if (all.policy.disabled) {
    out << "policy: disabled; the program runs on libc's malloc\n";
    return;
  }
  rows = PolicyRows(all);
  section("policy");
}

nlohmann::ordered_json Json(const Explanation& all) {
  nlohmann::ordered_json json;
  json["program"] = all.program.path;
  json["note"] = all.program.note;
  json["secure"] = all.inputs.secure;
  json["files"] = all.journal.files;
  for (const char* name : {"refused", "rules", "complaints", "rejected"}) {
    json[name] = nlohmann::ordered_json::array();
  }
  for (const auto& [file, reason] : all.journal.refused) {
    json["refused"].push_back({{"file", file}, {"reason", reason}});
  }
  for (const Rule& rule : all.journal.rules) {
    json["rules"].push_back({{"file", rule.file},
                             {"line", rule.line},
                             {"setting", FactsOf(rule.setting).name},
                             {"value", ValueText(rule.setting, rule.value)}});
  }
  for (const Complained& told : all.journal.complaints) {
    json["complaints"].push_back({{"source", told.source},
                                  {"line", told.line},
                                  {"column", told.column},
                                  {"word", told.word},
                                  {"message", told.message}});
  }
  for (const Rejected& told : all.journal.rejections) {
    json["rejected"].push_back({{"origin", TextOf(told.origin)},
                                {"setting", FactsOf(told.setting).name},
                                {"value", ValueText(told.setting, told.value)},
                                {"reason", told.reason}});
  }
  nlohmann::ordered_json values = nlohmann::ordered_json::object();
  for (const auto& row : PolicyRows(all)) values[row[0]] = {{"value", row[1]}, {"origin", row[2]}};
  json["disabled"] = all.policy.disabled;
  json["policy"] = values;
  return json;
}

}  // namespace

absl::StatusOr<int> Explain(const ExplainOptions& options, bool json, std::ostream& out) {
  Explanation all;
  const auto program = FindProgram(options.program);
  if (!program.ok()) return program.status();
  all.program = *program;
  all.inputs.build_level = options.build_level;
  all.inputs.fixed_level = options.fixed_level;
  all.inputs.secure = options.secure || all.program.secure;
  policies::ReadPolicyFiles(options.directory.c_str(), options.owner, all.program.path,
                            &all.inputs.files, all.journal);
  all.journal.source = "hardened_default_options";
  policies::ParseSettings(options.defaults, ':', false, &all.inputs.program, all.journal);
  const absl::Status status =
      ParseEnvironment(options.environment, &all.inputs.environment, &all.journal);
  if (!status.ok()) return status;
  all.policy = policies::Resolve(all.inputs, all.journal);
  if (json) {
    out << JsonText(Json(all));
  } else {
    PrintText(all, out);
  }
  return 0;
}

}  // namespace hardened::policy_tool
