// Lock: a mutual exclusion lock of four bytes that is usable inside malloc.
//
// Three states on a futex: U. Drepper, "Futexes Are Tricky", 2011, mutex 2. A short spin, then the
// kernel. Where a sandbox refuses futex(2), waiting becomes sched_yield() in a loop: slower, never
// a hang and never an abort. Not recursive, not fair, constant-initialised to unlocked (.bss).
//
// Threads: any. Signals: a handler must not take a lock that its thread may hold.

#ifndef HARDENED_PRIM_LOCK_H_
#define HARDENED_PRIM_LOCK_H_

#include <atomic>
#include <cstdint>

#include "absl/base/thread_annotations.h"

namespace hardened::prim {

class ABSL_LOCKABLE Lock {
 public:
  constexpr Lock() = default;
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

  void Acquire() ABSL_EXCLUSIVE_LOCK_FUNCTION() {
    if (!TryTake()) [[unlikely]]
      AcquireSlow();
  }

  void Release() ABSL_UNLOCK_FUNCTION() {
    // Pairs with the acquire operations in TryTake() and AcquireSlow().
    if (state_.exchange(kFree, std::memory_order_release) == kContended) [[unlikely]]
      Wake();
  }

  // Returns: whether the caller holds the lock.
  bool TryLock() ABSL_EXCLUSIVE_TRYLOCK_FUNCTION(true) { return TryTake(); }

  // Waits for it, but not for ever: for callers whose own thread may hold it.
  // Returns: whether the caller holds the lock.
  bool AcquireWithPatience() ABSL_EXCLUSIVE_TRYLOCK_FUNCTION(true);

  // Makes the lock free whatever its state. Only in a child of fork(), where the other threads,
  // and with them the waiters, do not exist.
  void ForkReset() { state_.store(kFree, std::memory_order_relaxed); }

  // For tests and debug checks: true if anybody holds the lock.
  bool IsHeld() const { return state_.load(std::memory_order_relaxed) != kFree; }

 private:
  static constexpr uint32_t kFree = 0;
  static constexpr uint32_t kHeld = 1;
  static constexpr uint32_t kContended = 2;  // held, and somebody may sleep

  bool TryTake() {
    uint32_t expected = kFree;
    // Pairs with the release exchange in Release().
    return state_.compare_exchange_strong(expected, kHeld, std::memory_order_acquire,
                                          std::memory_order_relaxed);
  }
  [[gnu::cold, gnu::noinline]] void AcquireSlow();
  [[gnu::cold, gnu::noinline]] void Wake();

  std::atomic<uint32_t> state_{kFree};
};
static_assert(sizeof(Lock) == 4);

// Holds `lock` for the length of a scope.
class ABSL_SCOPED_LOCKABLE LockGuard {
 public:
  explicit LockGuard(Lock& lock) ABSL_EXCLUSIVE_LOCK_FUNCTION(lock) : lock_(lock) {
    lock_.Acquire();
  }
  ~LockGuard() ABSL_UNLOCK_FUNCTION() { lock_.Release(); }
  LockGuard(const LockGuard&) = delete;
  LockGuard& operator=(const LockGuard&) = delete;

 private:
  Lock& lock_;
};

}  // namespace hardened::prim

#endif  // HARDENED_PRIM_LOCK_H_
