// Address space: more of it than there is memory, in large and in many pieces.

#include <stdint.h>
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <random>
#include <string_view>
#include <vector>

#include "tests/limits/scenario.h"
#include "tests/preload/pattern.h"
#include "tests/support/proc_numbers.h"
#include "tests/support/resident.h"

namespace {

constexpr size_t kKib = 1 << 10, kMib = 1 << 20;
constexpr size_t kGib = size_t{1} << 30, kTib = size_t{1} << 40;

void RequireAddressSpace() {
  if (FirstNumber("/proc/sys/vm/overcommit_memory") == 2) {
    CannotRunHere("vm.overcommit_memory is 2: address space is accounted as memory");
  }
  rlimit limit;
  if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur != RLIM_INFINITY) {
    CannotRunHere("RLIMIT_AS is set");
  }
}

// Live ranges, in the order of their addresses.
class Ranges {
 public:
  void Add(void* start, size_t size) {
    const auto address = reinterpret_cast<uintptr_t>(start);
    const auto [place, is_new] = live_.emplace(address, size);
    Require(is_new, "%p was handed out twice", start);
    if (place != live_.begin()) {
      const auto below = std::prev(place);
      Require(below->first + below->second <= address, "%p overlaps the range below", start);
    }
    const auto above = std::next(place);
    Require(above == live_.end() || address + size <= above->first,
            "%p with %zu bytes overlaps the range above", start, size);
    bytes_ += size;
  }
  // Takes out the first range from a random address on.
  std::pair<void*, size_t> TakeNear(uintptr_t address) {
    auto place = live_.lower_bound(address);
    if (place == live_.end()) place = live_.begin();
    const std::pair<void*, size_t> taken(reinterpret_cast<void*>(place->first), place->second);
    bytes_ -= place->second;
    live_.erase(place);
    return taken;
  }
  size_t count() const { return live_.size(); }
  size_t bytes() const { return bytes_; }

 private:
  std::map<uintptr_t, size_t> live_;
  size_t bytes_ = 0;
};

// The first and the last 8 bytes name the range.
void Sign(void* start, size_t size) {
  FillPattern(start, 8, size);
  memcpy(static_cast<char*>(start) + size - 8, start, 8);
}
bool IsSigned(void* start, size_t size) {
  return HasPattern(start, 8, size) && memcmp(static_cast<char*>(start) + size - 8, start, 8) == 0;
}

void Return(std::pair<void*, size_t> range) {
  Require(IsSigned(range.first, range.second), "%p lost its contents", range.first);
  free(range.first);
}

struct Usage {
  size_t resident_kib = ResidentKib();
  size_t page_table_kib = NumberBehind("/proc/self/status", "VmPTE:");
};

// Pieces of 64 KiB to 500 GiB, as many of each magnitude; up to 64 and 6 TiB live.
void ThirteenTebibytesInPieces() {
  RequireAddressSpace();
  const hardened_counters before = Counters();
  const size_t before_kib = ResidentKib();
  std::mt19937_64 random(13);
  std::uniform_real_distribution<double> exponent(std::log2(64.0 * kKib), std::log2(500.0 * kGib));
  {
    Ranges live;
    size_t total = 0, pieces = 0, most = 0, most_page_tables_kib = 0;
    for (; total < 13 * kTib; ++pieces) {
      const size_t size = static_cast<size_t>(std::exp2(exponent(random))) & ~size_t{7};
      while (live.count() == 64 || live.bytes() + size > 6 * kTib) Return(live.TakeNear(random()));
      const bool zeroed = random() % 4 == 0;
      void* start = zeroed ? calloc(1, size) : malloc(size);
      Require(start != nullptr, "%zu bytes refused, %zu live", size, live.bytes());
      if (zeroed) {
        const size_t ends[] = {0, size / 2 & ~size_t{7}, size - 8};
        for (const size_t at : ends) {
          Require(FirstNonZero(static_cast<char*>(start) + at, 8) == 8, "calloc: not zero");
        }
      }
      live.Add(start, size);
      Sign(start, size);
      total += size;
      if (live.bytes() > most) most = live.bytes();
      most_page_tables_kib = std::max(most_page_tables_kib, Usage().page_table_kib);
    }
    while (live.count() > 0) Return(live.TakeNear(random()));
    Print("%zu pieces, at most %zu GiB live and %zu KiB of page tables, %zu KiB more resident",
          pieces, most / kGib, most_page_tables_kib, ResidentKib() - before_kib);
    // A guard of 16 MiB has 32 KiB of them; beside it, a run touches a few places.
    Require(most_page_tables_kib < 16 * kKib, "%zu KiB of page tables", most_page_tables_kib);
    Require(most > kTib, "only %zu GiB were live at once", most / kGib);
  }
  Require(Counters().live_runs == before.live_runs, "runs are left");
  // Dirty spans may keep 16 MiB, the cache of runs holds few pages of each.
  Require(ResidentKib() < before_kib + 48 * kKib, "%zu KiB were resident, %zu are", before_kib,
          ResidentKib());
  for (size_t size = 16; size <= 64 * kMib; size *= 2) {
    void* block = malloc(size);
    Require(block != nullptr, "%zu bytes refused at the end", size);
    FillPattern(block, size, size);
    Require(HasPattern(block, size, size), "%zu bytes lost their contents", size);
    free(block);
  }
}

