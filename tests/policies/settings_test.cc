#include "policies/settings.h"

#include <cstdint>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "hardened/features.h"
#include "tests/policies/complaints.h"

namespace hardened::policies {
namespace {

std::vector<Setting> AllSettings() {
  std::vector<Setting> all;
  for (unsigned i = 0; i < kSettingCount; ++i) all.push_back(static_cast<Setting>(i));
  return all;
}

std::string Text(Setting setting, uint64_t value) {
  prim::RawWriter out;
  PrintValue(setting, value, out);
  return std::string(out.view());
}

// Expects that `text` is the value, or is refused with the complaint; then the value is left alone.
void ExpectValue(Setting setting, std::string_view text, uint64_t expected) {
  uint64_t value = 77;
  Complaint complaint = Complaint::kLineTooLong;
  ASSERT_TRUE(ParseValue(setting, text, &value, &complaint))
      << FactsOf(setting).name << "=" << text << ": " << TextOf(complaint);
  EXPECT_EQ(value, expected) << FactsOf(setting).name << "=" << text;
}

void ExpectRefused(Setting setting, std::string_view text, Complaint expected) {
  uint64_t value = 77;
  Complaint complaint = Complaint::kLineTooLong;
  EXPECT_FALSE(ParseValue(setting, text, &value, &complaint))
      << FactsOf(setting).name << "=" << text;
  EXPECT_EQ(complaint, expected) << FactsOf(setting).name << "=" << text;
  EXPECT_EQ(value, 77u);
}

TEST(SettingFactsTest, TheNamesAreThoseOfTheEnum) {
  const std::vector<std::pair<Setting, std::string_view>> names = {
      {Setting::kLevel, "level"},
      {Setting::kFloor, "floor"},
      {Setting::kDisable, "disable"},
      {Setting::kAudit, "audit"},
      {Setting::kQuarantine, "quarantine"},
      {Setting::kQuarantineCheck, "quarantine_check"},
      {Setting::kSample, "sample"},
      {Setting::kRunHold, "run_hold"},
      {Setting::kRunCache, "run_cache"},
      {Setting::kGuardSlabs, "guard_slabs"},
      {Setting::kPlacement, "placement"},
      {Setting::kLanes, "lanes"},
      {Setting::kPurgeDelay, "purge_delay"},
      {Setting::kExplainFaults, "explain_faults"},
      {Setting::kDeepbind, "deepbind"},
      {Setting::kSeed, "seed"},
      {Setting::kDoubleFree, "double_free"},
      {Setting::kInvalidFree, "invalid_free"},
      {Setting::kForeignPointer, "foreign_pointer"},
      {Setting::kMismatch, "mismatch"},
      {Setting::kSizedDelete, "sized_delete"},
      {Setting::kCanary, "canary"},
      {Setting::kWriteAfterFree, "write_after_free"},
  };
  ASSERT_EQ(names.size(), kSettingCount);
  for (const auto& [setting, name] : names) {
    EXPECT_EQ(FactsOf(setting).name, name);
    Setting found;
    ASSERT_TRUE(FindSetting(name, &found));
    EXPECT_EQ(found, setting);
  }
}

TEST(SettingFactsTest, EveryRowIsCompleteAndPlausible) {
  for (const Setting setting : AllSettings()) {
    const SettingFacts& facts = FactsOf(setting);
    EXPECT_FALSE(facts.help.empty()) << facts.name;
    EXPECT_EQ(facts.help.find('|'), std::string_view::npos) << facts.name << ": breaks the table";
    EXPECT_LT(facts.least, facts.most) << facts.name;
    if (facts.type == ValueType::kBoolean) {
      EXPECT_EQ(facts.most, 1u) << facts.name;
    }
  }
}

TEST(SettingFactsTest, OnlyFloorAndDisableAreForFilesAlone) {
  for (const Setting setting : AllSettings()) {
    EXPECT_EQ(FactsOf(setting).file_only,
              setting == Setting::kFloor || setting == Setting::kDisable)
        << FactsOf(setting).name;
  }
}

TEST(SettingFactsTest, WhatLightDoesNotHaveNeedsStandard) {
  const std::set<Setting> need_standard = {Setting::kQuarantine,  Setting::kQuarantineCheck,
                                           Setting::kGuardSlabs,  Setting::kCanary,
                                           Setting::kSizedDelete, Setting::kWriteAfterFree};
  for (const Setting setting : AllSettings()) {
    EXPECT_EQ(FactsOf(setting).needs,
              need_standard.contains(setting) ? Level::kStandard : Level::kLight)
        << FactsOf(setting).name;
  }
}

TEST(SettingsTest, NothingIsGivenAtFirst) {
  Settings settings;
  EXPECT_TRUE(settings.empty());
  for (const Setting setting : AllSettings()) EXPECT_FALSE(settings.has(setting));
}

TEST(SettingsTest, EqualityLooksAtWhatIsGivenAlone) {
  Settings a;
  Settings b;
  a.Set(Setting::kSeed, 1);
  EXPECT_FALSE(a == b);
  b.Set(Setting::kSeed, 2);
  EXPECT_FALSE(a == b);
  b.Set(Setting::kSeed, 1);
  EXPECT_EQ(a, b);
  a.Set(Setting::kAudit, 0);  // which is not the same as unsaid
  EXPECT_FALSE(a == b);
  EXPECT_FALSE(b == a);
  a.Clear(Setting::kAudit);
  EXPECT_EQ(a, b);
}

TEST(ParseValueTest, LevelsAreExactWords) {
  for (const Setting setting : {Setting::kLevel, Setting::kFloor}) {
    ExpectValue(setting, "light", 0);
    ExpectValue(setting, "standard", 1);
    ExpectValue(setting, "strict", 2);
    ExpectValue(setting, "paranoid", 3);
    for (const char* text : {"Light", "STRICT", "stric", "strict ", " strict", "0", "3", "env"}) {
      ExpectRefused(setting, text, Complaint::kMalformedValue);
    }
  }
  for (unsigned i = 0; i < kLevelCount; ++i) {
    Level level;
    ASSERT_TRUE(ParseLevel(NameOf(static_cast<Level>(i)), &level));
    EXPECT_EQ(level, static_cast<Level>(i));
  }
  Level level = Level::kStrict;
  EXPECT_FALSE(ParseLevel("", &level));
  EXPECT_EQ(level, Level::kStrict);
}

TEST(ParseValueTest, ActionsAreExactWordsWithTheValuesOfEventAction) {
  for (unsigned i = static_cast<unsigned>(Setting::kDoubleFree); i < kSettingCount; ++i) {
    const auto setting = static_cast<Setting>(i);
    ExpectValue(setting, "abort", static_cast<uint64_t>(EventAction::kAbort));
    ExpectValue(setting, "report", static_cast<uint64_t>(EventAction::kReport));
    ExpectValue(setting, "ignore", static_cast<uint64_t>(EventAction::kIgnore));
    for (const char* text : {"Abort", "aborted", "0", "1", "off", "abor"}) {
      ExpectRefused(setting, text, Complaint::kMalformedValue);
    }
  }
}

TEST(ParseValueTest, BooleansAreTheEightWordsInEitherCase) {
  for (const Setting setting :
       {Setting::kDisable, Setting::kAudit, Setting::kExplainFaults, Setting::kDeepbind}) {
    for (const char* text : {"1", "on", "true", "yes", "On", "YES"}) ExpectValue(setting, text, 1);
    for (const char* text : {"0", "off", "false", "no", "OFF"}) ExpectValue(setting, text, 0);
    for (const char* text : {"2", "o", "y", "on ", "01", "enable"}) {
      ExpectRefused(setting, text, Complaint::kMalformedValue);
    }
  }
}

TEST(ParseValueTest, BytesTakeASuffixAndKeepTheirRange) {
  ExpectValue(Setting::kQuarantine, "65536", 65536);
  ExpectValue(Setting::kQuarantine, "64K", 65536);
  ExpectValue(Setting::kQuarantine, "64k", 65536);
  ExpectValue(Setting::kQuarantine, "4M", 4 << 20);
  ExpectValue(Setting::kQuarantine, "1G", 1 << 30);
  ExpectValue(Setting::kQuarantine, "1024m", 1 << 30);
  ExpectRefused(Setting::kQuarantine, "65535", Complaint::kOutOfRange);
  ExpectRefused(Setting::kQuarantine, "0", Complaint::kOutOfRange);
  ExpectRefused(Setting::kQuarantine, "1073741825", Complaint::kOutOfRange);
  ExpectRefused(Setting::kQuarantine, "2G", Complaint::kOutOfRange);
  ExpectRefused(Setting::kQuarantine, "99999999999999999999", Complaint::kOutOfRange);
  ExpectRefused(Setting::kQuarantine, "17179869185G", Complaint::kOutOfRange);  // above 64 bits
  for (const Setting setting : {Setting::kRunHold, Setting::kRunCache}) {
    ExpectValue(setting, "0", 0);
    ExpectValue(setting, "64G", uint64_t{64} << 30);
    ExpectRefused(setting, "65G", Complaint::kOutOfRange);
  }
  for (const char* text :
       {"K", "4MM", "4 M", "+4M", "-4M", "0x10000", "4T", "4.5M", "1e9", "4M "}) {
    ExpectRefused(Setting::kQuarantine, text, Complaint::kMalformedValue);
  }
}

TEST(ParseValueTest, NumbersTakeNoSuffix) {
  ExpectValue(Setting::kGuardSlabs, "0", 0);
  ExpectValue(Setting::kGuardSlabs, "64", 64);
  ExpectRefused(Setting::kGuardSlabs, "65", Complaint::kOutOfRange);
  ExpectValue(Setting::kPurgeDelay, "0", 0);
  ExpectValue(Setting::kPurgeDelay, "3600000", 3600000);
  ExpectRefused(Setting::kPurgeDelay, "3600001", Complaint::kOutOfRange);
  ExpectValue(Setting::kSeed, "0", 0);
  ExpectValue(Setting::kSeed, "18446744073709551615", UINT64_MAX);
  ExpectRefused(Setting::kSeed, "18446744073709551616", Complaint::kOutOfRange);
  for (const Setting setting : {Setting::kGuardSlabs, Setting::kPurgeDelay, Setting::kSeed}) {
    for (const char* text : {"1K", "-1", "+1", "0x1", "1.", "one", "1/2"}) {
      ExpectRefused(setting, text, Complaint::kMalformedValue);
    }
  }
}

TEST(ParseValueTest, RatesAreOneInNOrNever) {
  for (const Setting setting : {Setting::kSample, Setting::kQuarantineCheck}) {
    ExpectValue(setting, "0", 0);
    ExpectValue(setting, "1/1", 1);
    ExpectValue(setting, "1/1000", 1000);
    ExpectValue(setting, "1/4294967295", UINT32_MAX);
    ExpectRefused(setting, "1/4294967296", Complaint::kOutOfRange);
    ExpectRefused(setting, "1/18446744073709551616", Complaint::kOutOfRange);
    ExpectRefused(setting, "1/0", Complaint::kOutOfRange);
    for (const char* text :
         {"1", "1000", "2/1000", "1/", "/5", "1/5K", "1 /5", "00", "1/-1", "01/5"}) {
      ExpectRefused(setting, text, Complaint::kMalformedValue);
    }
  }
}

TEST(ParseValueTest, WindowsAreUniformOrBytes) {
  ExpectValue(Setting::kPlacement, "uniform", 0);
  ExpectValue(Setting::kPlacement, "64", 64);
  ExpectValue(Setting::kPlacement, "64K", 65536);
  ExpectRefused(Setting::kPlacement, "63", Complaint::kOutOfRange);
  ExpectRefused(Setting::kPlacement, "0", Complaint::kOutOfRange);
  ExpectRefused(Setting::kPlacement, "65537", Complaint::kOutOfRange);
  for (const char* text : {"Uniform", "uniform ", "all", "64KB"}) {
    ExpectRefused(Setting::kPlacement, text, Complaint::kMalformedValue);
  }
}

TEST(ParseValueTest, AnEmptyValueIsMissing) {
  for (const Setting setting : AllSettings()) {
    ExpectRefused(setting, "", Complaint::kMissingValue);
  }
}

// The ends of every range, by the table itself.
TEST(ParseValueTest, BothEndsOfEveryRangeCountAndNothingBeyond) {
  for (const Setting setting : AllSettings()) {
    const SettingFacts& facts = FactsOf(setting);
    ExpectValue(setting, Text(setting, facts.least), facts.least);
    ExpectValue(setting, Text(setting, facts.most), facts.most);
    if (facts.type == ValueType::kLevel || facts.type == ValueType::kBoolean ||
        facts.type == ValueType::kAction) {
      continue;
    }
    if (facts.most != UINT64_MAX) {
      ExpectRefused(setting, Text(setting, facts.most + 1), Complaint::kOutOfRange);
    }
    if (facts.least > 0) {
      ExpectRefused(setting, std::to_string(facts.least - 1), Complaint::kOutOfRange);
    }
  }
}

TEST(ParseSettingsTest, ReadsTheExample) {
  Settings settings;
  Complaints complaints;
  EXPECT_TRUE(ParseSettings("level=strict:quarantine=4M:sample=1/1000:mismatch=report:seed=42", ':',
                            false, &settings, complaints));
  EXPECT_TRUE(complaints.told.empty());
  Settings expected;
  expected.Set(Setting::kLevel, 2);
  expected.Set(Setting::kQuarantine, 4 << 20);
  expected.Set(Setting::kSample, 1000);
  expected.Set(Setting::kMismatch, 1);
  expected.Set(Setting::kSeed, 42);
  EXPECT_EQ(settings, expected);
}

TEST(ParseSettingsTest, EmptySettingsAreSkipped) {
  for (const std::string_view text : {"", ":", "::audit::", ":audit", "audit:"}) {
    Settings settings;
    Complaints complaints;
    EXPECT_TRUE(ParseSettings(text, ':', false, &settings, complaints)) << text;
    EXPECT_EQ(settings.has(Setting::kAudit), text.size() > 1) << text;
  }
}

TEST(ParseSettingsTest, ABareBooleanIsOnAndNothingElseMayBeBare) {
  for (const Setting setting : AllSettings()) {
    const bool is_boolean = FactsOf(setting).type == ValueType::kBoolean;
    const std::string name(FactsOf(setting).name);
    Settings settings;
    Complaints complaints;
    EXPECT_EQ(ParseSettings(name, ' ', true, &settings, complaints), is_boolean) << name;
    EXPECT_EQ(settings.has(setting), is_boolean) << name;
    if (is_boolean) {
      EXPECT_EQ(settings.Get(setting), 1u) << name;
    } else {
      ASSERT_EQ(complaints.told.size(), 1u) << name;
      EXPECT_EQ(complaints.told[0], (Complained{Complaint::kMissingValue, name, 1, 1}));
    }
  }
}

TEST(ParseSettingsTest, ComplaintsNameTheWordAndItsPlace) {
  Settings settings;
  Complaints complaints;
  EXPECT_FALSE(ParseSettings("nosuch=1:quarantine=4X:sample=1/4294967296:level=:floor=strict::seed",
                             ':', false, &settings, complaints));
  const std::vector<Complained> expected = {
      {Complaint::kUnknownName, "nosuch=1", 1, 1},
      {Complaint::kMalformedValue, "quarantine=4X", 1, 10},
      {Complaint::kOutOfRange, "sample=1/4294967296", 1, 24},
      {Complaint::kMissingValue, "level=", 1, 44},
      {Complaint::kNotAllowedHere, "floor=strict", 1, 51},
      {Complaint::kMissingValue, "seed", 1, 65},
  };
  EXPECT_EQ(complaints.told, expected);
  EXPECT_TRUE(settings.empty());
}

TEST(ParseSettingsTest, NamesAreExact) {
  for (const char* text : {"Level=strict", " level=strict", "level =strict", "leve=strict",
                           "=strict", "levels=strict", "level.=strict"}) {
    Settings settings;
    Complaints complaints;
    EXPECT_FALSE(ParseSettings(text, ':', false, &settings, complaints)) << text;
    ASSERT_EQ(complaints.told.size(), 1u);
    EXPECT_EQ(complaints.told[0].complaint, Complaint::kUnknownName) << text;
    EXPECT_TRUE(settings.empty());
  }
}

TEST(ParseSettingsTest, FileOnlySettingsCountInFilesAlone) {
  for (const Setting setting : AllSettings()) {
    const std::string text =
        std::string(FactsOf(setting).name) + "=" + Text(setting, FactsOf(setting).most);
    for (const bool is_policy_file : {false, true}) {
      Settings settings;
      Complaints complaints;
      const bool allowed = is_policy_file || !FactsOf(setting).file_only;
      EXPECT_EQ(ParseSettings(text, ':', is_policy_file, &settings, complaints), allowed) << text;
      EXPECT_EQ(settings.has(setting), allowed) << text;
      if (!allowed) {
        EXPECT_EQ(complaints.told[0].complaint, Complaint::kNotAllowedHere);
      }
    }
  }
}

TEST(ParseSettingsTest, TheLastOfTwoCountsAndIsTold) {
  Settings settings;
  Complaints complaints;
  EXPECT_TRUE(ParseSettings("seed=1:audit:seed=2", ':', false, &settings, complaints));
  EXPECT_EQ(settings.Get(Setting::kSeed), 2u);
  EXPECT_EQ(complaints.told, (std::vector<Complained>{{Complaint::kDuplicate, "seed=2", 1, 14}}));
}

TEST(ParseSettingsTest, AMalformedRepetitionLeavesTheFirst) {
  Settings settings;
  Complaints complaints;
  EXPECT_FALSE(ParseSettings("seed=1:seed=x", ':', false, &settings, complaints));
  EXPECT_EQ(settings.Get(Setting::kSeed), 1u);
  ASSERT_EQ(complaints.told.size(), 1u);
  EXPECT_EQ(complaints.told[0].complaint, Complaint::kMalformedValue);
}

TEST(ParseSettingsTest, WhatWasThereBeforeIsNoDuplicate) {
  Settings settings;
  settings.Set(Setting::kSeed, 1);
  settings.Set(Setting::kAudit, 1);
  Complaints complaints;
  EXPECT_TRUE(ParseSettings("seed=2", ':', false, &settings, complaints));
  EXPECT_TRUE(complaints.told.empty());
  EXPECT_EQ(settings.Get(Setting::kSeed), 2u);
  EXPECT_EQ(settings.Get(Setting::kAudit), 1u);
}

TEST(PrintSettingsTest, WritesTheCanonicalForm) {
  const std::vector<std::pair<std::string, std::string>> forms = {
      {"seed=007:level=strict", "level=strict:seed=7"},
      {"quarantine=4194304", "quarantine=4M"},
      {"quarantine=1024M", "quarantine=1G"},
      {"quarantine=65537", "quarantine=65537"},
      {"quarantine=1536k", "quarantine=1536K"},
      {"run_hold=00", "run_hold=0"},
      {"sample=0:quarantine_check=1/016", "quarantine_check=1/16:sample=0"},
      {"placement=uniform", "placement=uniform"},
      {"placement=1024", "placement=1K"},
      {"audit", "audit=on"},
      {"audit=NO:explain_faults=TRUE", "audit=off:explain_faults=on"},
      {"write_after_free=ignore:canary=report", "canary=report:write_after_free=ignore"},
      {"", ""},
  };
  for (const auto& [given, canonical] : forms) {
    Settings settings;
    Complaints complaints;
    EXPECT_TRUE(ParseSettings(given, ':', false, &settings, complaints)) << given;
    EXPECT_EQ(Print(settings), canonical);
  }
}

uint64_t RandomValue(Setting setting, std::mt19937_64& random) {
  const SettingFacts& facts = FactsOf(setting);
  if (facts.type == ValueType::kWindow && random() % 4 == 0) return 0;
  // Small and great, odd and round.
  uint64_t value = random() >> random() % 64;
  if (random() % 2 == 0) value <<= random() % 40;
  if (value < facts.least || value > facts.most) {
    const uint64_t width = facts.most - facts.least + 1;
    value = facts.least + (width == 0 ? value : value % width);
  }
  return value;
}

TEST(PrintSettingsTest, ParsingWhatWasPrintedGivesTheSameSettings) {
  std::mt19937_64 random(4);
  for (int round = 0; round < 20000; ++round) {
    Settings settings;
    for (const Setting setting : AllSettings()) {
      if (random() % 3 == 0) settings.Set(setting, RandomValue(setting, random));
    }
    for (const char separator : {':', ' '}) {
      const std::string text = Print(settings, separator);
      Settings again;
      Complaints complaints;
      ASSERT_TRUE(ParseSettings(text, separator, true, &again, complaints)) << text;
      ASSERT_TRUE(complaints.told.empty()) << text;
      ASSERT_EQ(again, settings) << text;
      ASSERT_EQ(Print(again, separator), text);
    }
  }
}

// Setting, from, to: whether that lowers protection.
TEST(WeakensTest, FollowsWhatIsStronger) {
  struct Row {
    Setting setting;
    uint64_t from;
    uint64_t to;
    bool weakens;
  };
  const Row rows[] = {
      {Setting::kLevel, 2, 1, true},
      {Setting::kLevel, 1, 2, false},
      {Setting::kFloor, 2, 1, true},
      {Setting::kQuarantine, 8 << 20, 4 << 20, true},
      {Setting::kQuarantine, 4, 8, false},
      {Setting::kRunHold, 1, 0, true},
      {Setting::kRunHold, 0, 1, false},
      {Setting::kRunCache, 0, 1, true},
      {Setting::kRunCache, 1, 0, false},
      {Setting::kSample, 1000, 2000, true},
      {Setting::kSample, 2000, 1000, false},
      {Setting::kSample, 1000, 0, true},
      {Setting::kSample, 0, 1000, false},
      {Setting::kQuarantineCheck, 1, 2, true},
      {Setting::kQuarantineCheck, 2, 0, true},
      {Setting::kGuardSlabs, 8, 2, false},
      {Setting::kGuardSlabs, 2, 8, true},
      {Setting::kGuardSlabs, 64, 0, true},
      {Setting::kPlacement, 0, 65536, true},
      {Setting::kPlacement, 65536, 0, false},
      {Setting::kPlacement, 256, 64, true},
      {Setting::kPlacement, 64, 256, false},
      {Setting::kPurgeDelay, 1, 2, false},
      {Setting::kPurgeDelay, 2, 1, false},
      {Setting::kExplainFaults, 1, 0, false},
      {Setting::kExplainFaults, 0, 1, false},
      {Setting::kDeepbind, 0, 1, true},
      {Setting::kDeepbind, 1, 0, false},
      {Setting::kSeed, 1, 2, true},
      {Setting::kSeed, 1, 0, true},
      {Setting::kAudit, 0, 1, true},
      {Setting::kAudit, 1, 0, false},
      {Setting::kDisable, 0, 1, true},
      {Setting::kDisable, 1, 0, false},
      {Setting::kCanary, 0, 1, true},
      {Setting::kCanary, 1, 2, true},
      {Setting::kCanary, 2, 1, false},
      {Setting::kDoubleFree, 1, 0, false},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(Weakens(row.setting, row.from, row.to), row.weakens)
        << FactsOf(row.setting).name << " " << row.from << " -> " << row.to;
  }
  for (const Setting setting : AllSettings()) {
    for (const uint64_t value : {0, 1, 2, 70000}) {
      EXPECT_FALSE(Weakens(setting, value, value)) << FactsOf(setting).name;
    }
  }
}

TEST(TextOfTest, EveryComplaintHasATextOfItsOwn) {
  std::set<std::string_view> texts;
  for (int i = 0; i <= static_cast<int>(Complaint::kLineTooLong); ++i) {
    const std::string_view text = TextOf(static_cast<Complaint>(i));
    EXPECT_FALSE(text.empty());
    EXPECT_TRUE(texts.insert(text).second) << text;
  }
}

}  // namespace
}  // namespace hardened::policies
