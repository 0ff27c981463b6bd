#include "hardened/core/heap_registry.h"

#include <algorithm>

#include "hardened/core/empty_slabs.h"
#include "hardened/prim/check.h"
#include "hardened/prim/system_info.h"
#include "hardened/prim/thread_exit.h"

namespace hardened::core {
namespace {

constexpr uint32_t kAdoptionProbes = 8;
// Heaps without a thread that keep an empty slab of each class.
constexpr uint32_t kWarmHeaps = 4;
// Heaps that one turn of housekeeping looks at, and the parts of what waits for them that it files.
constexpr int kHeapLooks = 16;
constexpr int kFiledParts = 64;
// So long a thread is left to come for what waits for it.
constexpr uint64_t kAttendMs = 100;
// So long it is not asleep after it came.
constexpr uint64_t kMomentMs = 10;
// The id of no thread.
constexpr uint64_t kNoThread = ~uint64_t{0};

}  // namespace

constinit HeapRegistry heap_registry;

ThreadHeap* HeapRegistry::MakeHeap(DrawsInChild in_child) {
  if (next_block_ == nullptr) {
    next_block_ = heap_state.AllocateMetadata(kThreadHeapBytes + alignof(ThreadHeap));
  }
  prim::RandomStream* random = next_block_ != nullptr ? heap_state.NewStream(in_child) : nullptr;
  if (random == nullptr) return nullptr;
  ThreadHeap* heap = reinterpret_cast<ThreadHeap*>(
      RoundUpTo(reinterpret_cast<uintptr_t>(next_block_), alignof(ThreadHeap)));
  next_block_ = nullptr;
  heap->Initialise(*random);
  heap->next_heap_ = heaps_;
  heaps_ = heap;
  return heap;
}

ThreadHeap* HeapRegistry::MakeHeapAt(Arena& home) {
  ThreadHeap* heap = nullptr;
  {
    const prim::LockGuard guard(lock_);
    heap = MakeHeap(DrawsInChild::kSame);
    if (heap == nullptr) return nullptr;
    heap->home_ = &home;
    // Never 0, which would make it one of the pool.
    heap->thread_id_ = prim::ThreadId();
  }
  const HeapPlug& plug = heap_constants->options.plug;
  return plug.prepare == nullptr || plug.prepare(*heap) ? heap : nullptr;
}

ThreadHeap* HeapRegistry::SwitchTo(ThreadHeap& heap) {
  HARDENED_CHECK(HasHeap());
  ThreadHeap* before = static_cast<ThreadHeap*>(current_heap);
  heap.thread_id_ = before->thread_id_;
  current_heap = &heap;
  return before;
}

void HeapRegistry::RegisterExit() {
  if (exit_registered_.load(std::memory_order_relaxed)) return;
  if (!exit_registered_.exchange(true, std::memory_order_relaxed)) {
    prim::RegisterThreadExit(&OnThreadExit);
  }
}

ThreadHeap* HeapRegistry::AcquireForThread() {
  ThreadHeap* heap = nullptr;
  {
    const prim::LockGuard guard(lock_);
    heap = pool_;
    if (heap != nullptr) {
      pool_ = heap->next_pooled_;
      heap->next_pooled_ = nullptr;
      pooled_.store(pooled_.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
    } else {
      heap = MakeHeap(DrawsInChild::kOther);
      if (heap == nullptr) return nullptr;
    }
    heap->thread_id_ = prim::ThreadId();
  }
  // Before arming: arming may allocate.
  const bool exiting = ThreadIsExiting();
  current_heap = heap;
  const HeapPlug& plug = heap_constants->options.plug;
  if (plug.prepare != nullptr && !plug.prepare(*heap)) {
    ReleaseFromThread(heap);
    if (!exiting) current_heap = const_cast<HeapFront*>(&kEmptyHeap);
    return nullptr;
  }
  if (!exiting) prim::ArmThreadExit(heap);
  return heap;
}

void HeapRegistry::OnThreadExit(void* heap) {
  heap_registry.ReleaseFromThread(static_cast<ThreadHeap*>(heap));
}

void HeapRegistry::ReleaseFromThread(ThreadHeap* heap) {
  if (current_heap != heap) return;  // the child of a fork that replaced it
  // A thread that starts soon finds warm slabs; heaps that wait in the pool give theirs back one by
  // one (Reclaim).
  const uint32_t leaving = leaving_.fetch_add(1, std::memory_order_relaxed);
  const uint32_t pooled = pooled_.load(std::memory_order_relaxed);
  heap->ReleaseEverything(/*keep_one=*/leaving + pooled < kWarmHeaps);
  current_heap = const_cast<HeapFront*>(&kExitedHeap);
  const prim::LockGuard guard(lock_);
  heap->thread_id_ = 0;
  heap->next_pooled_ = pool_;
  pool_ = heap;
  pooled_.store(pooled_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  leaving_.fetch_sub(1, std::memory_order_relaxed);
}

Slab* HeapRegistry::Adopt(ThreadHeap& heap, SizeClass size_class, uint64_t* taken) {
  if (pooled_.load(std::memory_order_relaxed) == 0) return nullptr;
  const prim::LockGuard guard(lock_);
  uint32_t probes = 0;
  for (ThreadHeap* from = pool_; from != nullptr && probes < kAdoptionProbes;
       from = from->next_pooled_, ++probes) {
    // A heap in the pool keeps no slots in magazines: they would be taken along with their slab.
    if (from->HasIncoming()) from->ReleaseEverything(/*keep_one=*/false);
    ThreadHeap::Bin& bin = from->bins_[size_class];
    Slab* slab = bin.head;
    if (slab == nullptr) continue;
    from->Unlink(*slab, bin);
    from->sparse_slabs_.Forget(*slab);
    *taken = slab->slot_count() - slab->free_count();
    bin.taken -= *taken;
    SetSlabOwner(*slab, &heap);
    return slab;
  }
  return nullptr;
}

bool HeapRegistry::TryEnter(ThreadHeap& heap) {
  // An orphan may have stopped in the middle of anything, and so may the heap of any other thread
  // in a child that came about without handlers; the mark of such a heap is gone.
  return &heap != current_heap && heap.home_ == nullptr && !heap.orphan_ && heap.random_->mark() &&
         heap.slow_side_.TryLock();
}

HeapRegistry::Turn HeapRegistry::ReclaimNext(uint64_t now_ms) {
  ThreadHeap* const heap = next_to_reclaim_ != nullptr ? next_to_reclaim_ : heaps_;
  if (heap == nullptr) return Turn::kLast;
  bool more = false;
  if (heap->thread_id_ == 0) {
    heap->ReleaseEverything(/*keep_one=*/false);
  } else if (TryEnter(*heap)) {
    const uint64_t attended_ms = heap->attended_ms_.load(std::memory_order_relaxed);
    more = now_ms >= std::max(attended_ms, heap->helped_ms_) + kAttendMs && heap->FileWaiting();
    Leave(*heap);
  }
  next_to_reclaim_ = more ? heap : heap->next_heap_;
  return more ? Turn::kSame : heap->thread_id_ == 0 ? Turn::kLast : Turn::kNext;
}

void HeapRegistry::Reclaim(uint64_t now_ms) {
  int looks = kHeapLooks;
  for (int parts = kFiledParts; looks > 0 && parts > 0;) {
    // Nobody waits here: a turn that is missed comes again.
    if (!lock_.TryLock()) return;
    const Turn turn = ReclaimNext(now_ms);
    lock_.Release();
    if (turn == Turn::kLast) return;
    turn == Turn::kSame ? --parts : --looks;
  }
}

void HeapRegistry::ReclaimAll() {
  ThreadHeap* heap;
  {
    const prim::LockGuard guard(lock_);
    heap = heaps_;
  }
  // Heaps are never unmapped, nor do they change places.
  for (; heap != nullptr; heap = heap->next_heap_) {
    // What waited when somebody came last, and what came since then.
    for (int lists = 2; lists > 0;) {
      // For one part at a time: others wait for these locks.
      const prim::LockGuard guard(lock_);
      if (heap->thread_id_ == 0) {
        heap->ReleaseEverything(/*keep_one=*/false);
        break;
      }
      if (!TryEnter(*heap)) break;
      lists -= !heap->FileWaiting();
      if (lists == 0) heap->RetireEmptySlabs(/*keep_one=*/false);
      Leave(*heap);
    }
  }
}

void HeapRegistry::Relieve(ThreadHeap& owner, bool at_once) {
  const uint64_t attended_ms = owner.attended_ms_.load(std::memory_order_relaxed);
  if (!at_once && prim::CoarseMilliseconds() < attended_ms + kMomentMs) {
    return;
  }
  // A look costs the others less than an attempt.
  if (lock_.IsHeld() || owner.slow_side_.IsHeld() || !lock_.TryLock()) return;
  if (TryEnter(owner)) {
    owner.FileWaiting();
    Leave(owner);
  }
  lock_.Release();
}

ThreadHeap::Tally HeapRegistry::Total() {
  const prim::LockGuard guard(lock_);
  ThreadHeap::Tally tally;
  for (ThreadHeap* heap = heaps_; heap != nullptr; heap = heap->next_heap_) heap->AddTo(tally);
  tally.remote_sent_slots += sent_alone_slots_.load(std::memory_order_relaxed);
  tally.remote_sent_bytes += sent_alone_bytes_.load(std::memory_order_relaxed);
  tally.run_allocations += heapless_run_allocations_.load(std::memory_order_relaxed);
  tally.live_runs += heapless_live_runs_.load(std::memory_order_relaxed);
  tally.live_run_bytes += heapless_live_run_bytes_.load(std::memory_order_relaxed);
  return tally;
}

void HeapRegistry::FreezeForFork() {
  lock_.Freeze();
  empty_slabs.FreezeForFork();
  heap_state.FreezeForFork();
}

void HeapRegistry::ThawAfterFork() {
  heap_state.ThawAfterFork();
  empty_slabs.ThawAfterFork();
  lock_.Thaw();
}

void HeapRegistry::MendInChild() {
  heap_state.MendInChild();
  empty_slabs.MendInChild();
  heap_state.NextGeneration();
  leaving_.store(0, std::memory_order_relaxed);
  if (!lock_.ForkReset()) {
    pool_ = next_to_reclaim_ = nullptr;
    pooled_.store(0, std::memory_order_relaxed);
    // As those of a thread that is not here.
    for (ThreadHeap* heap = heaps_; heap != nullptr; heap = heap->next_heap_) {
      if (heap->thread_id_ == 0) heap->thread_id_ = kNoThread;
    }
  }
  // The heaps of the other threads stopped at an arbitrary point: they keep their thread's id and
  // are left alone for ever. Their live slots stay valid; what the child frees of them is sent and
  // never collected.
  // A thread that switched heaps has more than one; its heap with a home goes on as it would have.
  const uint64_t forking = HasHeap() ? static_cast<ThreadHeap*>(current_heap)->thread_id_ : 0;
  for (ThreadHeap* heap = heaps_; heap != nullptr; heap = heap->next_heap_) {
    // Where this thread itself is on its slow side, below a signal handler, it goes on with it; where
    // another one was (which never let go of lock_), nobody does.
    const bool whole = heap->entered_ || heap->slow_side_.ForkReset();
    if ((heap->thread_id_ != 0 && heap->thread_id_ != forking) || !whole) {
      if (heap == current_heap) current_heap = const_cast<HeapFront*>(&kEmptyHeap);
      heap->orphan_ = true;
      // What that thread will draw in the parent is none of the child's business.
      if (heap->random_->seeded()) heap->random_->Forget();
      continue;
    }
    if (heap->home_ == nullptr) heap->RenewAfterFork();
    if (heap->thread_id_ != 0) heap->thread_id_ = prim::ThreadId();
  }
}

}  // namespace hardened::core
