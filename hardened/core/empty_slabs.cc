#include "hardened/core/empty_slabs.h"

#include "hardened/prim/check.h"

namespace hardened::core {
namespace {

ArenaSpan SpanOf(const SliceDescriptor* slice) {
  for (uint32_t i = 0; i < heap_state.arena_count(); ++i) {
    Arena& arena = heap_state.arena(i);
    if (slice < arena.slices() || slice >= arena.slices() + arena.grown_slices()) continue;
    return {&arena, static_cast<uint32_t>(slice - arena.slices()), /*zero=*/true};
  }
  HARDENED_CHECK(false);
  return {};
}

}  // namespace

constinit prim::Replaceable<EmptySlabs> empty_slabs;

void EmptySlabs::ForgetDirty(Slab& slab) {
  if (!slab.dirty) return;
  slab.dirty = false;
  dirty_bytes_.store(dirty_bytes_.load(std::memory_order_relaxed) - slab.span_bytes(),
                     std::memory_order_relaxed);
}

bool EmptySlabs::Dissolve(Slab& slab) {
  ForgetDirty(slab);
  // Refused: the slots keep their records.
  const uint32_t slices = static_cast<uint32_t>(slab.span_bytes() >> kSliceShift);
  if (!slab.arena().DropUsed(slab.first_slice(), slices)) return false;
  SliceDescriptor& first = slab.arena().slices()[slab.first_slice()];
  const SizeClass size_class = slab.size_class();
  FreeSlabMetadata(slab);
  AddSpan(first, size_class);
  return true;
}

// A free of a slot that was just freed may have seen the slab in use, and go on to its records:
// what lies in their place now must be no address.
void EmptySlabs::AddSpan(SliceDescriptor& first, SizeClass size_class) {
  first.waiting = ~reinterpret_cast<uint64_t>(spans_[size_class]);
  spans_[size_class] = &first;
}

void EmptySlabs::Put(Slab& slab, uint64_t now_ms, const PurgePolicy& policy) {
  const prim::LockGuard guard(lock_);
  const size_t dirty = dirty_bytes_.load(std::memory_order_relaxed) + slab.span_bytes();
  dirty_bytes_.store(dirty, std::memory_order_relaxed);
  slab.dirty = true;
  slab.emptied_ms = now_ms;
  if (dirty > policy.dirty_limit_bytes && Dissolve(slab)) return;
  Slab*& head = heads_[slab.size_class()];
  slab.next = head;
  head = &slab;
}

Slab* EmptySlabs::Take(SizeClass size_class) {
  const prim::LockGuard guard(lock_);
  Slab* slab = heads_[size_class];
  if (slab == nullptr) return nullptr;
  heads_[size_class] = slab->next;
  slab->next = nullptr;
  ForgetDirty(*slab);
  return slab;
}

ArenaSpan EmptySlabs::TakeSpan(SizeClass size_class) {
  const prim::LockGuard guard(lock_);
  SliceDescriptor* const first = spans_[size_class];
  if (first == nullptr) return {};
  const ArenaSpan span = SpanOf(first);
  if (!span.arena->MakeUsable(span.first, SlabSlices(size_class))) return {};
  spans_[size_class] = reinterpret_cast<SliceDescriptor*>(~first->waiting);
  return span;
}

void EmptySlabs::PutSpan(const ArenaSpan& span, SizeClass size_class) {
  const prim::LockGuard guard(lock_);
  AddSpan(span.arena->slices()[span.first], size_class);
}

size_t EmptySlabs::Purge(uint64_t now_ms, bool force, const PurgePolicy& policy) {
  if (dirty_bytes_.load(std::memory_order_relaxed) == 0) return 0;
  const prim::LockGuard guard(lock_);
  size_t purged = 0;
  uint32_t calls = force ? UINT32_MAX : policy.calls_per_pass;
  for (Slab*& head : heads_) {
    for (Slab** link = &head; *link != nullptr && calls > 0;) {
      Slab& slab = **link;
      Slab* const next = slab.next;
      const size_t bytes = slab.span_bytes();
      if (!slab.dirty || (!force && now_ms - slab.emptied_ms < policy.delay_ms)) {
        link = &slab.next;
        continue;
      }
      --calls;
      if (Dissolve(slab)) {
        *link = next;
        purged += bytes;
      } else {
        link = &slab.next;
      }
    }
  }
  return purged;
}

}  // namespace hardened::core
