#include "hardened/core/empty_slabs.h"

#include "hardened/prim/check.h"

namespace hardened::core {
namespace {

size_t BytesOf(const Slab& slab) { return SlabSlices(slab.size_class()) * kSliceSize; }

ArenaSpan SpanOf(const SliceDescriptor* slice) {
  for (uint32_t i = 0; i < heap_state.arena_count(); ++i) {
    Arena& arena = heap_state.arena(i);
    if (slice < arena.slices() || slice >= arena.slices() + arena.committed_slices()) continue;
    return {&arena, static_cast<uint32_t>(slice - arena.slices()), /*zero=*/true};
  }
  HARDENED_CHECK(false);
  return {};
}

}  // namespace

constinit EmptySlabs empty_slabs;

void EmptySlabs::ForgetDirty(Slab& slab) {
  if (!slab.dirty) return;
  slab.dirty = false;
  dirty_bytes_.store(dirty_bytes_.load(std::memory_order_relaxed) - BytesOf(slab),
                     std::memory_order_relaxed);
}

bool EmptySlabs::Dissolve(Slab& slab) {
  ForgetDirty(slab);
  // Refused: the slots keep their records.
  if (!slab.arena().pages().Drop(reinterpret_cast<void*>(slab.base()), BytesOf(slab))) return false;
  const SizeClass size_class = slab.size_class();
  SliceDescriptor* const first = &slab.arena().slices()[slab.first_slice()];
  for (uint32_t i = 0; i < SlabSlices(size_class); ++i) {
    first[i].released = true;
    first[i].waiting = 0;
  }
  const unsigned record_shift = heap_constants->options.record_shift;
  slab.metadata_arena().FreeMetadata(&slab, Slab::MetadataBytes(size_class, record_shift));
  first->waiting = spans_[size_class];
  spans_[size_class] = reinterpret_cast<uint64_t>(first);
  return true;
}

void EmptySlabs::Put(Slab& slab, uint64_t now_ms, const PurgePolicy& policy) {
  const prim::LockGuard guard(lock_);
  const size_t dirty = dirty_bytes_.load(std::memory_order_relaxed) + BytesOf(slab);
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
  SliceDescriptor* const slice = reinterpret_cast<SliceDescriptor*>(spans_[size_class]);
  if (slice == nullptr) return {};
  spans_[size_class] = slice->waiting;
  return SpanOf(slice);
}

void EmptySlabs::PutSpan(const ArenaSpan& span, SizeClass size_class) {
  const prim::LockGuard guard(lock_);
  SliceDescriptor* const slice = &span.arena->slices()[span.first];
  slice->waiting = spans_[size_class];
  spans_[size_class] = reinterpret_cast<uint64_t>(slice);
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
      const size_t bytes = BytesOf(slab);
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
