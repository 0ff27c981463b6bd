// Quarantine: freed slots wait before they can be handed out again.
//
// A class of a thread heap that has much to wait has a block that its frees fill (Magazine::hold).
// Full blocks of all classes wait in one queue, first in first out, until slots of two thirds of
// the budget have been freed after the last of their own. Then a block is ripe: it waits for its
// class, and when the magazine of that runs empty, the slots of the block are checked and shuffled
// and the block becomes the magazine as it is, by exchanging pointers. So which of the slots of a
// block returns first is as open as the block is long. (Letting slots pass one by one through a
// pool, or out of a sliding window, is not: the first of a group to return is then one of the first
// few dozen freed, as in the birthday problem.)
//
// What a class has waiting decides how long its blocks are: a quarter of it, up to 1,024 slots or a
// sixth of the budget, at least 8 slots. Blocks of 8 do not become the magazine but go on top of
// it, so that malloc need not come back for each few slots. Classes that have less waiting, or of
// which 8 slots are more than a third of the budget, share one block, the mixed one. It waits in
// the same queue; when it is ripe its slots are checked and shuffled and go, each, on top of the
// magazine of their class, or to their slabs where there is no room.
//
// Ripe blocks stay while they hold no more than a magazine may; beyond that their slots go back to
// their slabs, and all of them do when nobody allocates of their class for a while.
//
// What leaves was wiped when it was freed, and one in check_interval slots is checked to be still
// zero; where every allocation is checked, only what leaves to a slab.
//
// A slot counts for its weight: at least `least_weight`; above that a multiple of its size, so that
// big slots do not push a program's working set out of the cache. Blocks that are not full yet hold
// up to another two thirds of the budget, and short ones 7 slots each besides.
//
// Threads: the owner of the heap.

