// Guarded samples: one allocation in many gets pages of its own between two guards, with the stacks
// that allocated and freed it.
//
// Detects: at the instruction, any access beyond the page of the sample, on the side it is placed
//          against (start or end, at random), and any use after its free while it is held.
// Misses:  the allocations that are not sampled; fewer bytes than the alignment (15 of malloc's)
//          behind an end that it keeps from the guard, which the canary finds at the free.
// Cost:    a decrement in malloc that is there anyway; for each sample two system calls, a page and
//          a Trace.
//
// The idea is that of Electric Fence (B. Perens, 1987), made affordable by sampling in GWP-ASan
// (Chromium and LLVM, 2019).
//
// Threads: any.

#ifndef HARDENED_GUARDED_SAMPLE_H_
#define HARDENED_GUARDED_SAMPLE_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "hardened/core/run.h"
#include "hardened/core/thread_heap.h"

namespace hardened {

struct Stack {
  static constexpr size_t kFrames = 16;
  std::array<uintptr_t, kFrames> frames;
  uint32_t size;
};

// What is known about a sampled allocation.
struct Trace {
  Stack allocated;
  Stack freed;  // empty while it lives
  core::Arena* metadata_arena;
};

// Pages of freed samples that are held as address space where any access faults: those of the last
// 640,000 allocations or so, at least 64 and at most half of what may exist. A held one takes half
// a KiB of metadata. Requires: there are samples.
size_t SampleHoldBytes();

// The number of allocations until the next sample: uniform with the mean `interval`.
uint64_t DrawInterval(core::ThreadHeap& heap, uint32_t interval);

// A run for a sample of `bytes`, aligned to `alignment`, without a live record. Null when there is
// no memory for it, or when there are too many samples. The caller's frame must have a frame
// pointer.
core::Run* AllocateSample(core::ThreadHeap& heap, size_t bytes, size_t alignment);

// The sample is about to be freed by the caller, whose frame must have a frame pointer.
void NoteSampleFreed(core::Run& run);

// HeapPlug::forget_trace.
void ForgetTrace(void* trace);

}  // namespace hardened

#endif  // HARDENED_GUARDED_SAMPLE_H_
