// footprint_patterns.cc: how much memory live and freed objects keep.

#include "patterns.h"

namespace bench {

// Fills `count` objects, frees them in the order of allocation and looks at
// the process: with all alive, right after the last free, and a second later.
// Sizes are relative to the process before its first object.
void Footprint(size_t count, Sizes sizes) {
  Random random(10);
  Array<char*> blocks(count);
  int64_t bytes = 0;
  free(Take(64));  // the allocator's own start-up
  const int64_t rss_before = RssKib();
  const int64_t cpu_start = Nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
  for (char*& block : blocks) {
    const uint32_t size = random.Between(sizes.low, sizes.high);
    block = Take(size);
    memset(block, 1, size);
    bytes += size;
  }
  int64_t cpu_ns = Nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - cpu_start;
  const int64_t rss_live = RssKib() - rss_before;
  const int64_t maps = MapsLines();
  const int64_t free_start = Nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
  for (char* block : blocks) free(block);
  cpu_ns += Nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - free_start;
  const int64_t rss_freed = RssKib() - rss_before;
  sleep(1);
  const int64_t rss_later = RssKib() - rss_before;
  printf(
      " ops=%zu bytes=%lld cpu_ns=%.3f live_kib=%lld freed_kib=%lld later_kib=%lld rss_kib=%lld"
      " maps=%lld",
      count, static_cast<long long>(bytes),
      static_cast<double>(cpu_ns) / static_cast<double>(count), static_cast<long long>(rss_live),
      static_cast<long long>(rss_freed), static_cast<long long>(rss_later),
      static_cast<long long>(PeakRssKib()), static_cast<long long>(maps));
}

}  // namespace bench
