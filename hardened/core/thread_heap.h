// ThreadHeap: everything one thread needs to allocate and free slots without talking to others.
//
//   magazines   a stock of free slots for each class; the fast paths of malloc and free
//   bins        for each class the slabs that this heap owns and that have free slots
//   outgoing    slots of other heaps that this thread freed, collected into batches
//   incoming    batches that other threads sent; the only part that they write
//
// A heap belongs to one thread at a time. When the thread exits, the heap gives back what it can
// and goes to a pool; the next new thread takes it over with its slabs, and a thread that runs out
// of slots of a class adopts a slab from a heap in the pool. Heaps are never unmapped.
//
// Remote frees: the freeing thread claims the slot's record by compare-and-swap, writes the slot's
// address into a batch, and pushes the batch onto the owner's incoming list (remote_frees.h). The
// owner takes the whole list with one exchange, verifies every record, and files the slots. A slot
// whose slab was adopted by another heap in the meantime is passed on.
//
// What waits for a thread that does not come for it, because it sleeps, is filed by others: by who
// frees when much waits, in anybody's housekeeping, by malloc_trim. So a heap has two sides. The
// fast walks, magazines, countdowns, outgoing, and what plugs hold are its thread's alone. All that
// has to do with slabs is the slow side, which its thread enters for a batch at a time and a helper
// may enter while it is not there (SlowSide).
//
// Threads: the owner; the slow side also a helper that holds the registry's lock; incoming and the
// counters are read and written as stated there.

#ifndef HARDENED_CORE_THREAD_HEAP_H_
#define HARDENED_CORE_THREAD_HEAP_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/base/attributes.h"
#include "absl/base/thread_annotations.h"
#include "hardened/core/heap_state.h"
#include "hardened/core/magazine.h"
#include "hardened/core/remote_frees.h"
#include "hardened/core/size_class.h"
#include "hardened/core/slab.h"
#include "hardened/core/slice.h"
#include "hardened/core/sparse_slabs.h"
#include "hardened/prim/lock.h"
#include "hardened/prim/random_stream.h"
#include "hardened/prim/system_info.h"

namespace hardened::core {

// The part of a thread heap that the fast paths use. It stands alone for the heap that a thread has
// before its first allocation: all magazines empty, owner of nothing.
struct HeapFront {
  Magazine magazines[kSizeClassCount];
  // For the level's plugs, zero at first; core does not look at it.
  alignas(64) unsigned char plug[128];
};

class ThreadHeap : public HeapFront {
 public:
  // The thread of a heap is on its slow side until the end of the scope. A signal handler that
  // interrupted the thread there and comes back for memory goes on in it: it would wait for itself.
  class SlowSide {
   public:
    // Not yet.
    SlowSide() = default;
    explicit SlowSide(ThreadHeap& heap) { Enter(heap); }
    ~SlowSide() {
      if (entered_ != nullptr) Leave();
    }
    SlowSide(const SlowSide&) = delete;
    SlowSide& operator=(const SlowSide&) = delete;
    void Enter(ThreadHeap& heap) ABSL_NO_THREAD_SAFETY_ANALYSIS {
      if (heap.entered_) return;
      heap.slow_side_.Acquire();
      heap.entered_ = true;
      entered_ = &heap;
    }

   private:
    void Leave() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      entered_->entered_ = false;
      entered_->slow_side_.Release();
    }
    ThreadHeap* entered_ = nullptr;
  };

  // Makes a heap in a zeroed block of kThreadHeapBytes, which draws from `random`.
  void Initialise(prim::RandomStream& random);

  // Puts at least one slot into the empty magazine of `size_class`: from what other threads freed,
  // a slab of its own, an adopted slab or a new one, in this order.
  // Returns: false when memory is exhausted.
  bool Refill(SizeClass size_class);

  // Makes room in the full magazine of `size_class` by returning its older half to the slabs.
  void Flush(SizeClass size_class);

