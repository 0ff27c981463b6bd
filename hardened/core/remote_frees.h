// RemoteFrees: the slots of one heap that other threads freed and that wait to be collected.
//
// They come in batches, which are lists of addresses in metadata: who collects a batch reads ahead
// of what it does, and nothing is written to the slots. Whoever frees pushes a batch with a
// compare-and-swap; who collects takes all of them with one exchange. How much waits stands in the
// same word as the address of the newest one, so that it costs no operation of its own and is
// nothing again when they are taken. An empty batch goes back to the heap that sent it.
//
// A slot whose sender has no batch (its heap was given back, or metadata is exhausted) is pushed
// alone, and then threaded through its own memory (link.h).
//
// Zeroed memory is an empty list. Threads: any.

#ifndef HARDENED_CORE_REMOTE_FREES_H_
#define HARDENED_CORE_REMOTE_FREES_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "hardened/core/geometry.h"

namespace hardened::core {

class Arena;
class ThreadHeap;

struct alignas(64) RemoteBatch {
  static constexpr uint32_t kSlots = 60;

  RemoteBatch* next;
  ThreadHeap* sender;
  Arena* arena;    // whose metadata it is
  uint32_t count;  // of its slots
  uint32_t bytes;  // of them
  std::array<uintptr_t, kSlots> addresses;

  std::span<const uintptr_t> slots() const { return {addresses.data(), count}; }
};
static_assert(sizeof(RemoteBatch) == 512);

// A list that is changed by one word, which holds the address of the newest element and a number.
class CountedList {
 public:
  static constexpr uint64_t kMost = (uint64_t{1} << (64 - (kAddressBits - 4))) - 1;

  // Adds what is at `newest`, which `link` gets to point to the element before, and `more` to the
  // number, which ends at kMost. Returns: the number.
  template <class Link>
  uint64_t Push(uintptr_t newest, uint64_t more, const Link& link) {
    uint64_t before = word_.load(std::memory_order_relaxed);
    uint64_t number;
    do {
      number = NumberIn(before) + more;
      if (number > kMost) number = kMost;
      link(AddressIn(before));
      // Pairs with the acquire exchange in TakeAll(): what was written before is seen.
    } while (!word_.compare_exchange_weak(before, number << kNumberShift | newest >> 4,
                                          std::memory_order_release, std::memory_order_relaxed));
    return number;
  }
  // Returns: the newest element, or 0. *number (may be null): what was counted.
  uintptr_t TakeAll(uint64_t* number = nullptr) {
    // Pairs with the release in Push().
    const uint64_t word = word_.exchange(0, std::memory_order_acquire);
    if (number != nullptr) *number = NumberIn(word);
    return AddressIn(word);
  }
  bool empty() const { return word_.load(std::memory_order_relaxed) == 0; }
  uint64_t number() const { return NumberIn(word_.load(std::memory_order_relaxed)); }

 private:
  static constexpr unsigned kNumberShift = kAddressBits - 4;
  static_assert(kSlotAlignment == 1 << 4);

  static uintptr_t AddressIn(uint64_t word) {
    return (word & ((uint64_t{1} << kNumberShift) - 1)) << 4;
  }
  static uint64_t NumberIn(uint64_t word) { return word >> kNumberShift; }

  std::atomic<uint64_t> word_;
};

class RemoteFrees {
 public:
  // Pushes what counts for `weight` bytes. Returns: what all of its kind that wait now count for;
  // each batch counts for whole units, and at some 1 GiB it counts no further.
  size_t Push(RemoteBatch& batch, size_t weight);
  size_t PushAlone(uintptr_t slot, size_t weight);

  // Takes everything. Returns: the newest batch, or null; what was written to its slots is seen.
  RemoteBatch* TakeBatches() { return reinterpret_cast<RemoteBatch*>(batches_.TakeAll()); }
  // The same of slots that came alone: the newest, or 0.
  uintptr_t TakeAlone() { return alone_.TakeAll(); }

  bool empty() const { return batches_.empty() && alone_.empty(); }

 private:
  static constexpr size_t kUnitBytes = 512;

  CountedList batches_;
  CountedList alone_;
};

// Batches that a heap sent and that came back empty.
class ReturnedBatches {
 public:
  // Returns: false where there are many; then it is not taken.
  bool Return(RemoteBatch& batch);
  // Takes all of them. Returns: the newest, or null; *count is how many.
  RemoteBatch* TakeAll(uint64_t* count) {
    return reinterpret_cast<RemoteBatch*>(list_.TakeAll(count));
  }

 private:
  static constexpr uint64_t kMany = 256;

  CountedList list_;
};

}  // namespace hardened::core

#endif  // HARDENED_CORE_REMOTE_FREES_H_
