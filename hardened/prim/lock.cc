#include "hardened/prim/lock.h"

#include <linux/futex.h>

#include <cerrno>

#include "hardened/prim/check.h"
#include "hardened/prim/kernel.h"

namespace hardened::prim {
namespace {

// Some hundred nanoseconds: longer than the usual critical section, shorter than a system call
// and its wake-up.
constexpr int kSpins = 100;

// Lets the sibling hyperthread run.
inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

long Futex(std::atomic<uint32_t>* word, int operation, uint32_t value) {
  static_assert(sizeof(*word) == sizeof(uint32_t));
  return kernel::SystemCall(SYS_futex, word, operation | FUTEX_PRIVATE_FLAG, value, nullptr,
                            nullptr, 0);
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
  // Pairs with the release exchange in Release(). Taking the lock as kContended may cause one
  // needless wake-up; taking it as kHeld could lose one.
  while (state_.exchange(kContended, std::memory_order_acquire) != kFree) {
    const long result = Futex(&state_, FUTEX_WAIT, kContended);
    // EAGAIN: released meanwhile. EINTR: a signal. Anything else: no futex here.
    if (result != 0 && result != -EAGAIN && result != -EINTR) kernel::SystemCall(SYS_sched_yield);
  }
}

void Lock::Wake() {
  // Refused by a sandbox: then nobody sleeps either, see AcquireSlow().
  Futex(&state_, FUTEX_WAKE, 1);
}

}  // namespace hardened::prim
