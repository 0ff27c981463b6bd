// RemoteFrees: the slots of one heap that other threads freed and that wait to be collected.
//
// A list through the slots themselves (link.h), the newest first. Whoever frees pushes batches with
// a compare-and-swap; who collects takes the whole list with one exchange. How much waits stands in
// the same word as the address of the newest slot, so that it costs no operation of its own and is
// nothing again when the list is taken.
//
// Zeroed memory is an empty list. Threads: any.

#ifndef HARDENED_CORE_REMOTE_FREES_H_
#define HARDENED_CORE_REMOTE_FREES_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "hardened/core/geometry.h"

namespace hardened::core {

class RemoteFrees {
 public:
  // Pushes the slots from `head` to `tail`, linked but for the link of `tail`, which count
  // for `bytes`. Returns: what all that wait now count for; each batch counts for whole units, and
  // at some 1 GiB it counts no further.
  size_t Push(uintptr_t head, uintptr_t tail, size_t bytes);

  // Takes everything. Returns: the newest slot, or 0; what was written to the slots is seen.
  uintptr_t TakeAll() {
    // Pairs with the release in Push().
    return NewestOf(word_.exchange(0, std::memory_order_acquire));
  }

  bool empty() const { return word_.load(std::memory_order_relaxed) == 0; }

 private:
  static constexpr unsigned kAlignmentShift = 4;
  static_assert(kSlotAlignment == 1 << kAlignmentShift);
  // Below: the address of the newest slot. Above: what waits, in units.
  static constexpr unsigned kUnitsShift = kAddressBits - kAlignmentShift;
  static constexpr uint64_t kMostUnits = (uint64_t{1} << (64 - kUnitsShift)) - 1;
  static constexpr size_t kUnitBytes = 512;

  static uintptr_t NewestOf(uint64_t word) {
    return (word & ((uint64_t{1} << kUnitsShift) - 1)) << kAlignmentShift;
  }

  std::atomic<uint64_t> word_;
};

}  // namespace hardened::core

#endif  // HARDENED_CORE_REMOTE_FREES_H_
