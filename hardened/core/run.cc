#include "hardened/core/run.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "absl/base/attributes.h"
#include "hardened/core/guarded_places.h"
#include "hardened/core/heap_registry.h"
#include "hardened/core/heap_state.h"
#include "hardened/core/hold_budget.h"
#include "hardened/core/run_signposts.h"
#include "hardened/prim/check.h"
#include "hardened/prim/page_source.h"
#include "hardened/prim/sandbox.h"

namespace hardened::core {
namespace {

// Below this, copying is cheaper than the system calls of moving pages.
constexpr size_t kMoveThreshold = 1 << 20;
// From here on a run that must read as zero is dropped instead of cleared.
constexpr size_t kDropThreshold = 4 << 20;
// Spans of more slices come in fewer sizes, at most so far apart: what a run leaves of its span is
// guard, which takes page tables, 2 MiB for each GiB.
constexpr size_t kFineSlices = 16;
constexpr unsigned kCoarsestShift = 8;
// Where memory is rationed, freed runs that are held.
constexpr size_t kRationedHoldBytes = 8 << 20;
// Freed runs that are hidden keep their memory: so many bytes and runs of up to so many bytes. Each
// splits a mapping in three, also in the cache: of all together so many.
constexpr size_t kHiddenBytes = 8 << 20;
constexpr uint32_t kHiddenRuns = 64;
constexpr size_t kLargestHidden = 512 << 10;
constexpr uint32_t kMostHidden = 256;
// What holding may cost. In pages that are hidden, shown and cleared, 0.2 us each, and as much as
// 32 for the calls: 3 % of the time of one processor.
constexpr size_t kHideCost = 32;
constinit HoldBudget hide_budget(/*per_ms=*/128, /*most=*/32768);
// In pages that are guarded and fault anew, 2 us each: 3 %.
constinit HoldBudget guard_budget(/*per_ms=*/16, /*most=*/32768);
// A shrunk run gives whole slices back from this many on.
constexpr size_t kTrimSlices = 16;
// Cached runs of more than this share of the cache's limit come back at once.
constexpr size_t kDelayedShare = 8;

void* Pointer(uintptr_t address) { return reinterpret_cast<void*>(address); }

uintptr_t SpanStart(const Run& run) { return run.arena->AddressOf(run.first_slice); }
uintptr_t SpanEnd(const Run& run) { return run.arena->AddressOf(run.first_slice + run.slices); }
uintptr_t DataEnd(const Run& run) { return run.pages + run.page_bytes; }

bool IsByLevel(RunPlacement placement) { return placement <= RunPlacement::kGrown; }

// Where the data starts within the first page: at its start, or so that its end meets the guard.
uintptr_t PlaceData(const Run& run, size_t bytes, size_t alignment, RunPlacement placement) {
  if (IsByLevel(placement)) {
    const bool at_end = heap_constants->options.end_aligned_runs &&
                        (placement == RunPlacement::kByLevel || bytes < kMoveThreshold);
    placement = at_end ? RunPlacement::kEnd : RunPlacement::kStart;
    if (alignment < kSlotAlignment) alignment = kSlotAlignment;
  }
  if (placement == RunPlacement::kStart) return run.pages;
  return (DataEnd(run) - bytes) & ~(uintptr_t{alignment} - 1);
}

void Describe(Run& run) {
  SliceDescriptor& slice = run.arena->SliceAt(run.data);
  slice.owner.store(nullptr, std::memory_order_relaxed);
  slice.records = &run.record;
  slice.base_low = static_cast<uint32_t>(run.data);
  slice.inverse = 1;
  slice.slot_count = 1;
  slice.shift = 0;
  slice.size_class = 0;
  slice.use = SliceUse::kRun;
  slice.released = false;
}

void InstallTailGuard(Run& run) {
  run.tail_guarded = run.arena->pages().InstallGuard(
      Pointer(DataEnd(run)), SpanEnd(run) - DataEnd(run), prim::GuardChange::kWhole);
}

bool RemoveTailGuard(Run& run) {
  if (run.tail_guarded &&
      !run.arena->pages().RemoveGuard(Pointer(DataEnd(run)), SpanEnd(run) - DataEnd(run),
                                      prim::GuardChange::kWhole)) {
    return false;
  }
  run.tail_guarded = false;
  return true;
}

// Runs that are hidden, wherever they are.
constinit std::atomic<uint32_t> hidden_runs{0};

size_t PagesOf(const Run& run) { return run.page_bytes / prim::PageSize(); }

// Whether there is time to guard one more.
bool AdmitsGuard(const Run& run, uint64_t now_ms) {
  return !heap_constants->options.hold_by_rate || guard_budget.Spend(PagesOf(run), now_ms);
}

void SetGuarded(Run& run) {
  run.hold = RunHold::kGuarded;
  run.arena->NoteEmpty(run.slices);
}

// Hidden up to now. Returns: false when it still is.
bool Guard(Run& run) {
  if (!run.arena->pages().GuardHidden(Pointer(run.pages), run.page_bytes)) return false;
  hidden_runs.fetch_sub(1, std::memory_order_relaxed);
  SetGuarded(run);
  return true;
}

// Whether it was cached before the fork that made this process, and others may hand it out, too.
bool IsOfParent(const Run& run) {
  return heap_constants->options.delay_runs && run.generation != heap_state.generation();
}

// A list by Run::next that nobody else can reach any more.
void ReleaseList(Run* list, uint64_t now_ms) {
  while (list != nullptr) {
    Run* run = list;
    list = run->next;
    ReleaseRun(*run, now_ms);
  }
}

}  // namespace

// Makes a run's data accessible. Returns: false when it is not.
bool Unhold(Run& run) {
  prim::PageSource& pages = run.arena->pages();
  if (run.hold == RunHold::kHidden) {
    if (!pages.Show(Pointer(run.pages), run.page_bytes)) return false;
    hidden_runs.fetch_sub(1, std::memory_order_relaxed);
  } else {
    if (!pages.RemoveGuard(Pointer(run.pages), run.page_bytes, prim::GuardChange::kWhole)) {
      return false;
    }
    run.arena->NoteEmpty(-int64_t{run.slices});
    run.contents = RunContents::kZero;
  }
  run.hold = RunHold::kNone;
  return true;
}

void ReleaseRun(Run& run, uint64_t now_ms) {
  Arena& arena = *run.arena;
  prim::PageSource& pages = arena.pages();
  SliceDescriptor& slice = arena.SliceAt(run.data);
  slice.released = true;
  const bool was_guarded =
      run.hold == RunHold::kGuarded && run.front_guarded && run.tail_guarded && !run.moved;
  const bool unguarded =
      (run.hold == RunHold::kNone || Unhold(run)) && RemoveTailGuard(run) &&
      (!run.front_guarded || pages.RemoveGuard(Pointer(SpanStart(run)), run.pages - SpanStart(run),
                                               prim::GuardChange::kWhole));
  const bool renewed = !run.lost && (!run.moved || pages.Renew(Pointer(run.pages), run.page_bytes));
  const uint32_t first = run.first_slice;
  if (run.trace != nullptr && heap_constants->options.plug.forget_trace != nullptr) {
    heap_constants->options.plug.forget_trace(run.trace);
  }
  run.metadata_arena->FreeMetadata(&run, sizeof(Run));
  // A span whose guards cannot be taken away is never used again.
  if (unguarded && renewed) arena.FreeSpan(first, /*dirty=*/!was_guarded, now_ms);
}

constinit prim::Replaceable<HeldRuns> held_runs;
constinit prim::Replaceable<HeldRuns> held_traced_runs;
constinit prim::Replaceable<RunCache> run_cache;

void RunQueue::Append(Run& run) {
  run.next = nullptr;
  (newest == nullptr ? oldest : newest->next) = &run;
  newest = &run;
  bytes += run.page_bytes;
  ++count;
}

Run* RunQueue::TakeOldest() {
  Run* run = oldest;
  oldest = run->next;
  if (oldest == nullptr) newest = nullptr;
  bytes -= run->page_bytes;
  --count;
  return run;
}

namespace {

// To those of a list that leave, which is in the order of their age.
void LeaveHeld(Run* leaving, uint64_t now_ms) {
  while (leaving != nullptr) {
    Run* out = leaving;
    leaving = out->next;
    // Its guards stay, and its data is held until it is handed out.
    const bool kept =
        out->trace != nullptr ? guarded_places->Put(*out) : run_cache->Put(*out, now_ms);
    if (!kept) ReleaseRun(*out, now_ms);
  }
}

}  // namespace

bool HeldRuns::Hide(Run& run, size_t limit_bytes, uint64_t now_ms) {
  const size_t most_bytes = std::min(kHiddenBytes, limit_bytes / 4);
  if (run.lost || run.moved || run.page_bytes > std::min(kLargestHidden, most_bytes) ||
      hidden_runs.load(std::memory_order_relaxed) >= kMostHidden ||
      !run.arena->pages().Hide(Pointer(run.pages), run.page_bytes)) {
    return false;
  }
  run.hold = RunHold::kHidden;
  run.freed_ms = now_ms;
  hidden_runs.fetch_add(1, std::memory_order_relaxed);
  RunQueue leaving;
  {
    const prim::LockGuard guard(lock_);
    hidden_.Append(run);
    while (hidden_.bytes > most_bytes || hidden_.count > kHiddenRuns) {
      leaving.Append(*hidden_.TakeOldest());
    }
  }
  while (leaving.oldest != nullptr) {
    Run* out = leaving.TakeOldest();
    out->next = nullptr;
    if (AdmitsGuard(*out, now_ms) && Guard(*out)) {
      Keep(*out, limit_bytes, now_ms);
    } else {
      LeaveHeld(out, now_ms);
    }
  }
  return true;
}

bool HeldRuns::Hold(Run& run, size_t limit_bytes, uint64_t now_ms) {
  if (run.lost || run.page_bytes > limit_bytes) return false;
  if (!run.arena->pages().InstallGuard(Pointer(run.pages), run.page_bytes,
                                       prim::GuardChange::kWhole)) {
    return false;
  }
  SetGuarded(run);
  Keep(run, limit_bytes, now_ms);
  return true;
}

void HeldRuns::Keep(Run& run, size_t limit_bytes, uint64_t now_ms) {
  RunQueue leaving;
  {
    const prim::LockGuard guard(lock_);
    guarded_.Append(run);
    while (guarded_.bytes > limit_bytes) leaving.Append(*guarded_.TakeOldest());
  }
  LeaveHeld(leaving.oldest, now_ms);
}

void HeldRuns::Age(uint64_t now_ms, uint64_t delay_ms) {
  RunQueue aged;
  {
    const prim::LockGuard guard(lock_);
    while (hidden_.oldest != nullptr && now_ms - hidden_.oldest->freed_ms >= delay_ms) {
      aged.Append(*hidden_.TakeOldest());
    }
  }
  while (aged.oldest != nullptr) {
    Run* run = aged.TakeOldest();
    if (Guard(*run)) {
      Keep(*run, heap_constants->options.run_hold_bytes, now_ms);
    } else {
      run->next = nullptr;
      LeaveHeld(run, now_ms);
    }
  }
}

size_t HeldRuns::ReleaseAll(uint64_t now_ms) {
  RunQueue guarded;
  RunQueue hidden;
  {
    const prim::LockGuard guard(lock_);
    std::swap(guarded, guarded_);
    std::swap(hidden, hidden_);
  }
  ReleaseList(guarded.oldest, now_ms);
  ReleaseList(hidden.oldest, now_ms);
  return guarded.bytes + hidden.bytes;
}

size_t ReleaseHeldRuns(uint64_t now_ms) {
  return held_runs->ReleaseAll(now_ms) + held_traced_runs->ReleaseAll(now_ms) +
         guarded_places->ReleaseAll(now_ms);
}

bool ReleaseReserves() {
  if (prim::IsStrictThread()) return false;
  const uint64_t now = prim::CoarseMilliseconds();
  const size_t held = ReleaseHeldRuns(now);
  const size_t cached = run_cache->Purge(now, 0);
  return cached + held + heap_state.Purge(now, /*force=*/true) > 0;
}

ABSL_ATTRIBUTE_ALWAYS_INLINE inline Run* RunCache::TakeFirst(uint32_t slices,
                                                             prim::RandomStream& random) {
  Places& places = first_[slices % kFirst];
  unsigned at = 0;
  if (heap_constants->options.delay_runs) {
    if (!places.AllTaken()) return nullptr;
    at = random.Next16() % kPlaces;
    for (unsigned tries = kPlaces; !places.Look(at).Fits(slices); at = (at + 1) % kPlaces) {
      if (--tries == 0) return nullptr;
    }
    places.free_place.store(static_cast<uint8_t>(at), std::memory_order_relaxed);
  } else if (!places.Look(at).Fits(slices)) {
    return nullptr;
  }
  // Pairs with the release in PutFirst(): whoever gets a run sees it whole.
  const Entry entry = places.runs[at].exchange(Entry(), std::memory_order_acq_rel);
  if (entry.Fits(slices)) [[likely]]
    return entry.run();
  if (!entry.empty()) PutFirst(*entry.run());
  return nullptr;
}

ABSL_ATTRIBUTE_ALWAYS_INLINE inline Run* RunCache::Take(uint32_t slices,
                                                        prim::RandomStream& random) {
  Run* run = TakeFirst(slices, random);
  if (run != nullptr) [[likely]] {
    if (!IsOfParent(*run)) [[likely]]
      return run;
    ReleaseRun(*run, run->freed_ms);
  }
  return bytes_.load(std::memory_order_relaxed) == 0 ? nullptr : TakeBehind(slices);
}

Run* RunCache::TakeBehind(uint32_t slices) {
  const prim::LockGuard guard(lock_);
  for (Run** link = &buckets_[slices % kBuckets]; *link != nullptr; link = &(*link)->next) {
    if ((*link)->slices == slices && MayLeave(**link)) return Unlink(link);
  }
  return nullptr;
}

Run* RunCache::TakeBestFit(uint32_t slices, uint32_t most) {
  if (bytes_.load(std::memory_order_relaxed) == 0) return nullptr;
  const prim::LockGuard guard(lock_);
  Run** best = nullptr;
  for (Run*& head : buckets_) {
    for (Run** link = &head; *link != nullptr; link = &(*link)->next) {
      const uint32_t found = (*link)->slices;
      if (found < slices || found > most || (best != nullptr && found >= (*best)->slices)) continue;
      if (MayLeave(**link)) best = link;
    }
  }
  return best == nullptr ? nullptr : Unlink(best);
}

bool RunCache::MayLeave(const Run& run) const {
  if (IsOfParent(run)) return false;
  // The memory of two of the greatest would be too much to keep.
  return &run != newest_ || !heap_constants->options.delay_runs ||
         run.page_bytes > heap_constants->options.run_cache_bytes / kDelayedShare;
}

Run* RunCache::Unlink(Run** link) {
  Run* run = *link;
  *link = run->next;
  if (run == newest_) newest_ = nullptr;
  bytes_.store(bytes_.load(std::memory_order_relaxed) - run->page_bytes, std::memory_order_relaxed);
  return run;
}

ABSL_ATTRIBUTE_ALWAYS_INLINE inline void RunCache::PutFirst(Run& run) {
  Places& places = first_[run.slices % kFirst];
  const Entry entry(run);
  const Entry before = heap_constants->options.delay_runs
                           ? places.PutIntoFree(entry)
                           : places.runs[0].exchange(entry, std::memory_order_acq_rel);
  if (!before.empty()) GoBehind(*before.run());
}

RunCache::Entry RunCache::Places::PutIntoFree(Entry entry) {
  unsigned at = free_place.load(std::memory_order_relaxed);
  for (unsigned tries = kPlaces; tries > 0; --tries, at = (at + 1) % kPlaces) {
    Entry none;
    if (Look(at).empty() && runs[at].compare_exchange_strong(none, entry, std::memory_order_acq_rel,
                                                             std::memory_order_relaxed)) {
      return none;
    }
  }
  // Which one has to go need not be a secret, but not always the same.
  at = (reinterpret_cast<uintptr_t>(entry.run()) >> 6) % kPlaces;
  return runs[at].exchange(entry, std::memory_order_acq_rel);
}

void RunCache::GoBehind(Run& run) {
  if (!PutBehind(run)) ReleaseRun(run, run.freed_ms);
}

bool RunCache::PutBehind(Run& run) {
  const prim::LockGuard guard(lock_);
  const size_t bytes = bytes_.load(std::memory_order_relaxed) + run.page_bytes;
  if (bytes > heap_constants->options.run_cache_bytes / 2) return false;
  Run*& head = buckets_[run.slices % kBuckets];
  run.next = head;
  head = &run;
  newest_ = &run;
  bytes_.store(bytes, std::memory_order_relaxed);
  return true;
}

bool RunCache::Put(Run& run, uint64_t now_ms) {
  if (run.trace != nullptr || run.moved || run.lost) return false;
  run.freed_ms = now_ms;
  const CoreOptions& options = heap_constants->options;
  unsigned shift = std::countr_zero(2 * kFirst);
  if (options.delay_runs) {
    run.generation = heap_state.generation();
    shift = std::countr_zero(2 * kFirst * kPlaces);
  }
  if (run.page_bytes > options.run_cache_bytes >> shift) return PutBehind(run);
  PutFirst(run);
  return true;
}

size_t RunCache::Purge(uint64_t now_ms, uint64_t delay_ms) {
  Run* leaving = nullptr;
  size_t bytes = 0;
  const auto leave = [&](Run* run) {
    bytes += run->page_bytes;
    run->next = leaving;
    leaving = run;
  };
  for (Places& places : first_) {
    for (std::atomic<Entry>& place : places.runs) {
      if (place.load(std::memory_order_relaxed).empty()) continue;
      const Entry entry = place.exchange(Entry(), std::memory_order_acq_rel);
      if (entry.empty()) continue;
      if (now_ms - entry.run()->freed_ms >= delay_ms) {
        leave(entry.run());
      } else {
        PutFirst(*entry.run());
      }
    }
  }
  if (bytes_.load(std::memory_order_relaxed) != 0) {
    const prim::LockGuard guard(lock_);
    size_t left = bytes_.load(std::memory_order_relaxed);
    for (Run*& head : buckets_) {
      for (Run** link = &head; *link != nullptr;) {
        Run* run = *link;
        if (now_ms - run->freed_ms < delay_ms) {
          link = &run->next;
          continue;
        }
        *link = run->next;
        if (run == newest_) newest_ = nullptr;
        left -= run->page_bytes;
        leave(run);
      }
    }
    bytes_.store(left, std::memory_order_relaxed);
  }
  ReleaseList(leaving, now_ms);
  return bytes;
}

namespace {

// Whether the last guard was refused (for locked pages, say): a gap would then be memory.
constinit std::atomic<bool> guards_refused{false};

// Slices that come with a run for the sake of its place.
size_t GapSlices() {
  if (guards_refused.load(std::memory_order_relaxed)) return 0;
  // There it counts as memory, too.
  if (prim::linux_page_source.rationed()) return 0;
  return heap_constants->options.run_gap_slices;
}

size_t SlicesFor(size_t bytes) { return (bytes + kSliceSize - 1) >> kSliceShift; }

// How a request is laid out in slices.
struct RunLayout {
  size_t page_bytes;
  size_t front;   // bytes kept in front of the data, at least
  size_t gap;     // slices more than are needed
  size_t exact;   // slices that gap, front, data and the least guard behind take
  size_t slices;  // of the span
  bool by_slices;

