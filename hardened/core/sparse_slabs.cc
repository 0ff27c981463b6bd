#include "hardened/core/sparse_slabs.h"

namespace hardened::core {

void SparseSlabs::Note(Slab& slab) {
  if (slab.sparse_place != 0) return;
  if (count_ == kPlaces) DropOldest();
  const uint32_t place = (oldest_ + count_++) % kPlaces;
  places_[place] = &slab;
  slab.sparse_place = static_cast<uint16_t>(place + 1);
  slab.notice = static_cast<uint16_t>(slab.slot_count());
  slab.sparse_bytes = static_cast<uint32_t>(slab.touched_bytes());
  bytes_ += slab.sparse_bytes;
  while (bytes_ > kMostBytes) DropOldest();
}

void SparseSlabs::Forget(Slab& slab) {
  slab.notice = slab.sparse_from();
  if (slab.sparse_place == 0) return;
  places_[slab.sparse_place - 1u] = nullptr;
  slab.sparse_place = 0;
  bytes_ -= slab.sparse_bytes;
}

void SparseSlabs::DropOldest() {
  Slab* slab = places_[oldest_];
  oldest_ = (oldest_ + 1) % kPlaces;
  --count_;
  if (slab == nullptr) return;
  slab->DropFreePages();
  bytes_ -= slab->sparse_bytes;
  slab->sparse_place = 0;
  // Once more when three quarters of what is live now are free, too, down to the last one.
  const uint32_t live = slab->slot_count() - slab->free_count();
  slab->notice = static_cast<uint16_t>(slab->slot_count() - (live == 1 ? 0 : (live + 3) / 4));
}

}  // namespace hardened::core
