// SegmentMap: from an address to the arena it belongs to, for memory outside the first cage.
//
// A radix tree of two levels over segment numbers (address >> 22): 13 bits, then 12. Leaves are
// made as segments are registered and never freed. A lookup is two loads; any address may be asked.
//
// Threads: Find() from any thread without a lock. Register() under the caller's lock.

#ifndef HARDENED_CORE_SEGMENT_MAP_H_
#define HARDENED_CORE_SEGMENT_MAP_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "hardened/core/geometry.h"

namespace hardened::core {

class Arena;

class SegmentMap {
 public:
  static constexpr unsigned kLeafBits = 12;
  static constexpr unsigned kRootBits = kAddressBits - kSegmentShift - kLeafBits;
  struct Leaf {
    std::atomic<Arena*> arenas[size_t{1} << kLeafBits];
  };

  constexpr SegmentMap() = default;

  // The arena that registered the segment of `address`; null when none did.
  Arena* Find(uintptr_t address) const {
    if (address >> kAddressBits != 0) return nullptr;
    // Pairs with the release stores in Register().
    const Leaf* leaf =
        root_[address >> (kSegmentShift + kLeafBits)].load(std::memory_order_acquire);
    if (leaf == nullptr) return nullptr;
    return leaf->arenas[address >> kSegmentShift & ((size_t{1} << kLeafBits) - 1)].load(
        std::memory_order_acquire);
  }

  // Registers the segments of [start, start + bytes) for `arena`. Leaves come from the metadata of
  // `metadata_source`.
  // Returns: false when a leaf could not be had; some segments may then be registered.
  bool Register(uintptr_t start, size_t bytes, Arena* arena, Arena& metadata_source);
  // Undoes Register(), a failed one too, and drops the leaves that came from `metadata_source`.
  // Requires: nothing was allocated there.
  void Unregister(uintptr_t start, size_t bytes, const Arena& metadata_source);

 private:
  std::atomic<Leaf*> root_[size_t{1} << kRootBits] = {};
};

}  // namespace hardened::core

#endif  // HARDENED_CORE_SEGMENT_MAP_H_
