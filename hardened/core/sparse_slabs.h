// SparseSlabs: the slabs of one heap that have few live slots, and the memory that they waste.
//
// The last live slots of a burst, from a slab each, would keep the memory of all these slabs. So
// slabs of which seven of eight slots are free are noted, the oldest first, and beyond kMostBytes
// the free pages of the oldest are dropped. Slab::notice says from how many free slots on a slab
// is to be noted.
//
// Zeroed memory is one without slabs. Threads: external; the owner of the heap.

#ifndef HARDENED_CORE_SPARSE_SLABS_H_
#define HARDENED_CORE_SPARSE_SLABS_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "hardened/core/slab.h"

namespace hardened::core {

class SparseSlabs {
 public:
  // Notes a slab that has `notice` free slots, unless it is noted.
  void Note(Slab& slab);
  // A slab that fills again, leaves its heap or is empty.
  void Forget(Slab& slab);

 private:
  static constexpr uint32_t kPlaces = 128;
  static constexpr size_t kMostBytes = 4 << 20;

  void DropOldest();

  std::array<Slab*, kPlaces> places_;  // null: forgotten since
  uint32_t oldest_;
  uint32_t count_;  // places in use, forgotten ones too
  size_t bytes_;
};

}  // namespace hardened::core

#endif  // HARDENED_CORE_SPARSE_SLABS_H_
