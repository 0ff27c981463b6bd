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

void SegmentMap::Unregister(uintptr_t start, size_t bytes, const Arena& metadata_source) {
  for (uintptr_t at = start; at - start < bytes && at >> kAddressBits == 0; at += kSegmentSize) {
    std::atomic<Leaf*>& slot = root_[at >> (kSegmentShift + kLeafBits)];
    Leaf* leaf = slot.load(std::memory_order_relaxed);
    if (leaf == nullptr) continue;
    if (metadata_source.OwnsMetadata(leaf)) {
      slot.store(nullptr, std::memory_order_release);
      continue;
    }
    leaf->arenas[at >> kSegmentShift & ((size_t{1} << kLeafBits) - 1)].store(
        nullptr, std::memory_order_release);
  }
}

}  // namespace hardened::core
