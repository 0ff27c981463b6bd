#include "hardened/core/segment_map.h"

#include "hardened/core/arena.h"

namespace hardened::core {

bool SegmentMap::Register(uintptr_t start, size_t bytes, Arena* arena, Arena& metadata_source) {
  for (uintptr_t at = start; at - start < bytes; at += kSegmentSize) {
    if (at >> kAddressBits != 0) return false;
    std::atomic<Leaf*>& slot = root_[at >> (kSegmentShift + kLeafBits)];
    Leaf* leaf = slot.load(std::memory_order_relaxed);
    if (leaf == nullptr) {
      leaf = static_cast<Leaf*>(metadata_source.AllocateMetadata(sizeof(Leaf)));
      if (leaf == nullptr) return false;
      // Pairs with the acquire loads in Find(): the leaf is seen zeroed.
      slot.store(leaf, std::memory_order_release);
    }
    leaf->arenas[at >> kSegmentShift & ((size_t{1} << kLeafBits) - 1)].store(
        arena, std::memory_order_release);
  }
  return true;
}

void SegmentMap::Unregister(uintptr_t start, size_t bytes) {
  for (uintptr_t at = start; at - start < bytes && at >> kAddressBits == 0; at += kSegmentSize) {
    Leaf* leaf = root_[at >> (kSegmentShift + kLeafBits)].load(std::memory_order_relaxed);
    if (leaf == nullptr) continue;
    leaf->arenas[at >> kSegmentShift & ((size_t{1} << kLeafBits) - 1)].store(
        nullptr, std::memory_order_release);
  }
}

}  // namespace hardened::core
