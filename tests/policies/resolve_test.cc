#include "policies/resolve.h"

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"
#include "policies/light.h"
#include "policies/paranoid.h"
#include "policies/standard.h"
#include "policies/strict.h"
#include "tests/policies/complaints.h"

namespace hardened::policies {

void PrintTo(Origin origin, std::ostream* out) { *out << TextOf(origin); }
void PrintTo(Rejection rejection, std::ostream* out) { *out << TextOf(rejection); }

namespace {

using Rejected = std::tuple<Origin, Setting, uint64_t, Rejection>;

class Rejections : public RejectionSink {
 public:
  void Reject(Origin origin, Setting setting, uint64_t value, Rejection rejection) override {
    told.emplace_back(origin, setting, value, rejection);
  }
  std::vector<Rejected> told;
};

Settings Parse(std::string_view text) {
  Settings settings;
  Complaints complaints;
  EXPECT_TRUE(ParseSettings(text, ':', true, &settings, complaints)) << text;
  return settings;
}

// What follows from the texts of the sources.
struct Case {
  Level build = Level::kStandard;
  std::string_view files = "";
  std::string_view program = "";
  std::string_view environment = "";
  bool secure = false;
  bool fixed = false;
  Level build_floor = Level::kLight;
};

struct Outcome {
  explicit Outcome(const Case& given) {
    PolicyInputs inputs;
    inputs.build_level = given.build;
    inputs.build_floor = given.build_floor;
    inputs.fixed_level = given.fixed;
    inputs.files = Parse(given.files);
    inputs.program = Parse(given.program);
    inputs.environment = Parse(given.environment);
    inputs.secure = given.secure;
    Rejections rejections;
    policy = Resolve(inputs, rejections);
    told = rejections.told;
  }
  std::string settings() const { return Print(policy.settings); }
  Origin OriginOf(Setting setting) const { return policy.origins[static_cast<unsigned>(setting)]; }

