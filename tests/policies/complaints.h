// Sinks that write down what they are told.

#ifndef TESTS_POLICIES_COMPLAINTS_H_
#define TESTS_POLICIES_COMPLAINTS_H_

#include <cstdint>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "policies/settings.h"

namespace hardened::policies {

// For messages of GoogleTest.
inline void PrintTo(Complaint complaint, std::ostream* out) { *out << TextOf(complaint); }
inline void PrintTo(Setting setting, std::ostream* out) { *out << FactsOf(setting).name; }
inline void PrintTo(Level level, std::ostream* out) { *out << NameOf(level); }

inline std::string Print(const Settings& settings, char separator = ':') {
  char buffer[4096];
  prim::RawWriter out(buffer);
  PrintSettings(settings, separator, out);
  return std::string(out.view());
}
inline void PrintTo(const Settings& settings, std::ostream* out) { *out << Print(settings); }

struct Complained {
  Complaint complaint;
  std::string word;
  uint32_t line;
  uint32_t column;
  friend bool operator==(const Complained&, const Complained&) = default;
};
inline void PrintTo(const Complained& told, std::ostream* out) {
  *out << told.line << ":" << told.column << ": \"" << told.word
       << "\": " << TextOf(told.complaint);
}

class Complaints : public ComplaintSink {
 public:
  void Complain(Complaint complaint, std::string_view word, uint32_t line,
                uint32_t column) override {
    told.push_back({complaint, std::string(word), line, column});
  }
  std::vector<Complained> told;
};

}  // namespace hardened::policies

#endif  // TESTS_POLICIES_COMPLAINTS_H_