  // Notes that `slots` found no room in the magazine of `size_class`, and go to their slabs.
  // When twice in a row a multiple of what it holds did so, and nobody allocated between, it gives
  // back most of what it holds, and keeps to that until it is refilled: at random places each of
  // its slots keeps a page of its own. Returns: whether it did.
  bool NoteOverflow(SizeClass size_class, uint32_t slots);

  // Puts slots that the program no longer owns back into their slabs. Their records are already
  // those of dead slots, and their slabs are owned by this heap. On the slow side.
  void ReturnToSlabs(const MagazineEntry* entries, size_t count);
  // The same for one slot of `size_class`.
  void ReturnSlot(const MagazineEntry& slot, SizeClass size_class) {
    const uintptr_t address = reinterpret_cast<uintptr_t>(slot.slot);
    Slab& slab = *Slab::OfRecords(heap_state.FindSlice(address)->records);
    slab.Return(slab.IndexOfRecord(slot.record));
    --bins_[size_class].taken;
    if (!slab.listed || slab.free_count() >= slab.notice) [[unlikely]]
      Refile(slab);
  }

  // If the magazine of `size_class` holds what was chosen before a fork, puts it back into the
  // slabs. To be asked when a countdown has run out. Returns: whether it did.
  bool ReturnStale(SizeClass size_class);

  // Sends `slot`, whose record the caller has claimed (kPendingRecord), to `owner`.
  void SendRemote(ThreadHeap* owner, void* slot, SizeClass size_class);
  // The same where nothing is to be done but to write it down. Returns: false otherwise.
  ABSL_ATTRIBUTE_ALWAYS_INLINE bool AppendRemote(ThreadHeap* owner, void* slot, size_t size) {
    OutgoingBatch& out = OutgoingFor(owner);
    const uint32_t bytes = out.bytes + static_cast<uint32_t>(size);
    // The last one of a batch is SendRemote()'s.
    if (out.owner != owner || out.count >= RemoteBatch::kSlots - 1 || bytes >= kBatchBytes)
        [[unlikely]] {
      return false;
    }
    out.bytes = bytes;
    out.batch->addresses[out.count++] = reinterpret_cast<uintptr_t>(slot);
    return true;
  }

  // Takes what other threads have freed, some `most` slots; the rest waits for the next call. On
  // the slow side, like HasIncoming().
  void Collect(uint32_t most);
  bool HasIncoming() const {
    return backlog_ != nullptr || backlog_alone_ != 0 || !incoming_.empty();
  }
  // For HeapPlug::keep: a slot that came, and its class. Its record is still kPendingRecord;
  // reports when it is not. Returns: false when it is another heap's by now, to which it was passed
  // on.
  ABSL_ATTRIBUTE_ALWAYS_INLINE bool Receive(uintptr_t address, MagazineEntry* slot,
                                            SizeClass* size_class) {
    const SliceDescriptor& slice = *heap_state.FindSlice(address);
    const uint32_t index = slice.IndexOf(address);
    // A slab with an owner is in use.
    if (slice.owner.load(std::memory_order_relaxed) == this && index < slice.slot_count)
        [[likely]] {
      SlotRecord& record = slice.RecordAt(index, heap_constants->options.record_shift);
      *size_class = slice.size_class;
      // Detects: a double free in which both threads raced past each other's mark: only a slot
      //          that waits for collection is collected.
      // Misses:  nothing; a slot is collected at most once for each time it is claimed.
      // Cost:    one load and one comparison a remote free.
      if (record.load(std::memory_order_relaxed) == kPendingRecord) [[likely]] {
        *slot = {reinterpret_cast<void*>(address), &record};
        return true;
      }
    }
    PassOn(address);
    return false;
  }

  // Sends one slot at once, from a thread without a heap.
  static void SendRemoteAlone(ThreadHeap* owner, void* slot, SizeClass size_class);

