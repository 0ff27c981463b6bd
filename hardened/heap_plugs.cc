#include "hardened/heap_plugs.h"

#include "hardened/core/heap_registry.h"
#include "hardened/damage.h"
#include "hardened/fault_report.h"
#include "hardened/fork.h"
#include "hardened/guarded_sample.h"
#include "hardened/prim/environment.h"
#include "hardened/prim/start_guard.h"
#include "hardened/wipe.h"
#include "hardened/zero_size.h"

namespace hardened {
namespace {

bool Prepare(core::ThreadHeap& heap) {
  HeapPlugs& plugs = PlugsOf(heap);
  const Features& features = *active_features;
  if (features.sample_interval != 0 && !plugs.sampling) {
    plugs.sampling = true;
    for (unsigned c = 0; c < core::kSizeClassCount; ++c) {
      heap.RestartCountdown(static_cast<core::SizeClass>(c),
                            DrawInterval(heap, features.sample_interval));
    }
  }
  if (features.canary) {
    plugs.life_bits =
        static_cast<uint16_t>((plugs.life_bits & kLifeMask) | AllSecrets().epoch << kEpochShift);
  }
  return features.quarantine.bytes == 0 || plugs.quarantine.initialised() ||
         plugs.quarantine.Initialise(features.quarantine, features.wipe_limit,
                                     features.check_on_allocate);
}

bool Refill(core::ThreadHeap& heap, core::SizeClass size_class) {
  return PlugsOf(heap).quarantine.Refill(heap, size_class);
}

void Groom(core::ThreadHeap& heap) { PlugsOf(heap).quarantine.Groom(heap); }

bool Settle(core::MagazineEntry slot, core::SizeClass size_class) {
  const size_t size = core::SlotSize(size_class);
  const bool wiped = size <= active_features->wipe_limit;
  // Detects: a write to the slot between its wipe, when another thread freed it, and this call.
  // Misses:  writes to slots that are not wiped, apart from those to the link.
  // Cost:    one pass over the slot.
  if (wiped && !IsZero(slot.slot, size)) {
    slot.record->store(core::kFreedRecord, std::memory_order_relaxed);
    ReportWriteAfterFree(slot.slot, size, "collection");
    return false;
  }
  // Pairs with the loads of who looks at it as a neighbour, or in a sweep: its link is cleared.
  slot.record->store(wiped ? core::kFreedZeroRecord : core::kFreedRecord,
                     std::memory_order_release);
  return true;
}

ABSL_ATTRIBUTE_ALWAYS_INLINE inline void Keep(core::ThreadHeap& heap, core::MagazineEntry entry,
                                              core::SizeClass size_class) {
  const size_t size = core::SlotSize(size_class);
  // Release: a sweep that sees the record sees the wiped slot.
  entry.record->store(
      size <= active_features->wipe_limit ? core::kFreedZeroRecord : core::kFreedRecord,
      std::memory_order_release);
  core::Magazine& magazine = heap.magazines[size_class];
  if (magazine.hold != magazine.hold_end) {
    *magazine.hold++ = entry;
  } else {
    PlugsOf(heap).quarantine.Add(heap, entry, size_class);
  }
}

void KeepReceived(core::ThreadHeap& heap, std::span<const uintptr_t> slots) {
  for (const uintptr_t address : slots) {
    core::MagazineEntry slot;
    core::SizeClass size_class;
    if (heap.Receive(address, &slot, &size_class)) [[likely]]
      Keep(heap, slot, size_class);
  }
}

void Drain(core::ThreadHeap& heap) {
  Quarantine& quarantine = PlugsOf(heap).quarantine;
  if (quarantine.initialised()) quarantine.Drain(heap);
}

void CountHeld(const core::ThreadHeap& heap, uint64_t* slots, uint64_t* bytes) {
  const Quarantine& quarantine = reinterpret_cast<const HeapPlugs*>(heap.plug)->quarantine;
  if (!quarantine.initialised()) return;
  quarantine.CountHeld(heap, slots, bytes);
}

}  // namespace

HARDENED_SEALED_TOGETHER constinit prim::Sealed<Features> active_features;

void ResetPlugs(core::ThreadHeap& heap, uint64_t salt) {
  HeapPlugs& plugs = PlugsOf(heap);
  plugs.life_bits &= static_cast<uint16_t>(~kLifeMask);
  const uint32_t interval = active_features->sample_interval;
  if (interval == 0) return;
  for (unsigned c = 0; c < core::kSizeClassCount; ++c) {
    // S. Vigna's splitmix64.
    salt += 0x9e3779b97f4a7c15u;
    uint64_t mixed = (salt ^ salt >> 30) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebu;
    mixed ^= mixed >> 31;
    heap.RestartCountdown(static_cast<core::SizeClass>(c), 1 + mixed % (2 * interval - 1));
  }
}

void StopSampling(core::ThreadHeap& heap) {
  // More allocations than a process can make.
  constexpr uint64_t kNever = uint64_t{1} << 62;
  for (unsigned c = 0; c < core::kSizeClassCount; ++c) {
    heap.RestartCountdown(static_cast<core::SizeClass>(c), kNever);
  }
}

void KeepInQuarantine(core::ThreadHeap& heap, core::MagazineEntry entry,
                      core::SizeClass size_class) {
  Keep(heap, entry, size_class);
}

[[gnu::weak]] void ConfigureFeatures(Features* features) {
  features->core.seeded =
      !prim::RunsWithRaisedPrivileges() &&
      prim::ParseUnsigned(prim::FindEnvironment("HARDENED_SEED", prim::ProcessEnvironment()),
                          &features->core.seed);
}

namespace {

bool StartOnce(const Features& features) {
  const prim::StartGuard guard;
  if (core::heap_state.started()) return true;
  if (!active_features.settled()) {
    Features& active = active_features.Writable();
    active = features;
    ConfigureFeatures(&active);
    active_features.Settle();
  }
  core::heap_registry.RegisterExit();
  core::CoreOptions options = active_features->core;
  options.plug.prepare = &Prepare;
  options.plug.forget_trace = &ForgetTrace;
  if (features.wipe_limit > 0) options.plug.settle = &Settle;
  if (features.quarantine.bytes > 0) {
    options.plug.keep = &KeepReceived;
    options.plug.refill = &Refill;
    options.plug.groom = &Groom;
    options.plug.drain = &Drain;
    options.plug.count_held = &CountHeld;
  }
  return core::heap_state.Start(options, features.name,
                                features.canary ? &InitialiseSecrets : nullptr);
}

}  // namespace

bool StartHeap(const Features& features) {
  if (core::heap_state.started()) return true;
  // Below a function of libc that start-up called, or below a signal handler.
  if (prim::ThreadIsStarting()) return false;
  if (!StartOnce(features)) return false;
  // Early, so that they run after the prepare handlers of others, which may still allocate.
  EnsureForkHandlers();
  InstallFaultHandler();
  return true;
}

void RenewAfterFork() {
  AdvanceEpoch();
  zero_size_slots.Reseed();
  if (core::HasHeap()) Prepare(*static_cast<core::ThreadHeap*>(core::current_heap));
}

}  // namespace hardened
