#include "policies/resolve.h"

#include "policies/light.h"
#include "policies/paranoid.h"
#include "policies/standard.h"
#include "policies/strict.h"

namespace hardened::policies {
namespace {

constexpr Setting SettingAt(unsigned index) { return static_cast<Setting>(index); }

bool IsAction(Setting setting) { return FactsOf(setting).type == ValueType::kAction; }

constexpr Event EventOf(Setting action) {
  return static_cast<Event>(static_cast<unsigned>(action) -
                            static_cast<unsigned>(Setting::kDoubleFree));
}
static_assert(EventOf(Setting::kInvalidFree) == Event::kInvalidFree &&
              EventOf(Setting::kForeignPointer) == Event::kForeignPointer &&
              EventOf(Setting::kMismatch) == Event::kMismatch &&
              EventOf(Setting::kSizedDelete) == Event::kSizedDelete &&
              EventOf(Setting::kCanary) == Event::kCanary &&
              EventOf(Setting::kWriteAfterFree) == Event::kWriteAfterFree);

constexpr uint64_t kAbort = static_cast<uint64_t>(EventAction::kAbort);
constexpr uint64_t kReport = static_cast<uint64_t>(EventAction::kReport);

// Whether `settings` ask for audit, and leave this action to it.
bool IsAudited(const Settings& settings, Setting action) {
  return settings.has(Setting::kAudit) && settings.Get(Setting::kAudit) != 0 &&
         !settings.has(action);
}

// Whether program or environment would go below what the files and the level of the floor give.
bool WeakensFiles(const Settings& files, Level floor, Setting setting, uint64_t value) {
  uint64_t base = 0;
  if (files.has(setting)) {
    base = files.Get(setting);
  } else if (setting == Setting::kSeed) {
    return true;  // no seed is better than any
  } else if (ValueIn(FeaturesOf(floor), setting, &base)) {
    if (IsAction(setting) && base == kAbort && IsAudited(files, setting)) base = kReport;
  }
  return Weakens(setting, base, value);
}

class Resolver {
 public:
  Resolver(const PolicyInputs& inputs, RejectionSink& sink) : inputs_(inputs), sink_(sink) {}

  ResolvedPolicy Resolve() {
    Begin();
    TakeFiles();
    TakeGuest(Origin::kProgram, inputs_.program);
    if (inputs_.secure) {
      RejectAll(Origin::kEnvironment, inputs_.environment, Rejection::kSecure);
    } else {
      TakeGuest(Origin::kEnvironment, inputs_.environment);
    }
    DropWithoutEffect();
    Audit();
    return policy_;
  }

 private:
  void Begin() {
    const Settings& files = inputs_.files;
    policy_.level = inputs_.build_level;
    policy_.floor = inputs_.build_floor;
    if (inputs_.fixed_level) {
      policy_.floor = policy_.level;
    } else if (files.has(Setting::kFloor)) {
      policy_.floor = static_cast<Level>(files.Get(Setting::kFloor));
    } else if (files.has(Setting::kLevel)) {
      policy_.floor = static_cast<Level>(files.Get(Setting::kLevel));
    }
  }

  void TakeFiles() {
    const Settings& files = inputs_.files;
    if (inputs_.fixed_level && files.has(Setting::kFloor)) {
      const uint64_t floor = files.Get(Setting::kFloor);
      if (floor != static_cast<uint64_t>(policy_.level)) {
        sink_.Reject(Origin::kFile, Setting::kFloor, floor, Rejection::kFixedLevel);
      }
    }
    if (files.has(Setting::kLevel)) TakeLevel(Origin::kFile, files.Get(Setting::kLevel));
    if (policy_.level < policy_.floor) {
      policy_.level = policy_.floor;
      if (files.has(Setting::kFloor)) policy_.level_origin = Origin::kFile;
    }
    for (unsigned i = 0; i < kSettingCount; ++i) {
      const Setting setting = SettingAt(i);
      if (!files.has(setting) || setting == Setting::kLevel || setting == Setting::kFloor) continue;
      Hold(Origin::kFile, setting, files.Get(setting));
    }
    policy_.disabled = files.has(Setting::kDisable) && files.Get(Setting::kDisable) != 0;
  }