  // Pushes all outgoing batches.
  void FlushOutgoing();

  // A span for this heap: from its home, or from any arena. arena is null when there is none.
  ArenaSpan AllocateSpan(SpanPurpose purpose, uint32_t slices, uint32_t alignment = 1,
                         uint32_t lead = 0);

  // The arena from which alone this heap takes its spans; null: any. Its slabs are never isolated
  // or guarded, and it adopts none: which slots it hands out depends on nothing but its own
  // history.
  Arena* home() const { return home_; }

  // Gives back everything that is not in use and starts its random stream with `key`: what follows
  // depends only on the slots that are live, not on what was done before. Requires: home().
  void Reset(std::span<const std::byte, prim::RandomStream::kKeyBytes> key);

  // Gives back what is not in use: magazines, batches, what plugs hold, and empty slabs, of which
  // `keep_one` leaves one to each class for the next thread.
  void ReleaseEverything(bool keep_one);

  // Lets the countdown of a class begin anew.
  void RestartCountdown(SizeClass size_class, uint64_t interval) {
    uint64_t& countdown = magazines[size_class].countdown;
    started_countdowns_[size_class] += interval - countdown;
    countdown = interval;
  }
  // Counts an allocation of the slow side, by `change` = 1; a countdown at its end is left for the
  // fast walk to see. By -1: an allocation that the fast walk counted was not one of a slot.
  void CountAllocation(SizeClass size_class, int change) {
    uint64_t& countdown = magazines[size_class].countdown;
    if (change == 1 && countdown > 1) {
      --countdown;
    } else {
      started_countdowns_[size_class] += static_cast<uint64_t>(static_cast<int64_t>(change));
    }
  }

  uint64_t AllocationsOf(SizeClass size_class) const {
    return started_countdowns_[size_class] - magazines[size_class].countdown;
  }
  // The empty magazine of the class is the heap's own again.
  void UseOwnMagazine(SizeClass size_class) {
    Magazine& magazine = magazines[size_class];
    magazine.bottom = magazine.top = magazine.own;
    magazine.limit = magazine.bottom + MagazineCapacity(size_class);
  }

  // Counts runs; called by HeapRegistry::CountRun().
  void CountRun(uint64_t allocations, int64_t live, int64_t bytes) {
    run_allocations_ += allocations;
    live_runs_ += static_cast<uint64_t>(live);
    live_run_bytes_ += static_cast<uint64_t>(bytes);
  }

  // In the child of a fork, when the generation has changed: what was chosen before is not handed
  // out, and choices differ from the parent's.
  void RenewAfterFork();

  prim::RandomStream& random() { return *random_; }
  uint64_t thread_id() const { return thread_id_; }
  // Its thread was in the parent of a fork and may have stopped in the middle of anything.
  bool orphan() const { return orphan_; }

  // Time-gated housekeeping, called from slow paths without a lock held. `now_ms` is a coarse
  // clock.
  void Housekeep(uint64_t now_ms);

  // Sums for HeapCounters; exact when the owning thread is quiet.
  struct Tally {
    uint64_t allocations = 0;
    uint64_t taken_slots = 0;  // drawn from slabs, not in a magazine
    uint64_t taken_bytes = 0;
    uint64_t remote_sent_slots = 0;
    uint64_t remote_sent_bytes = 0;
    uint64_t run_allocations = 0;
    uint64_t live_runs = 0;
    uint64_t live_run_bytes = 0;  // data pages
  };
  void AddTo(Tally& tally) const;

 private:
  friend class HeapRegistry;

  struct Bin {
    Slab* head;
    uint32_t listed;
    uint32_t refill;      // slots of the last refill, unless the magazine is smaller
    uint32_t generation;  // of the last slab that was opened
    uint32_t overflows;   // since the magazine was last looked at; NoteOverflow()
    // What the magazine holds was chosen before a fork, and its countdown was cut short, so that
    // the next allocation puts it back (ReturnStale); then the countdown goes on from here. 0: no.
    uint64_t cut_countdown;
    uint64_t allocations_at_overflow;
    uint64_t taken;  // slots drawn from slabs of this bin and not returned
  };