  bool fine() const { return slices - gap <= kFineSlices; }
};

ABSL_ATTRIBUTE_ALWAYS_INLINE inline RunLayout LayOut(size_t bytes, size_t alignment, size_t gap,
                                                     size_t page) {
  RunLayout layout;
  layout.page_bytes = prim::RoundUp(bytes == 0 ? 1 : bytes, page);
  // Up to a slice the alignment is found within the first slices; beyond, the span is placed so
  // that its second slice is aligned, and the first is the guard in front.
  layout.by_slices = alignment > kSliceSize;
  layout.front = layout.by_slices ? kSliceSize : alignment > page ? alignment : page;
  const size_t total = layout.page_bytes + layout.front + page;
  size_t slices = SlicesFor(total);
  layout.gap = layout.by_slices ? 0 : gap;
  layout.exact = slices + layout.gap;
  if (slices > kFineSlices) {
    // Eight sizes to each doubling.
    const unsigned shift = static_cast<unsigned>(std::bit_width(slices - 1)) - 4;
    slices = RoundUpTo(slices, size_t{1} << (shift < kCoarsestShift ? shift : kCoarsestShift));
  }
  layout.slices = slices + layout.gap;
  return layout;
}

bool ResizePages(Run& run, size_t bytes);

// Of pages that were hidden. Where guards were refused, what is added to them may hold anything.
void Clear(Run& run, size_t bytes) {
  std::memset(Pointer(run.pages), 0, bytes);
  run.contents = run.tail_guarded ? RunContents::kZero : RunContents::kOld;
}

// Makes a run from the cache one of `page_bytes`. Returns: null when it cannot be; it has gone
// then.
ABSL_ATTRIBUTE_NOINLINE Run* Refit(Run& run, size_t page_bytes) {
  const bool hidden = run.hold == RunHold::kHidden;
  const bool accessible = run.hold == RunHold::kNone || Unhold(run);
  // Below the rate at which all are held, what others wrote is not handed out.
  if (hidden && accessible) Clear(run, std::min(run.page_bytes, page_bytes));
  if (accessible && run.page_bytes == page_bytes) return &run;
  if (run.data != run.pages) {
    // From the start of its pages, wherever its data was.
    run.arena->SliceAt(run.data).released = true;
    run.data = run.pages;
    Describe(run);
  }
  if (accessible && run.pages + page_bytes + prim::PageSize() <= SpanEnd(run) &&
      ResizePages(run, page_bytes) && run.page_bytes == page_bytes) {
    return &run;
  }
  ReleaseRun(run, run.freed_ms);
  return nullptr;
}

// A cached run with the size that is asked for; null when there is none.
Run* TakeFitting(const RunLayout& layout, prim::RandomStream& random) {
  const uint32_t slices = static_cast<uint32_t>(layout.slices);
  Run* run = run_cache->Take(slices, random);
  // A long run that is cut gives its end back; new memory would cost a fault for each page.
  if (run == nullptr && !layout.fine()) run = run_cache->TakeBestFit(slices, 2 * slices);
  return run == nullptr ? nullptr : Refit(*run, layout.page_bytes);
}

// Bytes in front of the data: a random number where the level says so.
size_t DrawFront(const RunLayout& layout, size_t alignment, prim::RandomStream& random) {
  if (layout.by_slices || !heap_constants->options.random_run_guards) return layout.front;
  const size_t page = prim::PageSize();
  const size_t step = alignment > page ? alignment : page;
  const size_t spare = (layout.exact << kSliceShift) - layout.front - layout.page_bytes - page;
  return layout.front + step * random.Below(static_cast<uint32_t>(spare / step) + 1);
}

// A run without guards.
Run* PlaceRun(ThreadHeap& heap, const RunLayout& layout, size_t alignment) {
  const ArenaSpan span =
      heap.AllocateSpan(SpanPurpose::kRuns, static_cast<uint32_t>(layout.slices),
                        layout.by_slices ? static_cast<uint32_t>(alignment >> kSliceShift) : 1,
                        layout.by_slices ? 1 : 0);
  if (span.arena == nullptr) return nullptr;
  Arena* metadata_arena = nullptr;
  Run* run = static_cast<Run*>(heap_state.AllocateMetadata(sizeof(Run), &metadata_arena));
  if (run == nullptr) {
    span.arena->FreeSpan(span.first, !span.zero, prim::CoarseMilliseconds());
    return nullptr;
  }
  run->beside_record.store(heap.random().Next16(), std::memory_order_relaxed);
  run->contents = span.zero ? RunContents::kShouldBeZero : RunContents::kOld;
  run->arena = span.arena;
  run->metadata_arena = metadata_arena;
  run->first_slice = span.first;
  run->slices = static_cast<uint32_t>(layout.slices);
  run->page_bytes = layout.page_bytes;
  SetSignposts(*run);
  run->pages = SpanStart(*run) + DrawFront(layout, alignment, heap.random());
  return run;
}

void GuardRun(Run* run) {
  const uintptr_t start = SpanStart(*run);
  run->front_guarded = run->arena->pages().InstallGuard(Pointer(start), run->pages - start,
                                                        prim::GuardChange::kWhole);
  if (guards_refused.load(std::memory_order_relaxed) == run->front_guarded) {
    guards_refused.store(!run->front_guarded, std::memory_order_relaxed);
  }
  InstallTailGuard(*run);
}

Run* MakeRun(ThreadHeap& heap, const RunLayout& layout, size_t alignment) {
  Run* run = PlaceRun(heap, layout, alignment);
  if (run != nullptr) GuardRun(run);
  return run;
}

// Makes a run, or one from the cache, what was asked for.
ABSL_ATTRIBUTE_ALWAYS_INLINE inline Run* Finish(ThreadHeap& heap, Run* run, bool fresh,
                                                size_t bytes, size_t alignment,
                                                RunPlacement placement) {
  const uintptr_t data = PlaceData(*run, bytes, alignment, placement);
  if (fresh || data != run->data) {
    // End-aligned data may start in another slice than before.
    if (!fresh) run->arena->SliceAt(run->data).released = true;
    run->data = data;
    Describe(*run);
  }
  run->record.store(kFreedRecord, std::memory_order_relaxed);
  run->requested = bytes;
  run->alignment_shift = static_cast<uint8_t>(std::countr_zero(alignment));
  run->thread_id = heap.thread_id();
  heap.CountRun(1, 1, static_cast<int64_t>(run->page_bytes));
  return run;
}

ABSL_ATTRIBUTE_NOINLINE Run* AllocateUnusual(ThreadHeap& heap, size_t bytes, size_t alignment,
                                             RunPlacement placement) {
  if (bytes > PTRDIFF_MAX || alignment > PTRDIFF_MAX) return nullptr;
  prim::linux_page_source.LookAtLimitsOnce();
  const bool by_level = IsByLevel(placement);
  const size_t page = prim::PageSize();
  RunLayout layout = LayOut(bytes, alignment, by_level ? GapSlices() : 0, page);
  if (layout.slices > UINT32_MAX / 4 || alignment >> kSliceShift > UINT32_MAX / 4) return nullptr;
  // Nothing lies on the guard behind its page, which ends where the alignment says.
  if (bytes == 0 && placement == RunPlacement::kEnd && alignment > page) layout.front -= page;
  // Those of a few slices were looked for.
  const bool cacheable = alignment <= page && by_level && (!layout.fine() || bytes == 0);
  Run* run = cacheable ? TakeFitting(layout, heap.random()) : nullptr;
  const bool fresh = run == nullptr;
  if (fresh) run = MakeRun(heap, layout, alignment);
  if (run == nullptr && layout.gap > 0) {
    layout = LayOut(bytes, alignment, 0, page);
    run = MakeRun(heap, layout, alignment);
  }
  return run == nullptr ? nullptr : Finish(heap, run, fresh, bytes, alignment, placement);
}

}  // namespace

Run* AllocateRun(ThreadHeap& heap, size_t bytes, size_t alignment, RunPlacement placement) {
  const size_t page = prim::PageSize();
  // Of a few slices, wherever in them, one that was freed and has this very size.
  if (bytes - 1 < (kFineSlices << kSliceShift) - 2 * page && alignment <= page &&
      IsByLevel(placement)) [[likely]] {
    const size_t page_bytes = prim::RoundUp(bytes, page);
    const size_t slices = SlicesFor(page_bytes + 2 * page) + GapSlices();
    Run* run = run_cache->Take(static_cast<uint32_t>(slices), heap.random());
    if (run != nullptr && (run->hold != RunHold::kNone || run->page_bytes != page_bytes))
        [[unlikely]]
      run = Refit(*run, page_bytes);
    if (run != nullptr) [[likely]]
      return Finish(heap, run, /*fresh=*/false, bytes, alignment, placement);
  }
  return AllocateUnusual(heap, bytes, alignment, placement);
}

namespace {

// Holds a run, or where the level says so and much is freed, perhaps. Returns: whether it is held.
ABSL_ATTRIBUTE_NOINLINE bool HoldRun(Run& run, ThreadHeap* heap, size_t hold_bytes,
                                     uint64_t now_ms) {
  // A thread that can make no guard keeps runs as they are.
  if (prim::IsStrictThread()) return false;
  // What is kept counts against a limit.
  const bool rationed = prim::linux_page_source.rationed();
  if (rationed) hold_bytes = std::min(hold_bytes, kRationedHoldBytes);
  if (run.trace != nullptr) return held_traced_runs->Hold(run, hold_bytes, now_ms);
  if (rationed) return held_runs->Hold(run, hold_bytes, now_ms);
  const size_t pages = PagesOf(run);
  const bool small = run.page_bytes <= kLargestHidden;
  if (heap_constants->options.hold_by_rate) {
    const uint16_t random = heap != nullptr ? heap->random().Next16() : 0;
    if (!(small ? hide_budget.Admit(pages + kHideCost, now_ms, random)
                : guard_budget.Admit(pages, now_ms, random))) {
      return false;
    }
    if (!small) return held_runs->Hold(run, hold_bytes, now_ms);
  }
  return held_runs->Hide(run, hold_bytes, now_ms) ||
         (AdmitsGuard(run, now_ms) && held_runs->Hold(run, hold_bytes, now_ms));
}

// Makes some places for samples. Returns: one of them, or null.
Run* MakePlaces(ThreadHeap& heap) {
  const size_t page = prim::PageSize();
  const RunLayout layout = LayOut(page, page, /*gap=*/0, page);
  std::array<Run*, GuardedPlaces::kBatch> runs;
  std::array<prim::PageRange, 2 * GuardedPlaces::kBatch> guards;
  static_assert(guards.size() <= prim::LinuxPageSource::kMostRanges);
  const uint32_t wanted = guarded_places->NextBatch();
  uint32_t made = 0;
  for (; made < wanted; ++made) {
    Run* run = PlaceRun(heap, layout, page);
    if (run == nullptr) break;
    runs[made] = run;
    const uintptr_t start = SpanStart(*run);
    guards[2 * made] = {Pointer(start), run->pages - start};
    guards[2 * made + 1] = {Pointer(DataEnd(*run)), SpanEnd(*run) - DataEnd(*run)};
  }
  if (made == 0) return nullptr;
  const bool guarded = prim::linux_page_source.InstallGuards(std::span(guards).first(2 * made));
  for (Run* run : std::span(runs).first(made)) {
    run->data = run->pages;
    Describe(*run);
    if (guarded) {
      run->front_guarded = run->tail_guarded = true;
    } else {
      GuardRun(run);
    }
  }
  for (Run* run : std::span(runs).subspan(1, made - 1)) {
    if (!guarded_places->Put(*run)) ReleaseRun(*run, prim::CoarseMilliseconds());
  }
  return runs[0];
}

}  // namespace

Run* AllocateSampleRun(ThreadHeap& heap, size_t bytes, size_t alignment, RunPlacement placement) {
  const size_t page = prim::PageSize();
  if (bytes == 0 || bytes > page || alignment > page) {
    return AllocateRun(heap, bytes, alignment, placement);
  }
  prim::linux_page_source.LookAtLimitsOnce();
  Run* run = guarded_places->Take(heap.random(), GuardedPlaces::kBatch);
  if (run == nullptr) run = MakePlaces(heap);
  if (run == nullptr) run = guarded_places->Take(heap.random(), 1);
  if (run == nullptr) return nullptr;
  return Finish(heap, run, /*fresh=*/true, bytes, alignment, placement);
}

void FreeRun(Run& run, size_t hold_bytes) {
  ThreadHeap* const heap = HasHeap() ? static_cast<ThreadHeap*>(current_heap) : nullptr;
  const int64_t bytes = static_cast<int64_t>(run.page_bytes);
  heap != nullptr ? heap->CountRun(0, -1, -bytes) : heap_registry.CountRun(0, -1, -bytes);
  run.contents = RunContents::kOld;
  const uint64_t now = prim::CoarseMilliseconds();
  // Nothing is cached that is not given up for what the program itself maps.
  const bool kept = (hold_bytes > 0 && HoldRun(run, heap, hold_bytes, now)) ||
                    (!prim::linux_page_source.rationed() && run_cache->Put(run, now));
  if (!kept) ReleaseRun(run, now);
  if (heap != nullptr) heap->Housekeep(now);
}

void ClearRun(Run& run, size_t bytes) {
  if (run.contents == RunContents::kZero) return;
  if ((run.contents == RunContents::kShouldBeZero || run.page_bytes >= kDropThreshold) &&
      run.arena->pages().Drop(Pointer(run.pages), run.page_bytes)) {
    return;
  }
  std::memset(Pointer(run.data), 0, bytes);
}

namespace {

bool ResizePages(Run& run, size_t bytes) {
  const size_t page = prim::PageSize();
  const size_t lead = run.data - run.pages;
  if (bytes == 0 || bytes > PTRDIFF_MAX - lead - page) return false;
  const size_t wanted = prim::RoundUp(lead + bytes, page);
  prim::PageSource& pages = run.arena->pages();
  if (wanted < run.page_bytes) {
    const uintptr_t new_end = run.pages + wanted;
    const uintptr_t old_end = DataEnd(run);
    const uint32_t needed =
        static_cast<uint32_t>((new_end + page - SpanStart(run) + kSliceSize - 1) >> kSliceShift);
    if ((old_end - new_end) >> kSliceShift >= kTrimSlices && !run.moved && RemoveTailGuard(run)) {
      run.arena->TrimSpan(run.first_slice, needed, /*dirty=*/true, prim::CoarseMilliseconds());
      run.slices = needed;
      run.page_bytes = wanted;
      InstallTailGuard(run);
    } else {
      // The guard grows over what is given back.
      if (!run.tail_guarded ||
          !pages.InstallGuard(Pointer(new_end), old_end - new_end, prim::GuardChange::kPart)) {
        pages.Drop(Pointer(new_end), old_end - new_end);
        return true;
      }
      run.page_bytes = wanted;
    }
  } else if (wanted > run.page_bytes) {
    uintptr_t span_end = SpanEnd(run);
    const uintptr_t new_end = run.pages + wanted;
    if (new_end + page > span_end) {
      const size_t slices = (new_end + page - SpanStart(run) + kSliceSize - 1) >> kSliceShift;
      bool zero;
      if (slices > UINT32_MAX / 4 ||
          !run.arena->ExtendSpan(run.first_slice, static_cast<uint32_t>(slices), &zero)) {
        return false;
      }
      // The old guard ends where the span ended; the rest of the new space is not guarded yet.
      const bool guarded = run.tail_guarded;
      if (guarded && !pages.RemoveGuard(Pointer(DataEnd(run)), span_end - DataEnd(run),
                                        prim::GuardChange::kWhole)) {
        run.arena->TrimSpan(run.first_slice, run.slices, /*dirty=*/true,
                            prim::CoarseMilliseconds());
        return false;
      }
      run.slices = static_cast<uint32_t>(slices);
      run.page_bytes = wanted;
      SetSignposts(run);
      InstallTailGuard(run);
    } else {
      if (run.tail_guarded && !pages.RemoveGuard(Pointer(DataEnd(run)), new_end - DataEnd(run),
                                                 prim::GuardChange::kPart)) {
        return false;
      }
      run.page_bytes = wanted;
    }
  }
  return true;
}

}  // namespace

bool ResizeRun(Run& run, size_t bytes) {
  const size_t before = run.page_bytes;
  if (!ResizePages(run, bytes)) return false;
  run.requested = bytes;
  heap_registry.CountRun(0, 0, static_cast<int64_t>(run.page_bytes - before));
  return true;
}

MoveResult MoveRunContents(Run& from, Run& to, size_t bytes) {
  // A moved run consists of several mappings of the kernel, which it moves one at a time.
  if (bytes < kMoveThreshold || from.moved || from.data != from.pages || to.data != to.pages) {
    return MoveResult::kCopy;
  }
  const size_t moved = prim::RoundUp(bytes, prim::PageSize());
  if (moved > from.page_bytes || moved > to.page_bytes) return MoveResult::kCopy;
  if (from.arena->pages().MovePages(Pointer(from.pages), Pointer(to.pages), moved)) {
    from.moved = to.moved = true;
    return MoveResult::kMoved;
  }
  // The kernel unmaps the target before it looks at the source.
  if (to.arena->pages().Renew(Pointer(to.pages), moved)) return MoveResult::kCopy;
  to.lost = true;
  return MoveResult::kLost;
}

}  // namespace hardened::core