  // What the program or the environment says: nothing of it counts against the files.
  void TakeGuest(Origin origin, const Settings& settings) {
    for (unsigned i = 0; i < kSettingCount; ++i) {
      const Setting setting = SettingAt(i);
      if (!settings.has(setting) || FactsOf(setting).file_only) continue;
      const uint64_t value = settings.Get(setting);
      if (setting == Setting::kLevel) {
        TakeLevel(origin, value);
      } else if (!inputs_.files.empty() &&
                 WeakensFiles(inputs_.files, policy_.floor, setting, value)) {
        sink_.Reject(origin, setting, value, Rejection::kWeakens);
      } else {
        Hold(origin, setting, value);
      }
    }
  }

  void TakeLevel(Origin origin, uint64_t value) {
    const auto level = static_cast<Level>(value);
    if (inputs_.fixed_level) {
      if (level != policy_.level) {
        sink_.Reject(origin, Setting::kLevel, value, Rejection::kFixedLevel);
      }
      return;
    }
    // Files may choose any level; the floor then raises it.
    if (origin != Origin::kFile && level < policy_.floor) {
      sink_.Reject(origin, Setting::kLevel, value, Rejection::kBelowFloor);
      return;
    }
    policy_.level = level;
    policy_.level_origin = origin;
  }

  void RejectAll(Origin origin, const Settings& settings, Rejection rejection) {
    for (unsigned i = 0; i < kSettingCount; ++i) {
      const Setting setting = SettingAt(i);
      if (settings.has(setting)) sink_.Reject(origin, setting, settings.Get(setting), rejection);
    }
  }

  void DropWithoutEffect() {
    for (unsigned i = 0; i < kSettingCount; ++i) {
      const Setting setting = SettingAt(i);
      if (!policy_.settings.has(setting) || FactsOf(setting).needs <= policy_.level) continue;
      sink_.Reject(policy_.origins[i], setting, policy_.settings.Get(setting),
                   Rejection::kNoEffectAtLevel);
      policy_.settings.Clear(setting);
      policy_.origins[i] = Origin::kBuild;
    }
  }

  void Audit() {
    const Features& features = FeaturesOf(policy_.level);
    for (unsigned i = 0; i < kSettingCount; ++i) {
      const Setting setting = SettingAt(i);
      if (!IsAction(setting) || !IsAudited(policy_.settings, setting)) continue;
      if (FactsOf(setting).needs > policy_.level) continue;
      if (features.actions[EventOf(setting)] != EventAction::kAbort) continue;
      Hold(policy_.origins[static_cast<unsigned>(Setting::kAudit)], setting, kReport);
    }
  }

  void Hold(Origin origin, Setting setting, uint64_t value) {
    policy_.settings.Set(setting, value);
    policy_.origins[static_cast<unsigned>(setting)] = origin;
  }