// What the level gives each run for the sake of its place.
size_t GapSlices() {
  const std::string_view level = LibraryUnderTest::Find().level();
  return level == "light" ? 0 : level == "standard" ? 3 : 23;
}

// `count` runs of `size`, of which every `touch`-th is written to; all live, then all freed.
void ManyRuns(size_t count, size_t size, size_t touch) {
  RequireAddressSpace();
  std::vector<void*> runs(count, nullptr);
  const hardened_counters counters = Counters();
  const Usage before;
  for (size_t i = 0; i < count; ++i) {
    runs[i] = malloc(size);
    Require(runs[i] != nullptr, "run %zu was refused", i);
    if (i % touch == 0) FillPattern(runs[i], 8, i);
  }
  const Usage live;
  Require(Counters().live_runs - counters.live_runs == count, "not all are runs");
  for (size_t i = 0; i < count; i += touch) {
    Require(HasPattern(runs[i], 8, i), "run %zu lost its contents", i);
  }
  for (void* run : runs) free(run);
  const Usage freed;
  Print(
      "%zu runs of %zu bytes: resident %zu KiB before, %zu live, %zu freed; page tables %zu, "
      "%zu, %zu",
      count, size, before.resident_kib, live.resident_kib, freed.resident_kib,
      before.page_table_kib, live.page_table_kib, freed.page_table_kib);
  Require(Counters().live_runs == counters.live_runs, "runs are left");
  // A run and the descriptors, spans and bits of its slices, as ARCHITECTURE.md has them.
  const size_t metadata_kib = count * (112 + 49 * (size / (64 * kKib) + 1 + GapSlices())) / kKib;
  const size_t touched_kib = count / touch * 4;
  constexpr size_t kRestKib = 20 * kKib;
  Require(live.resident_kib >= before.resident_kib + touched_kib, "runs share pages");
  Require(live.resident_kib < before.resident_kib + touched_kib + metadata_kib + kRestKib,
          "%zu KiB resident while all live", live.resident_kib);
  Require(freed.resident_kib < before.resident_kib + metadata_kib + kRestKib,
          "%zu KiB resident after all were freed", freed.resident_kib);
}

// Each takes 128 KiB of address space, and page tables for it. Whole pages, which leave no room for
// a canary: it would touch a page or two of each.
void AMillionRuns() { ManyRuns(1'000'000, 68 * kKib, 16); }

void SixtyFourGibibytesLive() { ManyRuns(64 * kKib, kMib, 1); }

}  // namespace

const Scenario kAddressSpaceScenarios[] = {
    {"ThirteenTebibytesInPieces", ThirteenTebibytesInPieces},
    {"AMillionRuns", AMillionRuns},
    {"SixtyFourGibibytesLive", SixtyFourGibibytesLive},
};
const size_t kAddressSpaceScenarioCount = std::size(kAddressSpaceScenarios);
