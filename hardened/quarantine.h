// Quarantine: freed slots wait before they can be handed out again.
//
// Each class of a thread heap has a block that its frees fill (Magazine::hold). Full blocks of all
// classes wait in one queue, first in first out, bounded in bytes. When more is held, the oldest
// ripens: it waits for its class, and when the magazine of that runs empty, the slots of the block
// are checked and shuffled and the block becomes the magazine as it is, by exchanging pointers. So
// a slot waits while the budget passes by, less the block that it is in and the one that is being
// filled; and which of the slots of a block returns first is as open as the block is long. (Letting
// slots pass one by one through a pool, or out of a sliding window, is not: the first of a group to
// return is then one of the first few dozen freed, as in the birthday problem.)
//
// Short blocks do not wait for that: their slots go on top of the magazine when they ripen, so that
// malloc need not come back for each of a few large ones.
//
// Blocks of a class grow while it has many in the queue, up to 1,024 slots or a sixth of the
// budget, and shrink when it has few: a block is about a fifth of what its class has waiting. Ripe
// blocks stay while they hold no more than a magazine may, beyond that their slots go back to their
// slabs.
//
// What leaves was wiped when it was freed, and one in check_interval slots is checked to be still
// zero; where every allocation is checked, only what leaves to a slab.
//
// A slot counts for its weight: at least `least_weight`; above that a multiple of its size, so that
// big slots do not push a program's working set out of the cache. A block that is being filled
// counts as full.
//
// Threads: the owner of the heap.

#ifndef HARDENED_QUARANTINE_H_
#define HARDENED_QUARANTINE_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "hardened/core/magazine.h"
#include "hardened/core/thread_heap.h"

namespace hardened {

// How much is held, as numbers of the level.
struct QuarantineLimits {
  size_t bytes = 0;             // weight that one thread holds; 0: no quarantine
  uint32_t least_weight = 0;    // what the smallest slots count for, in bytes
  uint32_t big_factor = 1;      // slots above least_weight count this many times their size
  uint32_t check_interval = 1;  // one in this many slots is checked when it leaves; 0: none

  constexpr uint32_t WeightOf(uint32_t slot_size) const {
    return slot_size <= least_weight ? least_weight : slot_size * big_factor;
  }
};

class Quarantine {
 public:
  // Readies an empty quarantine. Slots up to `wipe_limit` bytes are zero when they are added.
  // `checked_later`: slots from a magazine are checked when they are handed out. `limits` must
  // outlive it.
  // Returns: false when there is no memory for it.
  bool Initialise(const QuarantineLimits& limits, size_t wipe_limit, bool checked_later);
  bool initialised() const { return lines_ != nullptr; }

  // Holds a freed slot. Fast paths do so themselves, and come here when the block of the class is
  // full.
  // Returns: how many slots the block held that it made way for.
  uint32_t Add(core::ThreadHeap& heap, core::MagazineEntry slot, core::SizeClass size_class);

  // Makes a ripe block the magazine of `size_class`, which is empty.
  // Returns: false when there is none; the magazine is then the heap's own.
  bool Refill(core::ThreadHeap& heap, core::SizeClass size_class);

  // From time to time: lets go what classes hold for nobody.
  void Groom(core::ThreadHeap& heap);

  // Lets all slots leave, back into their slabs, and gives back the memory of the blocks.
  void Drain(core::ThreadHeap& heap);

  // What is held, ripe blocks included. From any thread; exact when the owner is quiet.
  void CountHeld(const core::ThreadHeap& heap, uint64_t* slots, uint64_t* bytes) const;

 private:
  // Slots of the longest block, as a power of two.
  static constexpr unsigned kMaxShift = 10;

  struct Block {
    Block* next;  // in the list that it is in
    core::Arena* metadata_arena;
    uint32_t count;
    core::SizeClass size_class;
    uint8_t shift;                  // room for 1 << shift slots
    alignas(16) core::MagazineEntry entries[];  // from 1 on; 0 is the stop of a magazine

    uint32_t capacity() const { return 1u << shift; }
  };

  struct List {
    Block* oldest;
    Block* newest;

    void Append(Block* block);
    Block* Take();  // null when there is none
  };

  // What belongs to one class.
  struct Line {
    Block* filling;  // null: none
    Block* serving;  // is the magazine; null: the magazine is the heap's own
    List ripe;
    uint32_t ripe_slots;
    uint32_t queued;  // blocks in the queue
    uint32_t queued_slots;
    uint8_t shift;  // of the block that is being filled, or else of the last
    // Of the last Groom().
    uint32_t filled;
    uint64_t allocations;
  };

  uint32_t WeightOf(core::SizeClass size_class) const;
  int64_t WeightOf(const Block& block) const;
  // Of the longest and the shortest block of a class.
  uint8_t MostShift(core::SizeClass size_class) const;
  uint8_t LeastShift(core::SizeClass size_class) const;

  static size_t BlockBytes(unsigned shift);
  // Null when there is no memory.
  Block* NewBlock(unsigned shift);
  void Spare(Block* block);
  // Ends the filling of a block, which joins the queue when it holds anything.
  void StopFilling(core::ThreadHeap& heap, core::SizeClass size_class);
  void StopFillingOthers(core::ThreadHeap& heap, core::SizeClass size_class);
  // The oldest block leaves the queue. Null when there is none.
  Block* TakeOldest();
  // Lets the oldest blocks ripen until the budget holds.
  void Ripen(core::ThreadHeap& heap, core::SizeClass filling);
  // The slots of a block go back to their slabs.
  void Dissolve(core::ThreadHeap& heap, Block* block);
  void DissolveRipe(core::ThreadHeap& heap, Line& line);
  // The magazine of the class, which is empty, is the heap's own.
  void StopServing(core::ThreadHeap& heap, core::SizeClass size_class);
  // Puts the slots of a block on top of the magazine. Returns: false when there is no room, or the
  // magazine is a block.
  bool MoveToMagazine(core::ThreadHeap& heap, Block& block);
  // Checks and shuffles a block for its next life.
  void MakeFit(core::ThreadHeap& heap, Block& block);
  // Takes out of the block what is not fit for use: somebody still has a pointer to it.
  void Check(Block& block);
  static void Shuffle(Block& block, prim::RandomStream& random);

  Line* lines_;  // of each class
  List queue_;
  int64_t held_;  // weight of the queue and of the blocks that are being filled
  const QuarantineLimits* limits_;
  std::array<Block*, kMaxShift + 1>* spare_;  // by shift
  uint32_t until_check_;  // slots until the next that is checked, itself included
  uint32_t wipe_limit_;
  bool checked_later_;
};

}  // namespace hardened

#endif  // HARDENED_QUARANTINE_H_