  ResolvedPolicy policy;
  std::vector<Rejected> told;
};

TEST(ResolveTest, TheBuildAloneGivesItsLevel) {
  for (unsigned i = 0; i < kLevelCount; ++i) {
    const Outcome outcome({.build = static_cast<Level>(i)});
    EXPECT_EQ(outcome.policy.level, static_cast<Level>(i));
    EXPECT_EQ(outcome.policy.floor, Level::kLight);
    EXPECT_EQ(outcome.policy.level_origin, Origin::kBuild);
    EXPECT_FALSE(outcome.policy.disabled);
    EXPECT_TRUE(outcome.policy.settings.empty());
    EXPECT_TRUE(outcome.told.empty());
  }
}

TEST(ResolveTest, LaterSourcesWin) {
  const Outcome outcome({.files = "level=standard:purge_delay=1:run_hold=1M:explain_faults=off",
                         .program = "purge_delay=2:run_hold=2M:level=strict",
                         .environment = "purge_delay=3:level=paranoid"});
  EXPECT_EQ(outcome.policy.level, Level::kParanoid);
  EXPECT_EQ(outcome.policy.level_origin, Origin::kEnvironment);
  EXPECT_EQ(outcome.settings(), "run_hold=2M:purge_delay=3:explain_faults=off");
  EXPECT_EQ(outcome.OriginOf(Setting::kPurgeDelay), Origin::kEnvironment);
  EXPECT_EQ(outcome.OriginOf(Setting::kRunHold), Origin::kProgram);
  EXPECT_EQ(outcome.OriginOf(Setting::kExplainFaults), Origin::kFile);
  EXPECT_TRUE(outcome.told.empty());
}

TEST(ResolveTest, TheFloorHoldsForProgramAndEnvironment) {
  const Outcome outcome({.files = "level=strict:floor=standard",
                         .program = "level=light",
                         .environment = "level=standard"});
  EXPECT_EQ(outcome.policy.level, Level::kStandard);
  EXPECT_EQ(outcome.policy.floor, Level::kStandard);
  EXPECT_EQ(
      outcome.told,
      (std::vector<Rejected>{{Origin::kProgram, Setting::kLevel, 0, Rejection::kBelowFloor}}));
}

TEST(ResolveTest, WithoutAFloorTheLevelOfTheFilesIsOne) {
  const Outcome outcome({.files = "level=strict", .environment = "level=standard"});
  EXPECT_EQ(outcome.policy.level, Level::kStrict);
  EXPECT_EQ(outcome.policy.floor, Level::kStrict);
}

TEST(ResolveTest, AFloorRaisesALevelThatIsBelowIt) {
  const Outcome outcome({.build = Level::kLight, .files = "floor=strict"});
  EXPECT_EQ(outcome.policy.level, Level::kStrict);
  EXPECT_EQ(outcome.policy.level_origin, Origin::kFile);
  EXPECT_EQ(Outcome({.files = "floor=strict:level=light"}).policy.level, Level::kStrict);
  const Outcome by_build({.build = Level::kLight, .build_floor = Level::kStandard});
  EXPECT_EQ(by_build.policy.level, Level::kStandard);
  EXPECT_EQ(by_build.policy.level_origin, Origin::kBuild);
}

TEST(ResolveTest, WhereFilesSayNothingAllIsFree) {
  const Outcome outcome({.environment = "level=light:sample=0:seed=0:audit"});
  EXPECT_EQ(outcome.policy.level, Level::kLight);
  EXPECT_EQ(outcome.policy.settings.Get(Setting::kSample), 0u);
  EXPECT_TRUE(outcome.policy.settings.has(Setting::kSeed));
  EXPECT_TRUE(outcome.told.empty());
}

TEST(ResolveTest, WhereFilesSayAnythingNothingWeakensThem) {
  const Outcome outcome({.files = "level=strict:purge_delay=1",
                         .program = "seed=0:audit:sample=1/10001",
                         .environment =
                             "quarantine=1000K:double_free=report:canary=abort:"
                             "guard_slabs=0:placement=64K:run_cache=128M:run_hold=300M"});
  EXPECT_EQ(outcome.settings(), "run_hold=300M:purge_delay=1:canary=abort");
  std::set<Setting> refused;
  for (const auto& [origin, setting, value, rejection] : outcome.told) {
    EXPECT_EQ(rejection, Rejection::kWeakens);
    refused.insert(setting);
  }
  EXPECT_EQ(refused,
            (std::set<Setting>{Setting::kSeed, Setting::kAudit, Setting::kSample,
                               Setting::kQuarantine, Setting::kDoubleFree, Setting::kGuardSlabs,
                               Setting::kPlacement, Setting::kRunCache}));
}

TEST(ResolveTest, TheBoundIsTheFloorNotTheLevelThatWasChosen) {
  // Weaker than paranoid's 8M, stronger than strict's 1M.
  const Outcome outcome({.files = "level=strict", .environment = "level=paranoid:quarantine=2M"});
  EXPECT_EQ(outcome.policy.level, Level::kParanoid);
  EXPECT_EQ(outcome.settings(), "quarantine=2M");
  EXPECT_TRUE(outcome.told.empty());
}

TEST(ResolveTest, WhatFilesRelaxIsTheBound) {
  const Outcome outcome({.files = "level=strict:mismatch=report:seed=5:sample=1/20000",
                         .environment = "mismatch=report:seed=5:sample=1/15000"});
  EXPECT_TRUE(outcome.told.empty());
  EXPECT_EQ(outcome.settings(), "sample=1/15000:seed=5:mismatch=report");
  EXPECT_EQ(Outcome({.files = "seed=5", .environment = "seed=6"}).settings(), "seed=5");
}

TEST(ResolveTest, AuditReportsWhatWouldAbortAndWasNotSet) {
  const Outcome outcome({.build = Level::kStrict, .environment = "audit:canary=abort"});
  EXPECT_EQ(outcome.settings(),
            "audit=on:double_free=report:invalid_free=report:foreign_pointer=report:"
            "mismatch=report:sized_delete=report:canary=abort:write_after_free=report");
  EXPECT_EQ(outcome.OriginOf(Setting::kDoubleFree), Origin::kEnvironment);
  EXPECT_EQ(outcome.OriginOf(Setting::kMismatch), Origin::kEnvironment);
}

TEST(ResolveTest, AuditLeavesWhatTheLevelIgnoresOrLacks) {
  EXPECT_EQ(Outcome({.build = Level::kLight, .environment = "audit"}).settings(),
            "audit=on:double_free=report:invalid_free=report:foreign_pointer=report");
  EXPECT_EQ(Outcome({.environment = "audit=off"}).settings(), "audit=off");
}

TEST(ResolveTest, UnderAuditOfTheFilesReportIsTheBound) {
  const Outcome outcome(
      {.files = "audit", .environment = "double_free=report:canary=ignore:invalid_free=abort"});
  EXPECT_EQ(
      outcome.told,
      (std::vector<Rejected>{{Origin::kEnvironment, Setting::kCanary, 2, Rejection::kWeakens}}));
  EXPECT_EQ(outcome.settings(),
            "audit=on:double_free=report:invalid_free=abort:foreign_pointer=report:"
            "canary=report:write_after_free=report");
  // Turning it off is always allowed.
  EXPECT_EQ(Outcome({.files = "audit", .environment = "audit=off"}).settings(), "audit=off");
}

TEST(ResolveTest, SettingsWithoutEffectAreToldAndDropped) {
  const Outcome outcome({.files = "level=light:quarantine=1M:sample=1/5",
                         .program = "canary=abort",
                         .environment = "guard_slabs=1"});
  EXPECT_EQ(outcome.settings(), "sample=1/5");
  EXPECT_EQ(outcome.told,
            (std::vector<Rejected>{
                {Origin::kFile, Setting::kQuarantine, 1 << 20, Rejection::kNoEffectAtLevel},
                {Origin::kEnvironment, Setting::kGuardSlabs, 1, Rejection::kNoEffectAtLevel},
                {Origin::kProgram, Setting::kCanary, 0, Rejection::kNoEffectAtLevel}}));
}

TEST(ResolveTest, RaisedPrivilegesSilenceTheEnvironment) {
  const Outcome outcome({.program = "level=strict:sample=1/5",
                         .environment = "level=paranoid:audit:sample=1/6",
                         .secure = true});
  EXPECT_EQ(outcome.policy.level, Level::kStrict);
  EXPECT_EQ(outcome.settings(), "sample=1/5");
  EXPECT_EQ(outcome.told, (std::vector<Rejected>{
                              {Origin::kEnvironment, Setting::kLevel, 3, Rejection::kSecure},
                              {Origin::kEnvironment, Setting::kAudit, 1, Rejection::kSecure},
                              {Origin::kEnvironment, Setting::kSample, 6, Rejection::kSecure}}));
}

TEST(ResolveTest, ALibraryOfOneLevelKeepsIt) {
  const Outcome outcome({.build = Level::kStrict,
                         .files = "level=light:floor=light",
                         .program = "level=strict",
                         .environment = "level=paranoid:sample=1/5",
                         .fixed = true});
  EXPECT_EQ(outcome.policy.level, Level::kStrict);
  EXPECT_EQ(outcome.policy.floor, Level::kStrict);
  EXPECT_EQ(outcome.policy.level_origin, Origin::kBuild);
  EXPECT_EQ(outcome.settings(), "sample=1/5");
  EXPECT_EQ(outcome.told, (std::vector<Rejected>{
                              {Origin::kFile, Setting::kFloor, 0, Rejection::kFixedLevel},
                              {Origin::kFile, Setting::kLevel, 0, Rejection::kFixedLevel},
                              {Origin::kEnvironment, Setting::kLevel, 3, Rejection::kFixedLevel}}));
}

TEST(ResolveTest, OnlyFilesDisable) {
  EXPECT_TRUE(Outcome({.files = "disable"}).policy.disabled);
  EXPECT_FALSE(Outcome({.files = "disable=off"}).policy.disabled);
  EXPECT_EQ(Outcome({.files = "disable"}).settings(), "disable=on");
  // The parser lets neither through; a caller's mistake has no effect either.
  const Outcome outcome(
      {.program = "disable:floor=light", .environment = "disable:floor=paranoid"});
  EXPECT_FALSE(outcome.policy.disabled);
  EXPECT_TRUE(outcome.policy.settings.empty());
  EXPECT_EQ(outcome.policy.floor, Level::kLight);
}

// ---- Features

TEST(FeaturesOfTest, EveryLevelHasItsOwn) {
  EXPECT_EQ(&FeaturesOf(Level::kLight), &Light::kFeatures);
  EXPECT_EQ(&FeaturesOf(Level::kStandard), &Standard::kFeatures);
  EXPECT_EQ(&FeaturesOf(Level::kStrict), &Strict::kFeatures);
  EXPECT_EQ(&FeaturesOf(Level::kParanoid), &Paranoid::kFeatures);
  for (unsigned i = 0; i < kLevelCount; ++i) {
    EXPECT_EQ(FeaturesOf(static_cast<Level>(i)).name, NameOf(static_cast<Level>(i)));
  }
}

TEST(ApplySettingsTest, EverySettingChangesItsFeatureAlone) {
  // Values that no level has.
  const std::pair<Setting, uint64_t> changes[] = {
      {Setting::kQuarantine, 12345678},
      {Setting::kQuarantineCheck, 777},
      {Setting::kSample, 4294967295},
      {Setting::kRunHold, uint64_t{5} << 32},
      {Setting::kRunCache, 4097},
      {Setting::kGuardSlabs, 63},
      {Setting::kPlacement, 4096},
      {Setting::kPurgeDelay, 3600000},
      {Setting::kExplainFaults, 0},
      {Setting::kDoubleFree, 2},
      {Setting::kInvalidFree, 2},
      {Setting::kForeignPointer, 2},
      {Setting::kMismatch, 2},
      {Setting::kSizedDelete, 2},
      {Setting::kCanary, 2},
      {Setting::kWriteAfterFree, 2},
  };
  for (const auto& [setting, changed] : changes) {
    Features features = FeaturesOf(Level::kParanoid);
    Settings settings;
    settings.Set(setting, changed);
    ApplySettings(settings, &features);
    for (unsigned i = 0; i < kSettingCount; ++i) {
      const auto other = static_cast<Setting>(i);
      uint64_t value = 0;
      uint64_t before = 0;
      const bool has = ValueIn(features, other, &value);
      EXPECT_EQ(ValueIn(FeaturesOf(Level::kParanoid), other, &before), has);
      if (!has) continue;
      EXPECT_EQ(value, other == setting ? changed : before) << FactsOf(other).name;
    }
    EXPECT_FALSE(features.core.seeded);
  }
}

TEST(ApplySettingsTest, SettingsWriteTheFeaturesThatTheyName) {
  Features features = Standard::kFeatures;
  ApplySettings(Parse("quarantine=2M:quarantine_check=1/3:sample=1/5:run_hold=6M:run_cache=7M:"
                      "guard_slabs=8:placement=128:purge_delay=9:explain_faults=off:seed=10"),
                &features);
  EXPECT_EQ(features.quarantine.bytes, size_t{2} << 20);
  EXPECT_EQ(features.quarantine.check_interval, 3u);
  EXPECT_EQ(features.sample_interval, 5u);
  EXPECT_EQ(features.core.run_hold_bytes, size_t{6} << 20);
  EXPECT_EQ(features.core.run_cache_bytes, size_t{7} << 20);
  EXPECT_EQ(features.core.guard_slab_interval, 8u);
  EXPECT_EQ(features.core.placement.window_bytes, 128u);
  EXPECT_EQ(features.core.purge.delay_ms, 9u);
  EXPECT_FALSE(features.explain_faults);
  EXPECT_TRUE(features.core.seeded);
  EXPECT_EQ(features.core.seed, 10u);
  // What no setting names stays.
  EXPECT_EQ(features.quarantine.least_weight, Standard::kFeatures.quarantine.least_weight);
  EXPECT_TRUE(IsCoherent(features));
}

TEST(ApplySettingsTest, ActionsLandAtTheirEvents) {
  const std::pair<const char*, Event> actions[] = {
      {"double_free=ignore", Event::kDoubleFree},
      {"invalid_free=ignore", Event::kInvalidFree},
      {"foreign_pointer=ignore", Event::kForeignPointer},
      {"mismatch=ignore", Event::kMismatch},
      {"sized_delete=ignore", Event::kSizedDelete},
      {"canary=ignore", Event::kCanary},
      {"write_after_free=ignore", Event::kWriteAfterFree},
  };
  for (const auto& [text, event] : actions) {
    Features features = Strict::kFeatures;
    ApplySettings(Parse(text), &features);
    for (unsigned i = 0; i < kEventCount; ++i) {
      EXPECT_EQ(features.actions.of[i],
                i == static_cast<unsigned>(event) ? EventAction::kIgnore : EventAction::kAbort)
          << text;
    }
  }
}

TEST(ValueInTest, LevelsAndSwitchesAreNoFeatures) {
  uint64_t value = 7;
  for (const Setting setting :
       {Setting::kLevel, Setting::kFloor, Setting::kDisable, Setting::kAudit, Setting::kSeed}) {
    EXPECT_FALSE(ValueIn(Standard::kFeatures, setting, &value));
  }
  EXPECT_EQ(value, 7u);
}

// ---- The matrix, against an oracle that shares no code with the resolver

using MaybeLevel = std::optional<int>;
using MaybeValue = std::optional<uint64_t>;

const Features* const kLevels[] = {&Light::kFeatures, &Standard::kFeatures, &Strict::kFeatures,
                                   &Paranoid::kFeatures};

// One option as the oracle sees it.
struct Option {
  Setting setting;
  bool needs_standard;
  bool greater_is_better;  // after 0 of a rate counts as never
  bool is_rate;
  uint64_t (*of_level)(const Features& features);
  MaybeValue values[4];  // what a source may say
};

// The greater, the better.
double Strength(const Option& option, uint64_t value) {
  if (option.is_rate && value == 0) return -1e30;
  return option.greater_is_better ? static_cast<double>(value) : -static_cast<double>(value);
}

struct Source {
  MaybeLevel level;
  MaybeValue value;
};

struct World {
  int build = 0;
  int build_floor = 0;
  bool fixed = false;
  bool secure = false;
  MaybeLevel floor;  // of the files
  Source files;
  Source program;
  Source environment;
};

struct Expected {
  int level;
  int floor;
  Origin level_origin;
  MaybeValue value;
  Origin value_origin = Origin::kBuild;
  std::set<Rejected> rejected;
};

Expected Oracle(const World& world, const Option& option) {
  Expected out;
  const bool files_speak = world.floor || world.files.level || world.files.value;
  const auto reject = [&](Origin origin, Setting setting, uint64_t value, Rejection why) {
    out.rejected.emplace(origin, setting, value, why);
  };
  const std::pair<Origin, const Source*> guests[] = {{Origin::kProgram, &world.program},
                                                     {Origin::kEnvironment, &world.environment}};

  // The level.
  out.level = world.build;
  out.level_origin = Origin::kBuild;
  if (world.fixed) {
    out.floor = world.build;
    if (world.floor && *world.floor != world.build) {
      reject(Origin::kFile, Setting::kFloor, *world.floor, Rejection::kFixedLevel);
    }
    for (const auto& [origin, source] :
         {std::pair{Origin::kFile, &world.files}, guests[0], guests[1]}) {
      if (origin == Origin::kEnvironment && world.secure) continue;
      if (source->level && *source->level != world.build) {
        reject(origin, Setting::kLevel, *source->level, Rejection::kFixedLevel);
      }
    }
  } else {
    out.floor = world.floor.value_or(world.files.level.value_or(world.build_floor));
    if (world.files.level) {
      out.level = *world.files.level;
      out.level_origin = Origin::kFile;
    }
    if (out.level < out.floor) {
      out.level = out.floor;
      if (world.floor) out.level_origin = Origin::kFile;
    }
    for (const auto& [origin, source] : guests) {
      if (!source->level || (origin == Origin::kEnvironment && world.secure)) continue;
      if (*source->level < out.floor) {
        reject(origin, Setting::kLevel, *source->level, Rejection::kBelowFloor);
      } else {
        out.level = *source->level;
        out.level_origin = origin;
      }
    }
  }

  // The option.
  if (world.files.value) {
    out.value = world.files.value;
    out.value_origin = Origin::kFile;
  }
  const uint64_t bound = world.files.value.value_or(option.of_level(*kLevels[out.floor]));
  for (const auto& [origin, source] : guests) {
    if (!source->value || (origin == Origin::kEnvironment && world.secure)) continue;
    if (files_speak && Strength(option, *source->value) < Strength(option, bound)) {
      reject(origin, option.setting, *source->value, Rejection::kWeakens);
    } else {
      out.value = source->value;
      out.value_origin = origin;
    }
  }
  if (out.value && option.needs_standard && out.level == 0) {
    reject(out.value_origin, option.setting, *out.value, Rejection::kNoEffectAtLevel);
    out.value.reset();
  }

  if (world.secure) {
    if (world.environment.level) {
      reject(Origin::kEnvironment, Setting::kLevel, *world.environment.level, Rejection::kSecure);
    }
    if (world.environment.value) {
      reject(Origin::kEnvironment, option.setting, *world.environment.value, Rejection::kSecure);
    }
  }
  return out;
}

Settings SettingsOf(const Source& source, const Option& option, MaybeLevel floor = {}) {
  Settings settings;
  if (source.level) settings.Set(Setting::kLevel, static_cast<uint64_t>(*source.level));
  if (floor) settings.Set(Setting::kFloor, static_cast<uint64_t>(*floor));
  if (source.value) settings.Set(option.setting, *source.value);
  return settings;
}

std::string Describe(const World& world, const Option& option) {
  return "build " + std::to_string(world.build) + ", its floor " +
         std::to_string(world.build_floor) + (world.fixed ? ", fixed" : "") +
         (world.secure ? ", secure" : "") + "; files " +
         Print(SettingsOf(world.files, option, world.floor)) + "; program " +
         Print(SettingsOf(world.program, option)) + "; environment " +
         Print(SettingsOf(world.environment, option));
}

void Check(const World& world, const Option& option) {
  PolicyInputs inputs;
  inputs.build_level = static_cast<Level>(world.build);
  inputs.build_floor = static_cast<Level>(world.build_floor);
  inputs.fixed_level = world.fixed;
  inputs.secure = world.secure;
  inputs.files = SettingsOf(world.files, option, world.floor);
  inputs.program = SettingsOf(world.program, option);
  inputs.environment = SettingsOf(world.environment, option);
  Rejections rejections;
  const ResolvedPolicy policy = Resolve(inputs, rejections);
  const Expected expected = Oracle(world, option);

  ASSERT_EQ(static_cast<int>(policy.level), expected.level) << Describe(world, option);
  ASSERT_EQ(static_cast<int>(policy.floor), expected.floor) << Describe(world, option);
  ASSERT_EQ(policy.level_origin, expected.level_origin) << Describe(world, option);
  ASSERT_EQ(policy.settings.has(option.setting), expected.value.has_value())
      << Describe(world, option);
  ASSERT_FALSE(policy.disabled);
  Settings all;
  if (expected.value) {
    all.Set(option.setting, *expected.value);
    ASSERT_EQ(policy.origins[static_cast<unsigned>(option.setting)], expected.value_origin)
        << Describe(world, option);
  }
  ASSERT_EQ(policy.settings, all) << Describe(world, option);
  const std::set<Rejected> told(rejections.told.begin(), rejections.told.end());
  ASSERT_EQ(told.size(), rejections.told.size()) << Describe(world, option) << ": told twice";
  ASSERT_TRUE(told == expected.rejected) << Describe(world, option) << ": told " << told.size()
                                         << " rejections, expected " << expected.rejected.size();

  // What the process would run with: the level's value, or the one that holds.
  Features features = FeaturesOf(policy.level);
  ApplySettings(policy.settings, &features);
  ASSERT_EQ(option.of_level(features),
            expected.value.value_or(option.of_level(*kLevels[expected.level])));
}

const Option kOptions[] = {
    {Setting::kQuarantine,
     true,
     true,
     false,
     [](const Features& features) -> uint64_t { return features.quarantine.bytes; },
     {{}, 100 << 10, 2 << 20, 16 << 20}},
    {Setting::kSample,
     false,
     false,
     true,
     [](const Features& features) -> uint64_t { return features.sample_interval; },
     {{}, 0, 20'000, 50}},
    {Setting::kMismatch,
     false,
     false,
     false,
     [](const Features& features) -> uint64_t {
       return static_cast<uint64_t>(features.actions[Event::kMismatch]);
     },
     {{}, 0, 1, 2}},
};

class MatrixTest : public testing::TestWithParam<std::tuple<int, int>> {};

// Build default x its floor x fixed x secure x what the three sources say of level, floor and
// option.
TEST_P(MatrixTest, EveryCombinationResolvesAsTheOracleSays) {
  const auto& [option_index, build] = GetParam();
  const Option& option = kOptions[option_index];
  const MaybeLevel levels[] = {{}, 0, 1, 2, 3};
  World world;
  world.build = build;
  for (const int build_floor : {0, 2}) {
    for (const MaybeLevel& floor : levels) {
      for (const MaybeLevel& files : levels) {
        for (const MaybeLevel& program : levels) {
          for (const MaybeLevel& environment : levels) {
            for (unsigned bits = 0; bits < 4 * 4 * 4 * 2 * 2; ++bits) {
              world.build_floor = build_floor;
              world.floor = floor;
              world.files = {files, option.values[bits % 4]};
              world.program = {program, option.values[bits / 4 % 4]};
              world.environment = {environment, option.values[bits / 16 % 4]};
              world.secure = bits / 64 % 2 == 1;
              world.fixed = bits / 128 == 1;
              ASSERT_NO_FATAL_FAILURE(Check(world, option));
            }
          }
        }
      }
    }
  }
}

std::string NameOfMatrix(const testing::TestParamInfo<std::tuple<int, int>>& info) {
  const auto& [option, build] = info.param;
  return std::string(FactsOf(kOptions[option].setting).name) + "_" + kLevels[build]->name;
}

INSTANTIATE_TEST_SUITE_P(OptionsAndBuilds, MatrixTest,
                         testing::Combine(testing::Range(0, 3), testing::Range(0, 4)),
                         NameOfMatrix);

// Settings do not disturb each other: all three at once give what each gives alone.
TEST(ResolveTest, SettingsAreResolvedOneByOne) {
  for (unsigned bits = 0; bits < 1u << 18; ++bits) {
    PolicyInputs inputs;
    inputs.files.Set(Setting::kLevel, bits % 3 + 1);
    Settings* const sources[] = {&inputs.files, &inputs.program, &inputs.environment};
    unsigned rest = bits;
    for (Settings* source : sources) {
      for (const Option& option : kOptions) {
        if (option.values[rest % 4]) source->Set(option.setting, *option.values[rest % 4]);
        rest /= 4;
      }
    }
    Rejections rejections;
    const ResolvedPolicy all = Resolve(inputs, rejections);
    for (const Option& option : kOptions) {
      PolicyInputs alone = inputs;
      for (Settings* source : {&alone.files, &alone.program, &alone.environment}) {
        for (const Option& other : kOptions) {
          if (other.setting != option.setting) source->Clear(other.setting);
        }
      }
      Rejections ignored;
      const ResolvedPolicy one = Resolve(alone, ignored);
      ASSERT_EQ(one.settings.has(option.setting), all.settings.has(option.setting));
      if (!one.settings.has(option.setting)) continue;
      ASSERT_EQ(one.settings.Get(option.setting), all.settings.Get(option.setting));
    }
  }
}

TEST(TextOfTest, EveryOriginAndRejectionHasATextOfItsOwn) {
  std::set<std::string_view> texts;
  for (int i = 0; i <= static_cast<int>(Origin::kEnvironment); ++i) {
    EXPECT_TRUE(texts.insert(TextOf(static_cast<Origin>(i))).second);
  }
  for (int i = 0; i <= static_cast<int>(Rejection::kSecure); ++i) {
    EXPECT_TRUE(texts.insert(TextOf(static_cast<Rejection>(i))).second);
  }
  EXPECT_FALSE(texts.contains(""));
}

}  // namespace
}  // namespace hardened::policies
