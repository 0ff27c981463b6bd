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

  // Collects what was freed into other heaps and gives empty slabs back: of one heap in the pool
  // and, a bounded amount, of heaps whose threads do not come for it. Each in its turn.
  void Reclaim(uint64_t now_ms) ABSL_LOCKS_EXCLUDED(lock_);
  // The same of all other heaps, and of all that waits.
  void ReclaimAll() ABSL_LOCKS_EXCLUDED(lock_);
  // Much waits for `owner`: files some of it, unless its thread or a helper does so already or, if
  // not `at_once`, its thread did a moment ago.
  void Relieve(ThreadHeap& owner, bool at_once) ABSL_LOCKS_EXCLUDED(lock_);

  ThreadHeap::Tally Total() ABSL_LOCKS_EXCLUDED(lock_);

  // Counts slots that were sent, minus those that were collected, by whom it is not to be counted
  // in a heap.
  void CountSentAlone(uint64_t slots, uint64_t bytes) {
    sent_alone_slots_.fetch_add(slots, std::memory_order_relaxed);
    sent_alone_bytes_.fetch_add(bytes, std::memory_order_relaxed);
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
  // Enters the slow side of `heap` for a helper, if `heap` is another thread's that may be helped
  // and that is not there. fork() waits for helpers, since it takes lock_ as well.
  static bool TryEnter(ThreadHeap& heap);
  static void Leave(ThreadHeap& heap) ABSL_NO_THREAD_SAFETY_ANALYSIS { heap.slow_side_.Release(); }
  // Reclaims from the heap whose turn it is, a bounded amount.
  enum class Turn : uint8_t { kSame, kNext, kLast };
  Turn ReclaimNext(uint64_t now_ms) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  static void OnThreadExit(void* heap);
  // Null when memory is exhausted.
  ThreadHeap* MakeHeap(DrawsInChild in_child) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  prim::Lock lock_;
  ThreadHeap* heaps_ ABSL_GUARDED_BY(lock_) = nullptr;
  ThreadHeap* pool_ ABSL_GUARDED_BY(lock_) = nullptr;  // the last to come is the first to go
  ThreadHeap* next_to_reclaim_ ABSL_GUARDED_BY(lock_) = nullptr;
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
