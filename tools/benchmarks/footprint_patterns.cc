// footprint_patterns.cc: how much memory live and freed objects keep.

#include <unistd.h>

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

// Fills `bytes` with objects of 16 to 256 bytes, frees a random half, and takes
// as many bytes again in objects of 257 to 1,024: what the first left behind
// must serve a class that it was not made for.
void Fragmentation(size_t bytes) {
  constexpr Sizes kSmall = {16, 256};
  constexpr Sizes kLarge = {257, 1024};
  // Small and large objects together, at their mean sizes and some more.
  Array<char*> blocks(bytes / 100);
  Array<uint32_t> sizes(bytes / 100);
  Random random(14);
  size_t count = 0;
  size_t live = 0;
  size_t requested = 0;
  auto fill = [&](Sizes range) {
    while (live < bytes) {
      if (count == blocks.size()) Die("too many objects");
      const uint32_t size = random.Between(range.low, range.high);
      blocks[count] = Take(size);
      memset(blocks[count], 1, size);
      sizes[count++] = size;
      live += size;
      requested += size;
    }
  };
  free(Take(64));  // the allocator's own start-up
  const int64_t rss_before = RssKib();
  const int64_t peak_before = PeakRssKib();
  const int64_t cpu_start = Nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
  fill(kSmall);
  const size_t small = count;
  for (size_t i = 0; i < small; ++i) {
    if (random.Below(2) == 0) continue;
    free(blocks[i]);
    blocks[i] = nullptr;
    live -= sizes[i];
  }
  const int64_t half_cpu_ns = Nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - cpu_start;
  sleep(1);
  const int64_t half_kib = RssKib() - rss_before;
  const size_t half_live = live;
  const int64_t refill_start = Nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
  fill(kLarge);
  const int64_t cpu_ns = half_cpu_ns + Nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - refill_start;
  const int64_t live_kib = RssKib() - rss_before;
  const int64_t peak_kib = PeakRssKib() - peak_before;
  printf(
      " ops=%zu bytes=%zu cpu_ns=%.3f half_bytes=%zu live_bytes=%zu half_kib=%lld live_kib=%lld"
      " peak_kib=%lld rss_kib=%lld maps=%lld",
      count, requested, static_cast<double>(cpu_ns) / static_cast<double>(count), half_live, live,
      static_cast<long long>(half_kib), static_cast<long long>(live_kib),
      static_cast<long long>(peak_kib), static_cast<long long>(PeakRssKib()),
      static_cast<long long>(MapsLines()));
  for (size_t i = 0; i < count; ++i) free(blocks[i]);
}

// Fills `bytes` with small objects beside an eighth as many that stay, frees
// them in random order of their kilobytes and looks at the process: at once,
// after a second asleep, and after another second with a few calls in it.
void Burst(size_t bytes) {
  constexpr size_t kStaysOf = 8;
  constexpr size_t kRun = 64;  // objects that are freed one after another
  constexpr uint32_t kMean = (kChurnSizes.low + kChurnSizes.high) / 2;
  Random random(15);
  const size_t count = bytes / kMean / kRun * kRun;
  Array<char*> stays(count / kStaysOf);
  Array<char*> blocks(count);
  Array<uint32_t> runs(count / kRun);
  int64_t live = 0;
  int64_t requested = 0;
  auto fill = [&](Array<char*>& all) {
    for (char*& block : all) {
      const uint32_t size = random.Between(kChurnSizes.low, kChurnSizes.high);
      block = Take(size);
      memset(block, 1, size);
      requested += size;
    }
  };
  for (uint32_t i = 0; i < runs.size(); ++i) runs[i] = i;
  for (uint32_t i = static_cast<uint32_t>(runs.size()) - 1; i > 0; --i) {
    const uint32_t other = random.Below(i + 1);
    const uint32_t run = runs[i];
    runs[i] = runs[other];
    runs[other] = run;
  }
  free(Take(64));  // the allocator's own start-up
  const int64_t rss_before = RssKib();
  const int64_t cpu_start = Nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
  fill(stays);
  live = requested;
  fill(blocks);
  const int64_t full_cpu_ns = Nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - cpu_start;
  const int64_t full_kib = RssKib() - rss_before;
  const int64_t free_start = Nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
  for (const uint32_t run : runs) {
    for (size_t i = 0; i < kRun; ++i) free(blocks[run * kRun + i]);
  }
  const int64_t cpu_ns = full_cpu_ns + Nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - free_start;
  const int64_t freed_kib = RssKib() - rss_before;
  sleep(1);
  const int64_t later_kib = RssKib() - rss_before;
  for (int i = 0; i < 20; ++i) {
    usleep(50'000);
    for (int j = 0; j < 100; ++j) free(Take(random.Between(kChurnSizes.low, kChurnSizes.high)));
  }
  const int64_t active_kib = RssKib() - rss_before;
  printf(
      " ops=%zu bytes=%lld cpu_ns=%.3f live_bytes=%lld full_kib=%lld freed_kib=%lld later_kib=%lld"
      " active_kib=%lld rss_kib=%lld maps=%lld",
      count + stays.size(), static_cast<long long>(requested),
      static_cast<double>(cpu_ns) / static_cast<double>(count + stays.size()),
      static_cast<long long>(live), static_cast<long long>(full_kib),
      static_cast<long long>(freed_kib), static_cast<long long>(later_kib),
      static_cast<long long>(active_kib), static_cast<long long>(PeakRssKib()),
      static_cast<long long>(MapsLines()));
  for (char* block : stays) free(block);
}

}  // namespace bench
