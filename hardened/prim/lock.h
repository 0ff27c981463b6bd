// Lock: a mutual exclusion lock of four bytes that is usable inside malloc and survives fork().
//
// States on a futex: U. Drepper, "Futexes Are Tricky", 2011, mutex 2. A short spin, then the
// kernel. Where a sandbox refuses futex(2), waiting becomes sched_yield() in a loop: slower, never
// a hang and never an abort. Not recursive, not fair, constant-initialised to unlocked (.bss).
//
// Fork: the thread that forks freezes a lock before. Frozen means: what it guards is whole, and
// nobody is in the middle of a change. The forking thread may acquire it as if it were free, since
// fork() calls functions of other libraries, which allocate; other threads wait, but not for ever:
// fork() takes locks of libc, too, and one that needs this lock may hold them. Taking a frozen lock
// away is safe at any moment: the kernel keeps all writes of all threads in their order when it
// copies a process (whatever is written to a page after that was copied waits for the end of the
// copy, and with it everything written later), so the child sees the lock held, or no change at
// all. In the child a lock that is held guards something that nobody will make whole.
//
// Threads: any. Signals: a handler must not take a lock that its thread may hold; it may fork.

#ifndef HARDENED_PRIM_LOCK_H_
#define HARDENED_PRIM_LOCK_H_

#include <atomic>
#include <cstdint>

#include "absl/base/thread_annotations.h"

namespace hardened::prim {

// Locks that the calling thread holds or is about to: then waiting in fork() may be for itself.
[[gnu::visibility("hidden"),
  gnu::tls_model("initial-exec")]] extern constinit thread_local uint8_t locks_held;
// A number of the one among them that it does not hold yet; 0: none. Below a signal handler that
// forks, the child goes on with just this lock, and with what it guards.
[[gnu::visibility("hidden"),
  gnu::tls_model("initial-exec")]] extern constinit thread_local uint16_t lock_wanted;

class ABSL_LOCKABLE Lock {
 public:
  constexpr Lock() = default;
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

  void Acquire() ABSL_EXCLUSIVE_LOCK_FUNCTION() {
    const Wanting wanting(*this);
    if (!TryTake()) [[unlikely]]
      AcquireSlow();
  }

  void Release() ABSL_UNLOCK_FUNCTION() {
    // Pairs with the acquire operations in TryTake() and AcquireSlow().
    if (state_.exchange(kFree, std::memory_order_release) == kContended) [[unlikely]]
      Wake(1);
    --locks_held;
  }

  // Returns: whether the caller holds the lock.
  bool TryLock() ABSL_EXCLUSIVE_TRYLOCK_FUNCTION(true) {
    const Wanting wanting(*this);
    if (TryTake()) return true;
    --locks_held;
    return false;
  }

  // Waits for it, but not for ever: for callers whose own thread may hold it.
  // Returns: whether the caller holds the lock.
  bool AcquireWithPatience() ABSL_EXCLUSIVE_TRYLOCK_FUNCTION(true);

  // Before a fork, after BeginFork(): waits until nobody holds the lock, and freezes it. Gives up
  // after some seconds, and soon where the holder may be this thread, below a signal handler.
  void Freeze();
  // After a fork, in the parent: frees the lock if it is frozen.
  void Thaw();
  // In the child of a fork, where the other threads, and with them the waiters, do not exist: frees
  // the lock. Returns: false when somebody held it, and what it guards may be half changed.
  bool ForkReset() {
    const uint32_t before = state_.exchange(kFree, std::memory_order_relaxed);
    return before != kHeld && before != kContended;
  }

  // Whether anybody holds the lock, at some moment: for tests, and before an attempt.
  bool IsHeld() const {
    const uint32_t state = state_.load(std::memory_order_relaxed);
    return state == kHeld || state == kContended;
  }

 private:
  static constexpr uint32_t kFree = 0;
  static constexpr uint32_t kHeld = 1;
  static constexpr uint32_t kContended = 2;  // held, and somebody may sleep
  static constexpr uint32_t kFrozen = 3;
  static constexpr uint32_t kFrozenContended = 4;  // frozen, and somebody may sleep

  // While the calling thread takes a lock, which counts as held afterwards.
  class Wanting {
   public:
    explicit Wanting(const Lock& lock) : outer_(lock_wanted) {
      lock_wanted = lock.Number();
      ++locks_held;
    }
    ~Wanting() { lock_wanted = outer_; }
    Wanting(const Wanting&) = delete;
    Wanting& operator=(const Wanting&) = delete;

   private:
    const uint16_t outer_;  // of what this thread was at below the signal handler that it is in
  };

  // Seldom that of another lock.
  uint16_t Number() const {
    return static_cast<uint16_t>(reinterpret_cast<uintptr_t>(this) / sizeof(Lock) | 1);
  }

  bool TryTake() { return Change(kFree, kHeld); }
  // Pairs with the release operations in Release() and Thaw().
  bool Change(uint32_t from, uint32_t to) {
    return state_.compare_exchange_strong(from, to, std::memory_order_acquire,
                                          std::memory_order_relaxed);
  }
  [[gnu::cold, gnu::noinline]] void AcquireSlow();
  // Wakes at most so many.
  [[gnu::cold, gnu::noinline]] void Wake(int most);

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

// Around the fork of the calling thread, which may be one within another (a signal handler's). Of
// two threads the second waits for the first, a tenth of a second at most.
void BeginFork();
// Returns: whether no other fork is under way, so that locks may thaw.
bool EndForkInParent();
void EndForkInChild();

}  // namespace hardened::prim

#endif  // HARDENED_PRIM_LOCK_H_
