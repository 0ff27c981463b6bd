#include "hardened/core/empty_slabs.h"

namespace hardened::core {
namespace {

size_t BytesOf(const Slab& slab) { return SlabSlices(slab.size_class()) * kSliceSize; }

}  // namespace

constinit EmptySlabs empty_slabs;

size_t EmptySlabs::Drop(Slab& slab) {
  const size_t bytes = BytesOf(slab);
  dirty_bytes_.store(dirty_bytes_.load(std::memory_order_relaxed) - bytes,
                     std::memory_order_relaxed);
  slab.dirty = false;
  // Refused for locked pages: they stay as they are, and their slots keep their records.
  return slab.arena().pages().Drop(reinterpret_cast<void*>(slab.base()), bytes) ? bytes : 0;
}

void EmptySlabs::Put(Slab& slab, uint64_t now_ms, const PurgePolicy& policy) {
  const prim::LockGuard guard(lock_);
  Slab*& head = heads_[slab.size_class()];
  slab.next = head;
  head = &slab;
  slab.dirty = true;
  slab.emptied_ms = now_ms;
  dirty_bytes_.store(dirty_bytes_.load(std::memory_order_relaxed) + BytesOf(slab),
                     std::memory_order_relaxed);
  if (dirty_bytes_.load(std::memory_order_relaxed) > policy.dirty_limit_bytes) Drop(slab);
}

Slab* EmptySlabs::Take(SizeClass size_class) {
  const prim::LockGuard guard(lock_);
  Slab* slab = heads_[size_class];
  if (slab == nullptr) return nullptr;
  heads_[size_class] = slab->next;
  slab->next = nullptr;
  if (slab->dirty) {
    dirty_bytes_.store(dirty_bytes_.load(std::memory_order_relaxed) - BytesOf(*slab),
                       std::memory_order_relaxed);
  }
  return slab;
}

size_t EmptySlabs::Purge(uint64_t now_ms, bool force, const PurgePolicy& policy) {
  if (dirty_bytes_.load(std::memory_order_relaxed) == 0) return 0;
  const prim::LockGuard guard(lock_);
  size_t purged = 0;
  uint32_t calls = force ? UINT32_MAX : policy.calls_per_pass;
  for (Slab* head : heads_) {
    for (Slab* slab = head; slab != nullptr && calls > 0; slab = slab->next) {
      if (!slab->dirty || (!force && now_ms - slab->emptied_ms < policy.delay_ms)) continue;
      purged += Drop(*slab);
      --calls;
    }
  }
  return purged;
}

}  // namespace hardened::core
