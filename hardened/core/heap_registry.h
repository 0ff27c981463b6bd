// HeapRegistry: all thread heaps of the process, and the pool of those whose thread has exited.
//
// Threads: any; one lock, taken before those of HeapState and EmptySlabs.

#ifndef HARDENED_CORE_HEAP_REGISTRY_H_
#define HARDENED_CORE_HEAP_REGISTRY_H_

#include <atomic>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "hardened/core/heap_state.h"
#include "hardened/core/size_class.h"
#include "hardened/core/thread_heap.h"
#include "hardened/prim/lock.h"

namespace hardened::core {

class HeapRegistry {
 public:
  // Gives the calling thread a heap and arms its return at thread exit.
  // Returns: null when memory is exhausted.
  ThreadHeap* AcquireForThread() ABSL_LOCKS_EXCLUDED(lock_);
  // Takes the heap back from the calling thread, which is about to exit or borrowed it.
  void ReleaseFromThread(ThreadHeap* heap) ABSL_LOCKS_EXCLUDED(lock_);

  // A heap for SwitchTo(), with `home`. It belongs to no thread and never comes into the pool.
  // Returns: null when memory is exhausted.
  ThreadHeap* MakeHeapAt(Arena& home) ABSL_LOCKS_EXCLUDED(lock_);
  // The calling thread goes on with `heap`, of MakeHeapAt() or what SwitchTo() returned. Requires:
  // HasHeap(), and that no other thread uses `heap`. Returns: the heap that it had.
  static ThreadHeap* SwitchTo(ThreadHeap& heap);

  // A slab with free slots of `size_class` from a heap in the pool, now owned by `heap`; null when
  // a bounded search finds none.
  Slab* Adopt(ThreadHeap& heap, SizeClass size_class, uint64_t* taken) ABSL_LOCKS_EXCLUDED(lock_);

  // Collects what was freed into heaps of the pool, and gives empty slabs back: of one heap, the
  // one that has waited longest, or of all.
  void CollectPool(bool all) ABSL_LOCKS_EXCLUDED(lock_);

  ThreadHeap::Tally Total() ABSL_LOCKS_EXCLUDED(lock_);

  // Counts a slot that was sent without a heap.
  void CountSentAlone(SizeClass size_class) {
    sent_alone_slots_.fetch_add(1, std::memory_order_relaxed);
    sent_alone_bytes_.fetch_add(SlotSize(size_class), std::memory_order_relaxed);
  }

  // Counts runs of the calling thread, whether it has a heap or not.
  void CountRun(uint64_t allocations, int64_t live, int64_t bytes) {
    if (HasHeap()) [[likely]] {
      return static_cast<ThreadHeap*>(current_heap)->CountRun(allocations, live, bytes);
    }
    heapless_run_allocations_.fetch_add(allocations, std::memory_order_relaxed);
    heapless_live_runs_.fetch_add(static_cast<uint64_t>(live), std::memory_order_relaxed);
    heapless_live_run_bytes_.fetch_add(static_cast<uint64_t>(bytes), std::memory_order_relaxed);
  }

  // Has heaps given back when their thread exits. Calls libc, which may be somebody else's and call
  // malloc: not with a lock held. Once; further calls change nothing.
  void RegisterExit();

  // Around a fork (hardened/fork.h), with EmptySlabs and HeapState.
  void FreezeForFork();
  void ThawAfterFork();
  void MendInChild() ABSL_NO_THREAD_SAFETY_ANALYSIS;

 private:
  static void OnThreadExit(void* heap);
  // Null when memory is exhausted.
  ThreadHeap* MakeHeap(DrawsInChild in_child) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  prim::Lock lock_;
  ThreadHeap* heaps_ ABSL_GUARDED_BY(lock_) = nullptr;
  ThreadHeap* pool_ ABSL_GUARDED_BY(lock_) = nullptr;  // the last to come is the first to go
  ThreadHeap* next_to_collect_ ABSL_GUARDED_BY(lock_) = nullptr;
  // For the next heap, from an attempt that got no random stream.
  void* next_block_ ABSL_GUARDED_BY(lock_) = nullptr;
  std::atomic<uint32_t> pooled_{0};
  std::atomic<uint32_t> leaving_{0};  // on their way to the pool: many threads may exit at once
  std::atomic<uint64_t> sent_alone_slots_{0};
  std::atomic<uint64_t> sent_alone_bytes_{0};
  std::atomic<uint64_t> heapless_run_allocations_{0};
  std::atomic<uint64_t> heapless_live_runs_{0};
  std::atomic<uint64_t> heapless_live_run_bytes_{0};
  std::atomic<bool> exit_registered_{false};
};

[[gnu::visibility("hidden")]] extern HeapRegistry heap_registry;

// The current thread's heap, made at its first use. Null when memory is exhausted.
inline ThreadHeap* CurrentHeapOrNew() {
  if (HasHeap()) [[likely]]
    return static_cast<ThreadHeap*>(current_heap);
  return heap_registry.AcquireForThread();
}

// A heap for one operation on the slow side. A thread whose exit has begun borrows one and gives it
// back at once: nobody would do it later.
class HeapForOperation {
 public:
  HeapForOperation() : borrowed_(ThreadIsExiting()), heap_(CurrentHeapOrNew()) {}
  ~HeapForOperation() {
    if (borrowed_ && heap_ != nullptr) heap_registry.ReleaseFromThread(heap_);
  }
  HeapForOperation(const HeapForOperation&) = delete;
  HeapForOperation& operator=(const HeapForOperation&) = delete;
  ThreadHeap* get() const { return heap_; }

 private:
  const bool borrowed_;
  ThreadHeap* const heap_;
};

}  // namespace hardened::core

#endif  // HARDENED_CORE_HEAP_REGISTRY_H_
