#include "hardened/core/remote_frees.h"

#include <algorithm>

#include "hardened/core/heap_state.h"
#include "hardened/core/link.h"

namespace hardened::core {

size_t RemoteFrees::Push(uintptr_t head, uintptr_t tail, size_t bytes) {
  const uint64_t more = (bytes + kUnitBytes - 1) / kUnitBytes;
  uint64_t before = word_.load(std::memory_order_relaxed);
  uint64_t units;
  do {
    units = std::min((before >> kUnitsShift) + more, kMostUnits);
    const uint64_t link = EncodeLink(heap_constants->link_keys, tail, NewestOf(before));
    __builtin_memcpy(reinterpret_cast<void*>(tail), &link, sizeof(link));
    // Pairs with the acquire exchange in TakeAll(): links, records and contents are seen.
  } while (!word_.compare_exchange_weak(before, units << kUnitsShift | head >> kAlignmentShift,
                                        std::memory_order_release, std::memory_order_relaxed));
  return units * kUnitBytes;
}

}  // namespace hardened::core
