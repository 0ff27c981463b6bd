// latency_pattern.cc: how long single calls take, not how long they take on
// average.

#include <algorithm>

#include "patterns.h"

namespace bench {
namespace {

constexpr size_t kLive = 20'000;
constexpr size_t kOperations = 400'000;

// Nanoseconds at a quantile, with `clock_ns` for reading the clock taken off.
double Quantile(Array<uint32_t>& sorted, double quantile, uint32_t clock_ns) {
  const auto index = std::min(sorted.size() - 1,
                              static_cast<size_t>(quantile * static_cast<double>(sorted.size())));
  return sorted[index] > clock_ns ? sorted[index] - clock_ns : 0;
}

uint32_t Since(int64_t start) {
  return static_cast<uint32_t>(std::min<int64_t>(Nanoseconds(CLOCK_MONOTONIC) - start, UINT32_MAX));
}

// Returns: the median of what two readings of the clock are apart.
uint32_t ClockCost(Array<uint32_t>& room) {
  for (uint32_t& cost : room) cost = Since(Nanoseconds(CLOCK_MONOTONIC));
  std::sort(room.begin(), room.end());
  return room[room.size() / 2];
}

}  // namespace

// Replaces random blocks of 16 bytes to 64 KiB, small ones more often, and
// takes the time of every malloc and every free. The worst call also holds
// what the system did meanwhile, so compare it over several rounds.
void Latency() {
  Random random(16);
  Array<char*> blocks(kLive);
  Array<uint32_t> malloc_ns(kOperations);
  Array<uint32_t> free_ns(kOperations);
  const uint32_t clock_ns = ClockCost(malloc_ns);
  int64_t bytes = 0;
  auto draw = [&] {
    const uint32_t high = 64u << std::min(random.Below(4) * random.Below(4), 10u);
    const uint32_t size = random.Between(16, high);
    bytes += size;
    return size;
  };
  const int64_t cpu_start = Nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
  for (char*& block : blocks) block = Take(draw());
  for (size_t i = 0; i < kOperations; ++i) {
    char*& block = blocks[random.Below(kLive)];
    const uint32_t size = draw();
    const int64_t free_start = Nanoseconds(CLOCK_MONOTONIC);
    free(block);
    free_ns[i] = Since(free_start);
    const int64_t malloc_start = Nanoseconds(CLOCK_MONOTONIC);
    char* taken = static_cast<char*>(malloc(size));
    malloc_ns[i] = Since(malloc_start);
    if (taken == nullptr) Die("malloc returned null");
    *taken = 1;
    Escape(taken);
    block = taken;
  }
  const int64_t cpu_ns = Nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - cpu_start;
  std::sort(malloc_ns.begin(), malloc_ns.end());
  std::sort(free_ns.begin(), free_ns.end());
  printf(" ops=%zu bytes=%lld cpu_ns=%.3f", kOperations, static_cast<long long>(bytes),
         static_cast<double>(cpu_ns) / static_cast<double>(kOperations));
  struct {
    const char* name;
    Array<uint32_t>* times;
  } calls[] = {{"malloc", &malloc_ns}, {"free", &free_ns}};
  for (auto& call : calls) {
    printf(" %s_p50=%.0f %s_p99=%.0f %s_p999=%.0f %s_worst=%.0f", call.name,
           Quantile(*call.times, 0.5, clock_ns), call.name, Quantile(*call.times, 0.99, clock_ns),
           call.name, Quantile(*call.times, 0.999, clock_ns), call.name,
           Quantile(*call.times, 1, clock_ns));
  }
  printf(" rss_kib=%lld maps=%lld", static_cast<long long>(PeakRssKib()),
         static_cast<long long>(MapsLines()));
  for (char* block : blocks) free(block);
}

}  // namespace bench