#ifndef HARDENED_QUARANTINE_H_
#define HARDENED_QUARANTINE_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/base/attributes.h"
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
 private:
  // Slots of blocks, as powers of two: of the shortest, the longest, and the mixed one.
  static constexpr unsigned kShortShift = 3;
  static constexpr unsigned kMaxShift = 10;
  static constexpr unsigned kMixedShift = 8;

 public:
  static constexpr uint32_t kMostInBlock = 1u << kMaxShift;
  static_assert(kMostInBlock <= core::kMostInMagazine);

  // Readies an empty quarantine. Slots up to `wipe_limit` bytes are zero when they are added.
  // `checked_later`: slots from a magazine are checked when they are handed out. `limits` must
  // outlive it.
  // Returns: false when there is no memory for it.
  bool Initialise(const QuarantineLimits& limits, size_t wipe_limit, bool checked_later);
  bool initialised() const { return lines_ != nullptr; }

  // Holds a freed slot. Free walks do so themselves where their class has a block with room; then
  // comes this, for classes without one, which is done at once while the mixed block has room.
  // Returns: whether it was.
  ABSL_ATTRIBUTE_ALWAYS_INLINE bool AddToMixed(core::MagazineEntry slot,
                                               core::SizeClass size_class) {
    Line& line = lines_[size_class];
    if (line.filling != nullptr || line.waiting >= line.own_from || mixed_room_ <= 0 ||
        mixed_next_ == mixed_end_) {
      return false;
    }
    *mixed_next_++ = WithClass(slot, size_class);
    mixed_room_ -= line.weight;
    ++line.waiting;
    return true;
  }
  // And at last this.
  // Returns: how many slots have waited long enough by this.
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
  // In place of the class of the mixed block.
  static constexpr core::SizeClass kMixed = core::kSizeClassCount;
  // The share of the budget that the mixed block, and all longer ones of classes, may fill.
  static constexpr size_t kOpenShare = 3;

  struct Block {
    Block* next;  // in the list that it is in
    core::Arena* metadata_arena;
    uint64_t ripe_at;  // as freed_ will be then
    uint32_t count;
    core::SizeClass size_class;
    uint8_t shift;                              // room for 1 << shift slots
    alignas(16) core::MagazineEntry entries[];  // from 1 on; 0 is the stop of a magazine

    uint32_t capacity() const { return 1u << shift; }
  };

  // A slot in a mixed block has its class above the address of its record.
  static constexpr unsigned kClassShift = 48;
  static core::MagazineEntry WithClass(core::MagazineEntry slot, core::SizeClass size_class) {
    const uint64_t record = reinterpret_cast<uintptr_t>(slot.record);
    return {slot.slot,
            reinterpret_cast<core::SlotRecord*>(record | uint64_t{size_class} << kClassShift)};
  }
  static core::SizeClass ClassOf(const core::MagazineEntry& slot) {
    return static_cast<core::SizeClass>(reinterpret_cast<uintptr_t>(slot.record) >> kClassShift);
  }
  static core::MagazineEntry WithoutClass(core::MagazineEntry slot) {
    constexpr uint64_t kAddress = (uint64_t{1} << kClassShift) - 1;
    const uint64_t record = reinterpret_cast<uintptr_t>(slot.record);
    return {slot.slot, reinterpret_cast<core::SlotRecord*>(record & kAddress)};
  }

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
    uint32_t waiting;   // slots in the queue and in the mixed block
    uint32_t own_from;  // with so many waiting it has blocks of its own
    uint32_t weight;    // of a slot
    uint8_t shift;      // of the block that is being filled
    // Of the last Groom().
    uint32_t filled;
    uint64_t allocations;
    // While so many allocations have been made, nobody waits for ripe blocks.
    uint64_t deserted_at;
  };

  // Of the next block of a class that has enough waiting for one.
  unsigned NextShift(const Line& line) const;
  // What a block that is being filled adds to open_.
  static uint64_t OpenWeight(const Line& line, unsigned shift) {
    return shift == kShortShift ? 0 : uint64_t{line.weight} << shift;
  }

  static size_t BlockBytes(unsigned shift);
  // Null when there is no memory.
  Block* NewBlock(unsigned shift, core::SizeClass size_class);
  void Spare(Block* block);
  // Starts a block for the class, or a mixed one. Returns: false when there is no memory.
  bool StartBlock(core::ThreadHeap& heap, core::SizeClass size_class);
  bool StartMixed();
  uint64_t MixedWeight() const { return static_cast<uint64_t>(MixedMost() - mixed_room_); }
  int64_t MixedMost() const { return static_cast<int64_t>(limits_->bytes / kOpenShare); }
  // The block, of that weight, joins the queue.
  void Enqueue(Block* block, uint64_t weight);
  // End the filling of a block, which joins the queue when it holds anything.
  void StopFilling(core::ThreadHeap& heap, core::SizeClass size_class);
  void StopFillingMixed();
  // Lets go what has waited long enough. Returns: how many slots.
  uint32_t Ripen(core::ThreadHeap& heap);
  void FileRipe(core::ThreadHeap& heap, Block* block);
  // Puts the slots of a short block on top of the magazine. Returns: false when there is no room.
  bool MoveToMagazine(core::ThreadHeap& heap, Block* block);
  // The slots of a mixed block go to magazines.
  void Distribute(core::ThreadHeap& heap, Block* block);
  // The slots of a block go back to their slabs.
  void Dissolve(core::ThreadHeap& heap, Block* block);
  void DissolveRipe(core::ThreadHeap& heap, Line& line);
  // The magazine of the class, which is empty, is the heap's own.
  void StopServing(core::ThreadHeap& heap, core::SizeClass size_class);
  // Takes out of the block of a class what is not fit for use: somebody still has a pointer to it.
  void Check(Block& block);
  // The same for one slot, which was wiped. Returns: whether it is fit.
  bool IsStillZero(const void* slot, size_t size);
  static void Shuffle(Block& block, prim::RandomStream& random);

  Line* lines_;  // of each class
  List queue_;
  // The mixed block that is being filled: where its next slot goes, and where there is no room any
  // more (both null: there is none).
  core::MagazineEntry* mixed_next_;
  core::MagazineEntry* mixed_end_;
  Block* mixed_;
  int64_t mixed_room_;    // weight that may come to it
  uint64_t mixed_until_;  // as freed_ will be when it is closed even if it is not full
  uint64_t freed_;        // weight of all that ever joined the queue
  uint64_t open_;         // weight that longer blocks that are being filled have room for
  const QuarantineLimits* limits_;
  std::array<Block*, kMaxShift + 1>* spare_;  // by shift
  uint32_t until_check_;  // slots until the next that is checked, itself included
  uint32_t wipe_limit_;
  bool checked_later_;
};

}  // namespace hardened

#endif  // HARDENED_QUARANTINE_H_
