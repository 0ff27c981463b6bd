#include "hardened/core/guarded_places.h"

#include <algorithm>
#include <span>
#include <utility>

#include "hardened/core/heap_state.h"
#include "hardened/prim/page_source.h"
#include "hardened/prim/system_info.h"

namespace hardened::core {

constinit prim::Replaceable<GuardedPlaces> guarded_places;

Run* GuardedPlaces::Take(prim::RandomStream& random, uint32_t least) {
  Run* run = nullptr;
  {
    const prim::LockGuard guard(lock_);
    if (open_ == 0 && (count_ < least || count_ == 0 || !Open(random))) return nullptr;
    Run*& taken = places_[random.Below(open_)];
    run = taken;
    taken = places_[--open_];
    places_[open_] = places_[--count_];
  }
  if (run->generation == heap_state.generation()) return run;
  // After a fork: the others are known to the parent, too.
  const uint64_t now = prim::CoarseMilliseconds();
  ReleaseRun(*run, now);
  ReleaseAll(now);
  return nullptr;
}

bool GuardedPlaces::Open(prim::RandomStream& random) {
  std::array<prim::PageRange, kBatch> pages;
  uint32_t size = std::min(count_, kBatch);
  for (uint32_t i = 0; i < size; ++i) {
    std::swap(places_[i], places_[i + random.Below(count_ - i)]);
    pages[i] = {reinterpret_cast<void*>(places_[i]->pages), places_[i]->page_bytes};
  }
  if (!prim::linux_page_source.RemoveGuards(std::span(pages).first(size))) {
    // By itself, then.
    size = 1;
    if (!Unhold(*places_[0])) return false;
  }
  for (Run* run : std::span(places_).first(size)) {
    if (run->hold != RunHold::kNone) run->arena->NoteEmpty(-int64_t{run->slices});
    run->hold = RunHold::kNone;
    // Zero, but for what somebody writes to it before it is taken. A single page is cleared sooner
    // than dropped.
    run->contents = RunContents::kOld;
  }
  open_ = size;
  return true;
}

bool GuardedPlaces::Put(Run& run) {
  if (run.page_bytes != prim::PageSize() || run.slices != 1 || !run.front_guarded ||
      !run.tail_guarded || run.lost || run.moved || prim::linux_page_source.rationed()) {
    return false;
  }
  run.generation = heap_state.generation();
  const prim::LockGuard guard(lock_);
  if (count_ == kMost) return false;
  places_[count_] = &run;
  if (run.hold == RunHold::kNone) std::swap(places_[count_], places_[open_++]);
  ++count_;
  return true;
}

uint32_t GuardedPlaces::NextBatch() {
  if (prim::linux_page_source.rationed()) return 1;
  const prim::LockGuard guard(lock_);
  batch_ = std::min(2 * batch_ + 1, kBatch);
  return batch_;
}

size_t GuardedPlaces::ReleaseAll(uint64_t now_ms) {
  std::array<Run*, kMost> leaving;
  uint32_t count;
  {
    const prim::LockGuard guard(lock_);
    leaving = places_;
    count = std::exchange(count_, 0);
    open_ = 0;
  }
  for (Run* run : std::span(leaving).first(count)) ReleaseRun(*run, now_ms);
  return count * prim::PageSize();
}

}  // namespace hardened::core