  // Without an owner: none. `count` and `bytes` are those of the batch, once it is pushed.
  struct OutgoingBatch {
    ThreadHeap* owner;
    RemoteBatch* batch;
    uint32_t count;
    uint32_t bytes;
  };
  static constexpr unsigned kOutgoingShift = 3;
  static constexpr uint32_t kBatchBytes = 32 * 1024;

  // Whether its slabs, once empty, wait for their class.
  bool IsolatesClasses() const {
    return heap_constants->options.isolate_classes && home_ == nullptr;
  }
  void Link(Slab& slab, Bin& bin);
  void Unlink(Slab& slab, Bin& bin);
  Slab* NewSlab(SizeClass size_class);
  // A slab that can be drawn from, in front of its bin; null when memory is exhausted.
  Slab* OpenSlab(SizeClass size_class);
  // Draws `count` slots from the first slabs of the bin, a random one for each (Placement::lanes).
  // Returns: how many; fewer when memory is exhausted.
  uint32_t DrawFromLanes(SizeClass size_class, uint32_t count, MagazineEntry* out);
  // After a draw.
  void FileDrawn(Slab& slab, uint32_t count);
  void RetireSlab(Slab& slab, Bin& bin);
  static void GuardBehind(const Slab& slab, uint32_t slices);
  // Files a slab to which slots have come back.
  void Refile(Slab& slab);
  OutgoingBatch& OutgoingFor(const ThreadHeap* owner) {
    // Heaps lie some 100 KiB apart.
    return outgoing_[(reinterpret_cast<uintptr_t>(owner) >> 12) * 0x9e3779b97f4a7c15u >>
                     (64 - kOutgoingShift)];
  }
  void PushBatch(OutgoingBatch& out);
  // Begins a batch for `owner` in `out`, and pushes the one that is there. Returns: false when
  // there is no memory for it, or when nobody would come for it.
  bool BeginBatch(OutgoingBatch& out, ThreadHeap* owner);
  // An empty batch; null when there is no memory for it.
  RemoteBatch* TakeBatch();
  // A batch of which nothing is left to do goes back to its sender, or to its arena.
  static void ReturnBatch(RemoteBatch& batch);
  static void FreeBatch(RemoteBatch& batch);
  // Gives empty batches back to their arenas, but for some `stay`.
  void TrimBatches(uint32_t stay);
  // Pushes one slot without a batch.
  static void PushAlone(ThreadHeap& owner, void* slot, SizeClass size_class);
  // So much waits for `owner`, after a push.
  static void NoteWaiting(ThreadHeap& owner, size_t waiting);
  // What a helper does that is on the slow side of this heap, whose thread is not. Files a bounded
  // number of slots that waited when somebody came last, not in magazines or the quarantine but in
  // their slabs; what came since then waits for the next call.
  // Returns: whether more of those slots are left.
  bool FileWaiting();
  void FileForOwner(uintptr_t address);
  // Makes everything stale that was chosen up to now; touches nothing but this heap. Whatever its
  // thread was doing in the fast walks, below a signal handler that forked, may go on.
  void MakeStockStale();
  // The level's, but uniform draws from slabs whose order another process knows. A heap with a home
  // draws the same in parent and child.
  const Placement& PlacementIn(const Slab& slab) const;
  // Returns the oldest `count` slots of the magazine to their slabs.
  void FlushOldest(SizeClass size_class, size_t count);
  void FlushHalf(SizeClass size_class);
  // Flushes half of each magazine that holds more than four times what its class took since the
  // last call: freed slots of many slabs keep a page each.
  void TrimMagazines();
  // Reports unless a slot that waits for collection starts at `address`.
  static void CheckPending(uintptr_t address);
  // Takes a slot that came alone out of the list, whose word it was: then its link is cleared.
  // Returns: the slot that follows, or 0; reports when either is wrong.
  static uintptr_t TakeOutOfList(uintptr_t address);
  // What came in one batch.
  void CollectSlots(std::span<const uintptr_t> slots);
  // Reports unless a slot of another heap that waits for collection starts there, and sends it.
  void PassOn(uintptr_t address);
  void RetireEmptySlabs(bool keep_one);
  // Files the slabs of a bin in the order of their addresses.
  static void SortByAddress(Bin& bin);

