// settings_oracle: the grammar of settings, written a second time and in another way.

#ifndef FUZZERS_SETTINGS_ORACLE_H_
#define FUZZERS_SETTINGS_ORACLE_H_

#include <cstdint>
#include <string_view>

#include "policies/settings.h"

namespace hardened::fuzzers {

// What `word` says: a setting, or nothing that is one.
struct Meaning {
  bool good = false;
  policies::Setting setting = {};
  uint64_t value = 0;
};
Meaning MeaningOf(std::string_view word, bool is_policy_file);

// Fails unless the settings print to a text that parses to the same settings and prints alike.
void CheckRoundTrip(const policies::Settings& settings, char separator);

// Fails unless each complaint is about a part of `text`, and its place is where that part is.
class PlaceChecker : public policies::ComplaintSink {
 public:
  explicit PlaceChecker(std::string_view text) : text_(text) {}
  void Complain(policies::Complaint complaint, std::string_view word, uint32_t line,
                uint32_t column) override;

  uint32_t errors = 0;  // without duplicates
  uint32_t duplicates = 0;

 private:
  const std::string_view text_;
};

}  // namespace hardened::fuzzers

#endif  // FUZZERS_SETTINGS_ORACLE_H_
