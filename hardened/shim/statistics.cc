// What the heap tells about itself: hardened_get_counters and glibc's statistics calls.

#include <errno.h>
#include <malloc.h>
#include <stdio.h>

#include <climits>

#include "hardened/core/empty_slabs.h"
#include "hardened/core/heap_registry.h"
#include "hardened/core/run.h"
#include "hardened/events.h"
#include "hardened/hardened.h"
#include "hardened/prim/page_source.h"
#include "hardened/prim/raw_writer.h"
#include "hardened/prim/system_info.h"
#include "hardened/shim/active_heap.h"
#include "hardened/shim/next_function.h"
#include "hardened/shim/process_policy.h"
#include "hardened/zero_size.h"

namespace hardened::shim {
namespace {

struct HeapStatistics {
  hardened_counters counters;
  core::ArenaCounters arena;
  uint64_t run_bytes;
};

HeapStatistics Collect() {
  HeapStatistics result{};
  if (!core::heap_state.started()) return result;
  const core::ThreadHeap::Tally tally = core::heap_registry.Total();
  result.arena = core::heap_state.Counters();
  hardened_counters& counters = result.counters;
  counters.live_runs = tally.live_runs;
  counters.live_slots = tally.taken_slots - tally.remote_sent_slots + zero_size_slots.live();
  result.run_bytes = tally.live_run_bytes;
  counters.live_bytes = tally.taken_bytes - tally.remote_sent_bytes + tally.live_run_bytes;
  counters.allocations = tally.allocations + tally.run_allocations + zero_size_slots.allocations();
  counters.deallocations = counters.allocations - counters.live_slots - counters.live_runs;
  counters.mapped_bytes = result.arena.committed_bytes + result.arena.metadata_bytes;
  counters.segments = result.arena.grown_bytes / core::kSegmentSize;
  counters.mismatches = EventCount(Event::kMismatch) + EventCount(Event::kSizedDelete);
  counters.bad_pointers = EventCount(Event::kDoubleFree) + EventCount(Event::kInvalidFree) +
                          EventCount(Event::kForeignPointer);
  counters.damages = EventCount(Event::kCanary) + EventCount(Event::kWriteAfterFree);
  counters.guards_refused =
      prim::linux_page_source.counters().guards_refused.load(std::memory_order_relaxed);
  return result;
}

template <class Heap>
const char* LevelNameOf() {
  if constexpr (requires { Heap::LevelName(); }) {
    return Heap::LevelName();
  } else {
    return Heap::kFeatures.name;
  }
}

// glibc's calls where this library leaves the process alone: its own heap has nothing to tell then.
constinit NextFunction next_mallinfo2(&mallinfo2, "mallinfo2");
constinit NextFunction<struct mallinfo()> next_mallinfo(nullptr, "mallinfo");  // deprecated
constinit NextFunction next_malloc_stats(&malloc_stats, "malloc_stats");
constinit NextFunction next_malloc_info(&malloc_info, "malloc_info");
constinit NextFunction next_malloc_trim(&malloc_trim, "malloc_trim");
constinit NextFunction next_mallopt(&mallopt, "mallopt");

// Bytes of the heap's segments that hold no live allocation.
uint64_t FreeBytes(const HeapStatistics& heap) {
  return heap.arena.committed_bytes > heap.counters.live_bytes
             ? heap.arena.committed_bytes - heap.counters.live_bytes
             : 0;
}

}  // namespace

extern "C" {

HARDENED_EXPORT int hardened_get_counters(hardened_counters* out, size_t size) {
  if (out == nullptr) return -1;
  const hardened_counters counters = Collect().counters;
  const size_t known = size < sizeof(counters) ? size : sizeof(counters);
  __builtin_memcpy(out, &counters, known);
  __builtin_memset(reinterpret_cast<char*>(out) + known, 0, size - known);
  return 0;
}

HARDENED_EXPORT const char* hardened_version(void) { return HARDENED_VERSION; }

HARDENED_EXPORT const char* hardened_level(void) { return LevelNameOf<ActiveHeap>(); }

HARDENED_EXPORT const char* hardened_policy(void) { return ThisProcessPolicy().text; }

HARDENED_EXPORT struct mallinfo2 mallinfo2(void) {
  if (LeavesProcessAlone()) return next_mallinfo2();
  const HeapStatistics heap = Collect();
  struct mallinfo2 info = {};
  info.arena = heap.arena.committed_bytes;
  info.hblks = heap.counters.live_runs;
  info.uordblks = heap.counters.live_bytes;
  info.fordblks = FreeBytes(heap);
  info.keepcost = heap.arena.dirty_bytes;
  return info;
}

// The older form, whose int fields wrap; here they stop at INT_MAX.
HARDENED_EXPORT struct mallinfo mallinfo(void) {
  if (LeavesProcessAlone()) return next_mallinfo();
  const struct mallinfo2 wide = mallinfo2();
  const auto narrow = [](size_t value) {
    return value > INT_MAX ? INT_MAX : static_cast<int>(value);
  };
  struct mallinfo info = {};
  info.arena = narrow(wide.arena);
  info.hblks = narrow(wide.hblks);
  info.uordblks = narrow(wide.uordblks);
  info.fordblks = narrow(wide.fordblks);
  info.keepcost = narrow(wide.keepcost);
  return info;
}

HARDENED_EXPORT void malloc_stats(void) {
  if (LeavesProcessAlone()) return next_malloc_stats();
  const HeapStatistics heap = Collect();
  const hardened_counters& counters = heap.counters;
  prim::RawWriter out;
  const auto line = [&out](const char* name, uint64_t value) {
    out.Padded(name, 24).Decimal(value).Char('\n');
  };
  out.Text("hardened: level ").Text(hardened_level()).Char('\n');
  line("  allocations", counters.allocations);
  line("  deallocations", counters.deallocations);
  line("  live slots", counters.live_slots);
  line("  live runs", counters.live_runs);
  line("  live bytes", counters.live_bytes);
  line("  committed bytes", heap.arena.committed_bytes);
  line("  dirty bytes", heap.arena.dirty_bytes);
  line("  metadata bytes", heap.arena.metadata_bytes);
  out.Flush(2);
}

HARDENED_EXPORT int malloc_info(int options, FILE* stream) {
  if (LeavesProcessAlone()) return next_malloc_info(options, stream);
  if (options != 0 || stream == nullptr) {
    errno = EINVAL;
    return -1;
  }
  const HeapStatistics heap = Collect();
  const hardened_counters& counters = heap.counters;
  prim::RawWriter out;
  const auto element = [&out](const char* type, uint64_t count, uint64_t size) {
    out.Text("<total type=\"").Text(type).Text("\" count=\"").Decimal(count);
    out.Text("\" size=\"").Decimal(size).Text("\"/>\n");
  };
  out.Text("<malloc version=\"1\">\n<heap nr=\"0\">\n");
  element("live", counters.live_slots + counters.live_runs, counters.live_bytes);
  element("rest", 0, FreeBytes(heap));
  element("mmap", counters.live_runs, heap.run_bytes);
  out.Text("<system type=\"current\" size=\"").Decimal(counters.mapped_bytes).Text("\"/>\n");
  out.Text("</heap>\n</malloc>\n");
  const std::string_view text = out.view();
  return fwrite(text.data(), 1, text.size(), stream) == text.size() ? 0 : -1;
}

// Gives all free memory back that can be given back. Returns 1 if there was any.
HARDENED_EXPORT int malloc_trim(size_t pad) {
  if (LeavesProcessAlone()) return next_malloc_trim(pad);
  if (!core::heap_state.started()) return 0;
  const int saved_errno = errno;
  const uint64_t now = prim::CoarseMilliseconds();
  core::run_cache->Purge(now, 0);
  // First: it sends off what this thread freed of others.
  if (core::HasHeap()) {
    static_cast<core::ThreadHeap*>(core::current_heap)->ReleaseEverything(/*keep_one=*/false);
  }
  core::heap_registry.ReclaimAll();
  const size_t purged =
      core::heap_state.Purge(now, /*force=*/true) +
      core::empty_slabs->Purge(now, /*force=*/true, core::heap_constants->options.purge);
  errno = saved_errno;
  return purged > 0 ? 1 : 0;
}

// glibc's tuning parameters are accepted and have no effect: they tune structures that this heap
// does not have. Unknown ones are refused.
HARDENED_EXPORT int mallopt(int parameter, int value) {
  if (LeavesProcessAlone()) return next_mallopt(parameter, value);
  switch (parameter) {
    case M_MXFAST:
    case M_TRIM_THRESHOLD:
    case M_TOP_PAD:
    case M_MMAP_THRESHOLD:
    case M_MMAP_MAX:
    case M_CHECK_ACTION:
    case M_PERTURB:
    case M_ARENA_TEST:
    case M_ARENA_MAX:
      return 1;
    default:
      return 0;
  }
}

}  // extern "C"

}  // namespace hardened::shim
