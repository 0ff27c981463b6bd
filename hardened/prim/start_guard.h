// StartGuard: while the heap of the process is being started, policy included, by one thread.
//
// Start-up asks libc, and signals arrive: what runs then on the same thread may allocate. It is
// served from a small stock of its own, never from what is half made, and never waits for itself.
// Other threads wait.
//
// Threads, signals: any.

#ifndef HARDENED_PRIM_START_GUARD_H_
#define HARDENED_PRIM_START_GUARD_H_

#include <cstddef>

#include "absl/base/thread_annotations.h"

namespace hardened::prim {

// Holds the right to start for the length of a scope. One within another is the same.
class StartGuard {
 public:
  StartGuard();
  ~StartGuard();
  StartGuard(const StartGuard&) = delete;
  StartGuard& operator=(const StartGuard&) = delete;
};

// Whether the calling thread is within a StartGuard.
bool ThreadIsStarting();

// Around a fork (hardened/fork.h).
void FreezeStart();
void ThawStart();
// Returns: false when another thread was within a StartGuard: nobody goes on with it here.
bool MendStartInChild();

// ---- the stock

// `bytes` that read as zero, aligned to `alignment`, a power of two. For a thread that is starting
// the heap. Returns: null for any other thread, or when the stock is used up.
void* AllocateEarly(size_t bytes, size_t alignment);
// Whether `pointer` points into the stock. What comes from there is never used again.
bool IsEarly(const void* pointer);
// The bytes that were asked for. Requires: `pointer` came from AllocateEarly().
size_t EarlySize(const void* pointer);

}  // namespace hardened::prim

#endif  // HARDENED_PRIM_START_GUARD_H_
