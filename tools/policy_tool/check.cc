#include <filesystem>
#include <fstream>
#include <iterator>

#include "absl/strings/str_format.h"
#include "policies/policy_file.h"
#include "tools/policy_tool/commands.h"
#include "tools/policy_tool/text.h"

namespace hardened::policy_tool {
namespace {

struct Finding {
  std::string file;
  uint32_t line;  // 0: the file as a whole
  uint32_t column;
  bool is_error;
  std::string word;
  std::string message;
};

class Findings : public policies::ComplaintSink {
 public:
  void Complain(policies::Complaint complaint, std::string_view word, uint32_t line,
                uint32_t column) override {
    all.push_back({file, line, column, complaint != policies::Complaint::kDuplicate,
                   std::string(word), std::string(TextOf(complaint))});
  }
  void Refuse(std::string message) { all.push_back({file, 0, 0, true, "", std::move(message)}); }

  std::string file;  // the one being checked
  std::vector<Finding> all;
};

void CheckFile(const std::string& file, Findings& findings) {
  findings.file = file;
  std::error_code ignored;
  std::ifstream stream(file, std::ios::binary);
  // Opening a directory succeeds; reading it does not.
  if (!stream || std::filesystem::is_directory(file, ignored)) {
    return findings.Refuse("cannot be read");
  }
  const std::string text((std::istreambuf_iterator<char>(stream)),
                         std::istreambuf_iterator<char>());
  if (text.size() > policies::kMaxPolicyFileBytes) {
    findings.Refuse(std::string(TextOf(policies::Refusal::kTooLarge)));
  }
  policies::Settings settings;
  policies::ParsePolicyText(text, "", &settings, findings, nullptr);
}

}  // namespace

absl::StatusOr<int> Check(const std::vector<std::string>& files, bool json, std::ostream& out) {
  Findings findings;
  for (const std::string& file : files) CheckFile(file, findings);
  bool good = true;
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Finding& finding : findings.all) {
    if (finding.is_error) good = false;
    const char* const kind = finding.is_error ? "error" : "warning";
    list.push_back({{"file", finding.file},
                    {"line", finding.line},
                    {"column", finding.column},
                    {"kind", kind},
                    {"word", finding.word},
                    {"message", finding.message}});
    if (json) continue;
    if (finding.line == 0) {
      out << absl::StreamFormat("%s: %s: %s\n", Escaped(finding.file), kind, finding.message);
    } else {
      out << absl::StreamFormat("%s:%d:%d: %s: %s: %s\n", Escaped(finding.file), finding.line,
                                finding.column, kind, Quoted(finding.word), finding.message);
    }
  }
  if (json) out << JsonText({{"good", good}, {"findings", list}});
  return good ? 0 : 1;
}

}  // namespace hardened::policy_tool