  const PolicyInputs& inputs_;
  RejectionSink& sink_;
  ResolvedPolicy policy_;
};

}  // namespace

std::string_view TextOf(Origin origin) {
  switch (origin) {
    case Origin::kBuild:
      return "build";
    case Origin::kFile:
      return "policy file";
    case Origin::kProgram:
      return "program";
    case Origin::kEnvironment:
      return "environment";
  }
  return "";
}

std::string_view TextOf(Rejection rejection) {
  switch (rejection) {
    case Rejection::kBelowFloor:
      return "below the floor";
    case Rejection::kWeakens:
      return "weaker than what the policy files give";
    case Rejection::kFixedLevel:
      return "this library has one level only";
    case Rejection::kNoEffectAtLevel:
      return "without effect at this level";
    case Rejection::kSecure:
      return "the program runs with raised privileges";
  }
  return "";
}

ResolvedPolicy Resolve(const PolicyInputs& inputs, RejectionSink& sink) {
  return Resolver(inputs, sink).Resolve();
}

const Features& FeaturesOf(Level level) {
  switch (level) {
    case Level::kLight:
      return Light::kFeatures;
    case Level::kStandard:
      return Standard::kFeatures;
    case Level::kStrict:
      return Strict::kFeatures;
    case Level::kParanoid:
      break;
  }
  return Paranoid::kFeatures;
}

void ApplySettings(const Settings& settings, Features* features) {
  for (unsigned i = 0; i < kSettingCount; ++i) {
    const Setting setting = SettingAt(i);
    if (!settings.has(setting)) continue;
    const uint64_t value = settings.Get(setting);
    switch (setting) {
      case Setting::kLevel:
      case Setting::kFloor:
      case Setting::kDisable:
      case Setting::kAudit:
      case Setting::kDeepbind:
        break;
      case Setting::kQuarantine:
        features->quarantine.bytes = value;
        break;
      case Setting::kQuarantineCheck:
        features->quarantine.check_interval = static_cast<uint32_t>(value);
        break;
      case Setting::kSample:
        features->sample_interval = static_cast<uint32_t>(value);
        break;
      case Setting::kRunHold:
        features->core.run_hold_bytes = value;
        break;
      case Setting::kRunCache:
        features->core.run_cache_bytes = value;
        break;
      case Setting::kGuardSlabs:
        features->core.guard_slab_interval = static_cast<uint32_t>(value);
        break;
      case Setting::kPlacement:
        features->core.placement.window_bytes = static_cast<uint32_t>(value);
        break;
      case Setting::kLanes:
        features->core.placement.lanes = static_cast<uint32_t>(value);
        break;
      case Setting::kPurgeDelay:
        features->core.purge.delay_ms = value;
        break;
      case Setting::kExplainFaults:
        features->explain_faults = value != 0;
        break;
      case Setting::kSeed:
        features->core.seed = value;
        features->core.seeded = true;
        break;
      case Setting::kDoubleFree:
      case Setting::kInvalidFree:
      case Setting::kForeignPointer:
      case Setting::kMismatch:
      case Setting::kSizedDelete:
      case Setting::kCanary:
      case Setting::kWriteAfterFree:
        features->actions.of[static_cast<unsigned>(EventOf(setting))] =
            static_cast<EventAction>(value);
        break;
    }
  }
}

bool ValueIn(const Features& features, Setting setting, uint64_t* value) {
  switch (setting) {
    case Setting::kLevel:
    case Setting::kFloor:
    case Setting::kDisable:
    case Setting::kAudit:
    case Setting::kDeepbind:
    case Setting::kSeed:
      return false;
    case Setting::kQuarantine:
      *value = features.quarantine.bytes;
      break;
    case Setting::kQuarantineCheck:
      *value = features.quarantine.check_interval;
      break;
    case Setting::kSample:
      *value = features.sample_interval;
      break;
    case Setting::kRunHold:
      *value = features.core.run_hold_bytes;
      break;
    case Setting::kRunCache:
      *value = features.core.run_cache_bytes;
      break;
    case Setting::kGuardSlabs:
      *value = features.core.guard_slab_interval;
      break;
    case Setting::kPlacement:
      *value = features.core.placement.window_bytes;
      break;
    case Setting::kLanes:
      *value = features.core.placement.lanes;
      break;
    case Setting::kPurgeDelay:
      *value = features.core.purge.delay_ms;
      break;
    case Setting::kExplainFaults:
      *value = features.explain_faults ? 1 : 0;
      break;
    case Setting::kDoubleFree:
    case Setting::kInvalidFree:
    case Setting::kForeignPointer:
    case Setting::kMismatch:
    case Setting::kSizedDelete:
    case Setting::kCanary:
    case Setting::kWriteAfterFree:
      *value = static_cast<uint64_t>(features.actions[EventOf(setting)]);
      break;
  }
  return true;
}

}  // namespace hardened::policies
