#include "hardened/prim/start_guard.h"

#include <atomic>
#include <cstdint>

#include "hardened/prim/lock.h"

namespace hardened::prim {
namespace {

constinit Lock start_lock;
// Guards of this thread, each within the one before.
constinit thread_local uint16_t own_guards = 0;

// Far more than the functions of libc that start-up calls allocate in any known library.
constexpr size_t kStockBytes = 64 << 10;
constexpr size_t kMostAligned = 4096;
alignas(kMostAligned) constinit char stock[kStockBytes] = {};
constinit std::atomic<size_t> stock_used{0};

constexpr size_t kHeader = 16;

}  // namespace

StartGuard::StartGuard() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  // Counted first: what a signal handler allocates from here on must not wait.
  if (++own_guards == 1) start_lock.Acquire();
}

StartGuard::~StartGuard() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  if (own_guards == 1) start_lock.Release();
  --own_guards;
}

bool ThreadIsStarting() { return own_guards > 0; }

void FreezeStart() { start_lock.Freeze(); }
void ThawStart() { start_lock.Thaw(); }
bool MendStartInChild() { return ThreadIsStarting() || start_lock.ForkReset(); }

void* AllocateEarly(size_t bytes, size_t alignment) {
  if (!ThreadIsStarting() || bytes > kStockBytes || alignment > kMostAligned) {
    return nullptr;
  }
  if (alignment < kHeader) alignment = kHeader;
  size_t used = stock_used.load(std::memory_order_relaxed);
  size_t start;
  do {
    start = (used + kHeader + alignment - 1) & ~(alignment - 1);
    if (start > kStockBytes || bytes > kStockBytes - start) return nullptr;
  } while (!stock_used.compare_exchange_weak(used, start + bytes, std::memory_order_relaxed));
  __builtin_memcpy(&stock[start - sizeof(bytes)], &bytes, sizeof(bytes));
  return &stock[start];
}

bool IsEarly(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) - reinterpret_cast<uintptr_t>(stock) < kStockBytes;
}

size_t EarlySize(const void* pointer) {
  size_t bytes;
  __builtin_memcpy(&bytes, static_cast<const char*>(pointer) - sizeof(bytes), sizeof(bytes));
  return bytes;
}

}  // namespace hardened::prim