  std::array<Bin, kSizeClassCount> bins_;
  // Allocations made: this minus what is left of the countdown.
  std::array<uint64_t, kSizeClassCount> started_countdowns_;
  std::array<uint64_t, kSizeClassCount> allocations_at_trim_;
  std::array<OutgoingBatch, 1 << kOutgoingShift> outgoing_;
  RemoteBatch* empty_batches_;
  uint32_t empty_batch_count_;
  uint32_t alone_left_;  // slots to be pushed alone before it asks again for memory
  // Sent, or passed on, minus collected, of this heap as sender and as owner; without outgoing_.
  uint64_t remote_sent_slots_;
  uint64_t remote_sent_bytes_;
  uint64_t run_allocations_;
  uint64_t live_runs_;       // allocated minus freed by this heap's threads
  uint64_t live_run_bytes_;  // likewise
  uint64_t thread_id_;
  uint64_t last_housekeeping_ms_;
  uint32_t new_slabs_;
  SparseSlabs sparse_slabs_;
  RemoteBatch* backlog_;               // taken from incoming_, not yet collected
  uintptr_t backlog_alone_;            // likewise
  std::atomic<uint64_t> attended_ms_;  // when its thread last came for what was incoming
  uint64_t helped_ms_;                 // when a helper last took what was incoming
  prim::Lock slow_side_;
  bool entered_;  // by its thread, which alone reads and writes it
  // Its mark is set while this heap has not come into a child by a fork without handlers.
  prim::RandomStream* random_;
  bool orphan_;
  Arena* home_;
  ThreadHeap* next_heap_;    // all heaps; HeapRegistry
  ThreadHeap* next_pooled_;  // heaps without a thread; HeapRegistry

  // What other threads write: slots that they freed, and batches that they have emptied.
  alignas(prim::kNoSharing) RemoteFrees incoming_;
  ReturnedBatches returned_;
  [[maybe_unused]] char padding_[prim::kNoSharing - sizeof(incoming_) - sizeof(returned_)];
};

// Bytes of a heap with its magazines.
inline constexpr size_t kThreadHeapBytes = [] {
  size_t entries = 0;
  for (unsigned c = 0; c < kSizeClassCount; ++c) {
    entries += MagazineCapacity(static_cast<SizeClass>(c)) + 1;
  }
  return sizeof(ThreadHeap) + entries * sizeof(MagazineEntry);
}();

// What a thread has before its first allocation, and what after its exit has begun: libc frees a
// little more then, which must not take a heap that nobody would give back.
[[gnu::visibility("hidden")]] extern const HeapFront kEmptyHeap;
[[gnu::visibility("hidden")]] extern const HeapFront kExitedHeap;

// The current thread's heap. Never null.
[[gnu::visibility("hidden"),
  gnu::tls_model("initial-exec")]] extern constinit thread_local HeapFront* current_heap;

inline bool IsThreadHeap(const HeapFront* heap) {
  return heap != &kEmptyHeap && heap != &kExitedHeap;
}
inline bool HasHeap() { return IsThreadHeap(current_heap); }
inline bool ThreadIsExiting() { return current_heap == &kExitedHeap; }

}  // namespace hardened::core

#endif  // HARDENED_CORE_THREAD_HEAP_H_
