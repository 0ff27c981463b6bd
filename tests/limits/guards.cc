// Guards: many of them cost no mappings, and where they are refused nothing else is.

#include <errno.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <vector>

#include "tests/limits/scenario.h"
#include "tests/preload/pattern.h"
#include "tests/prim/deny_system_calls.h"
#include "tests/support/kernel_guards.h"
#include "tests/support/proc_numbers.h"

namespace {

// What a program with this heap maps at most while guards cost nothing.
constexpr size_t kFewMaps = 200;

void AMillionObjectsNeedFewMaps() {
  if (!KernelHasGuards()) CannotRunHere("the kernel has no MADV_GUARD_INSTALL (Linux 6.13)");
  constexpr size_t kCount = 1'000'000;
  std::vector<void*> blocks(kCount);
  const auto size_of = [](size_t i) { return 1 + i * 7919 % 256; };
  for (size_t i = 0; i < kCount; ++i) {
    blocks[i] = malloc(size_of(i));
    Require(blocks[i] != nullptr, "object %zu was refused", i);
    FillPattern(blocks[i], size_of(i), i);
  }
  const size_t maps = CountMaps();
  Print("%zu maps with %zu live objects", maps, kCount);
  Require(maps > 0 && maps <= kFewMaps, "%zu maps", maps);
  Require(Counters().guards_refused == 0, "guards were refused");
  for (size_t i = 0; i < kCount; ++i) {
    Require(HasPattern(blocks[i], size_of(i), i), "object %zu lost its contents", i);
    free(blocks[i]);
  }
}

constexpr size_t kRuns = 80'000, kRunBytes = 200'000;

// Returns: the most mappings that there were.
size_t AllocateRunsAndFreeThem() {
  std::vector<void*> runs(kRuns);
  size_t most_maps = 0;
  const auto look = [&most_maps] {
    const size_t maps = CountMaps();
    if (maps > most_maps) most_maps = maps;
  };
  for (size_t i = 0; i < kRuns; ++i) {
    runs[i] = malloc(kRunBytes);
    Require(runs[i] != nullptr, "run %zu was refused, errno %d", i, errno);
    FillPattern(runs[i], 8, i);
  }
  look();
  // In an order in which guards go and come all over the heap.
  for (size_t i = 0; i < kRuns; ++i) {
    const size_t at = i * 7919 % kRuns;
    Require(HasPattern(runs[at], 8, at), "run %zu lost its contents", at);
    free(runs[at]);
    if (i % (kRuns / 4) == 0) look();
    if (i % 2 == 0) continue;
    runs[at] = malloc(kRunBytes);
    Require(runs[at] != nullptr, "run %zu was refused the second time", at);
    free(runs[at]);
  }
  look();
  return most_maps;
}

void EightyThousandRuns() {
  if (!KernelHasGuards()) CannotRunHere("the kernel has no MADV_GUARD_INSTALL (Linux 6.13)");
  const size_t maps = AllocateRunsAndFreeThem();
  Print("%zu runs need %zu maps", kRuns, maps);
  Require(maps <= kFewMaps, "%zu maps", maps);
  Require(Counters().guards_refused == 0, "guards were refused");
}

// Guards are mprotect then, an eighth of vm.max_map_count at most, with two mappings each; the
// other runs get none, which is counted.
void EightyThousandRunsWithoutTheAdvice() {
  if (!Again()) {
    if (!hardened::prim::DenyAdvice(kGuardInstall, EINVAL)) CannotRunHere("no seccomp filters");
    RunAgain();
  }
  Require(!KernelHasGuards(), "the filter does not work");
  const size_t limit = FirstNumber("/proc/sys/vm/max_map_count");
  if (limit == 0) CannotRunHere("no vm.max_map_count");
  const size_t maps = AllocateRunsAndFreeThem();
  const uint64_t refused = Counters().guards_refused;
  Print("%zu runs need %zu maps of %zu; %zu guards were refused", kRuns, maps, limit,
        size_t{refused});
  // Where runs have gaps, few guards are neighbours and share a mapping.
  Require(maps <= limit / 4 + 2 * kFewMaps, "%zu maps", maps);
  const size_t guards = limit / 8;
  // Where the limit is far away, all runs have theirs; of neighbours two guards are one mapping.
  Require(maps > std::min(guards, kRuns), "%zu maps: hardly any guard was installed", maps);
  if (guards < kRuns / 2) Require(refused >= kRuns, "only %zu guards refused", size_t{refused});
}

}  // namespace

const Scenario kGuardScenarios[] = {
    {"AMillionObjectsNeedFewMaps", AMillionObjectsNeedFewMaps},
    {"EightyThousandRuns", EightyThousandRuns},
    {"EightyThousandRunsWithoutTheAdvice", EightyThousandRunsWithoutTheAdvice},
};
const size_t kGuardScenarioCount = std::size(kGuardScenarios);
