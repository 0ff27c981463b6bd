// Resolution: from what all sources say to the one policy of a process.
//
// Sources, weakest first: the build, the system's policy files, the program's own default (weak
// symbol hardened_default_options), the environment (HARDENED_LEVEL, then HARDENED_OPTIONS; of
// settings in both, HARDENED_OPTIONS holds). With AT_SECURE the environment counts for nothing.
//
// The floor: a `floor` of the policy files; else the level that the policy files set; else that of
// the build. A level of build or files below it is raised to it. Program and environment choose any
// level from the floor on; a lower one leaves the level in force and is told. Where the policy
// files said anything about this program, program and environment also may not weaken any other
// setting (Weakens()) below what the level of the floor and the files give; where they said
// nothing, they are free.
//
// A setting without effect at the resolved level (SettingFacts::needs) is told, and dropped.
// `audit` makes every action that is `abort` and was not set by itself `report`. Of program and
// environment, settings that are file_only do not count; the parser lets none through.
//
// Threads: pure.

#ifndef POLICIES_RESOLVE_H_
#define POLICIES_RESOLVE_H_

#include <cstdint>
#include <string_view>

#include "hardened/features.h"
#include "policies/policy_file.h"
#include "policies/settings.h"

namespace hardened::policies {

enum class Origin : uint8_t { kBuild, kFile, kProgram, kEnvironment };
std::string_view TextOf(Origin origin);  // "build", "policy file", "program", "environment"

struct PolicyInputs {
  Level build_level = Level::kStandard;
  Level build_floor = Level::kLight;
  // The library has one level only: level and floor elsewhere that differ are told, and ignored.
  // It is the floor, too.
  bool fixed_level = false;
  Settings files;
  Settings program;
  Settings environment;
  bool secure = false;
};

struct ResolvedPolicy {
  Level level = Level::kStandard;
  Level floor = Level::kLight;
  bool disabled = false;
  // What holds besides level and floor: settings that were given, allowed, and have an effect; the
  // actions that `audit` made are in it.
  Settings settings;
  Origin level_origin = Origin::kBuild;
  Origin origins[kSettingCount] = {};  // of those in `settings`
};

// Why something that a source said does not hold.
enum class Rejection : uint8_t {
  kBelowFloor,
  kWeakens,
  kFixedLevel,
  kNoEffectAtLevel,
  kSecure,  // all that the environment said
};
std::string_view TextOf(Rejection rejection);

class RejectionSink {
 public:
  virtual void Reject(Origin origin, Setting setting, uint64_t value, Rejection rejection) = 0;

 protected:
  ~RejectionSink() = default;
};

ResolvedPolicy Resolve(const PolicyInputs& inputs, RejectionSink& sink);

// The values of a level.
const Features& FeaturesOf(Level level);

// Writes the settings over the features of their level. level, floor, disable and audit are no
// features.
void ApplySettings(const Settings& settings, Features* features);

// The value of a setting in `features`, for those that are values there (all but level, floor,
// disable, audit and seed). Returns: false for the others.
bool ValueIn(const Features& features, Setting setting, uint64_t* value);

}  // namespace hardened::policies

#endif  // POLICIES_RESOLVE_H_
