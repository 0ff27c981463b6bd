#include "hardened/prim/lock.h"

#include <linux/futex.h>
#include <time.h>

#include <cerrno>
#include <climits>

#include "hardened/prim/check.h"
#include "hardened/prim/kernel.h"

namespace hardened::prim {

constinit thread_local uint8_t locks_held = 0;
constinit thread_local uint16_t lock_wanted = 0;

namespace {

// Some hundred nanoseconds: longer than the usual critical section, shorter than a system call
// and its wake-up.
constexpr int kSpins = 100;

// How long somebody waits who must not wait for ever: in sleeps of 10 ms, or in so many attempts
// that did not sleep. For a frozen lock: longer than most forks take; then its taker does no harm,
// but if it still holds the lock when the child is made, the child drops what it guards.
constexpr long kSleepNanoseconds = 10'000'000;
constexpr int kPatienceOfSleep = 1000;
constexpr int kForFrozen = 5 * kPatienceOfSleep;
constexpr int kForHolder = 300 * kPatienceOfSleep;
constexpr int kForOtherFork = 10 * kPatienceOfSleep;

// Forks under way, of all threads; and of this one, each within the one before.
constinit std::atomic<uint32_t> forks{0};
constinit thread_local uint8_t own_forks = 0;

// Lets the sibling hyperthread run.
inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

long Futex(std::atomic<uint32_t>* word, int operation, uint32_t value, const timespec* timeout) {
  static_assert(sizeof(*word) == sizeof(uint32_t));
  return kernel::SystemCall(SYS_futex, word, operation | FUTEX_PRIVATE_FLAG, value, timeout,
                            nullptr, 0);
}

// Sleeps while `word` is `value`; at most kSleepNanoseconds if `bounded`.
// Returns: the patience that it cost.
int Sleep(std::atomic<uint32_t>* word, uint32_t value, bool bounded) {
  constexpr timespec kTimeout = {.tv_sec = 0, .tv_nsec = kSleepNanoseconds};
  const long result = Futex(word, FUTEX_WAIT, value, bounded ? &kTimeout : nullptr);
  if (result == -ETIMEDOUT) return kPatienceOfSleep;
  // EAGAIN: changed meanwhile. EINTR: a signal. Anything else: no futex here.
  if (result != 0 && result != -EAGAIN && result != -EINTR &&
      kernel::SystemCall(SYS_sched_yield) != 0) {
    Pause();
  }
  return 1;
}

}  // namespace

void Lock::AcquireSlow() {
  for (int i = 0; i < kSpins; ++i) {
    Pause();
    if (state_.load(std::memory_order_relaxed) == kFree && TryTake()) return;
  }
  // The holder may be this very thread: it died under the lock, and a SIGABRT handler of the
  // program came back for memory.
  if (ThreadIsDying()) AbortWithoutHandler();
  int patience = own_forks > 0 ? 0 : kForFrozen;
  for (;;) {
    const uint32_t state = state_.load(std::memory_order_relaxed);
    const bool frozen = state == kFrozen || state == kFrozenContended;
    // Taking the lock as kContended may cause one needless wake-up; taking it as kHeld could lose
    // one.
    if (state == kFree || (frozen && patience <= 0)) {
      if (Change(state, kContended)) return;
      continue;
    }
    const uint32_t contended = frozen ? kFrozenContended : kContended;
    if (state != contended && !Change(state, contended)) continue;
    const int cost = Sleep(&state_, contended, /*bounded=*/frozen);
    if (frozen) patience -= cost;
  }
}

void Lock::Freeze() {
  // Where this thread was about to take it, the holder is another one, and has to be done.
  const bool others = locks_held == 0 || lock_wanted == Number();
  int patience = others ? kForHolder : kPatienceOfSleep;
  uint32_t frozen = kFrozen;
  for (;;) {
    const uint32_t state = state_.load(std::memory_order_relaxed);
    // By another fork that is under way, or by one that this one interrupted.
    if (state == kFrozen || state == kFrozenContended) return;
    if (state == kFree) {
      if (Change(kFree, frozen)) return;
      continue;
    }
    if (patience <= 0) return;
    if (state != kContended && !Change(state, kContended)) continue;
    patience -= Sleep(&state_, kContended, /*bounded=*/true);
    // Others may sleep who were not woken.
    frozen = kFrozenContended;
  }
}

void Lock::Thaw() {
  uint32_t state = state_.load(std::memory_order_relaxed);
  do {
    if (state != kFrozen && state != kFrozenContended) return;
    // Pairs with the acquire operation in Change().
  } while (!state_.compare_exchange_weak(state, kFree, std::memory_order_release,
                                         std::memory_order_relaxed));
  if (state == kFrozenContended) Wake(INT_MAX);
}

void Lock::Wake(int most) {
  // Refused by a sandbox: then nobody sleeps either, see Sleep().
  Futex(&state_, FUTEX_WAKE, static_cast<uint32_t>(most), nullptr);
}

void BeginFork() {
  if (own_forks == 0) {
    int patience = kForOtherFork;
    for (uint32_t others; patience > 0 && (others = forks.load(std::memory_order_relaxed)) != 0;) {
      patience -= Sleep(&forks, others, /*bounded=*/true);
    }
  }
  // In this order, and back in the opposite one: a signal handler that forks between the two leaves
  // `forks` too low in its child, never too high.
  forks.fetch_add(1, std::memory_order_relaxed);
  ++own_forks;
}

bool EndForkInParent() {
  // Without a beginning: the handlers were registered in the midst of a fork.
  if (own_forks == 0) return false;
  --own_forks;
  uint32_t before = forks.load(std::memory_order_relaxed);
  while (before != 0 &&
         !forks.compare_exchange_weak(before, before - 1, std::memory_order_relaxed)) {
  }
  Futex(&forks, FUTEX_WAKE, 1, nullptr);
  return before <= 1;
}

void EndForkInChild() {
  if (own_forks > 0) --own_forks;
  forks.store(own_forks, std::memory_order_relaxed);
}

bool Lock::AcquireWithPatience() {
  // A holder that was preempted needs a turn of the scheduler, one that sleeps in the kernel more.
  constexpr int kYields = 1000;
  const Wanting wanting(*this);
  for (int i = 0; i < kYields; ++i) {
    if (TryTake()) return true;
    kernel::SystemCall(SYS_sched_yield);
  }
  --locks_held;
  return false;
}

}  // namespace hardened::prim
