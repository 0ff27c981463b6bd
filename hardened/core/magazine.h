// Magazine: a thread heap's stock of free slots of one class, a stack with a fixed capacity.
//
// bottom[0] is a stop: an entry without a slot. A pop that reads it knows that the magazine is
// empty without a second comparison. Slots are at bottom[1] .. top[0].
//
// Threads: the owning thread only.

#ifndef HARDENED_CORE_MAGAZINE_H_
#define HARDENED_CORE_MAGAZINE_H_

#include <cstddef>
#include <cstdint>

#include "hardened/core/size_class.h"
#include "hardened/core/slot_record.h"

namespace hardened::core {

struct MagazineEntry {
  void* slot;
  SlotRecord* record;
};

struct alignas(64) Magazine {
  MagazineEntry* top;
  MagazineEntry* limit;  // top when full
  MagazineEntry* bottom;
  // Allocations until the next one that goes to the slow side to be looked at by the level
  // (ThreadHeap::RestartCountdown).
  uint64_t countdown;
  // Of a plug that holds freed slots back: where the next one goes, and where there is no room any
  // more (both null: nowhere).
  MagazineEntry* hold;
  MagazineEntry* hold_end;
  MagazineEntry* own;  // the heap's own entries; bottom is elsewhere while a plug's serve

  size_t count() const { return static_cast<size_t>(top - bottom); }
  size_t capacity() const { return static_cast<size_t>(limit - bottom); }
};
static_assert(sizeof(Magazine) == 64);

// The most slots of any magazine, a plug's included.
inline constexpr uint32_t kMostInMagazine = 1024;

// Slots that one magazine may hold: at most 64 KiB of memory, at most kMostInMagazine, at least 2.
constexpr uint32_t MagazineCapacity(SizeClass size_class) {
  const size_t by_bytes = 64 * 1024 / SlotSize(size_class);
  return static_cast<uint32_t>(by_bytes > kMostInMagazine ? kMostInMagazine
                               : by_bytes < 2             ? 2
                                                          : by_bytes);
}

}  // namespace hardened::core

#endif  // HARDENED_CORE_MAGAZINE_H_
