// patterns.h: the ways of using malloc that tools/bench compares.
//
// Every function runs one pattern to its end and frees what it took. Every
// block is written to at its first byte. `Stopwatch` counts one operation per
// malloc+free pair unless the line says otherwise.

#ifndef TOOLS_BENCHMARKS_PATTERNS_H_
#define TOOLS_BENCHMARKS_PATTERNS_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "measure.h"

namespace bench {

enum class FreeOrder { kLastFirst, kFirstFirst, kRandom };

// A range of request sizes, both ends included.
struct Sizes {
  uint32_t low;
  uint32_t high;
};

// Blocks of mixed size as real programs live with them (churn, threads).
inline constexpr Sizes kChurnSizes = {16, 528};

// Allocates `size` bytes and writes the first.
inline char* Take(size_t size) {
  char* block = static_cast<char*>(malloc(size));
  if (block == nullptr) Die("malloc returned null");
  *block = 1;
  Escape(block);
  return block;
}

// UsedHeap: while it lives, the heap has free memory in the middle and live
// blocks on both sides of it. In a new one, the last block always has room
// behind it, and the end goes back to the system every time; programs seldom
// see either.
class UsedHeap {
 public:
  UsedHeap() : blocks_(61) {
    for (char*& block : blocks_) block = Take(100'000);
    for (size_t i = 1; i + 1 < blocks_.size(); ++i) free(blocks_[i]);
  }
  ~UsedHeap() {
    free(blocks_[0]);
    free(blocks_[blocks_.size() - 1]);
  }
  UsedHeap(const UsedHeap&) = delete;
  UsedHeap& operator=(const UsedHeap&) = delete;

 private:
  Array<char*> blocks_;
};

// single_thread_patterns.cc
void Control(Stopwatch& watch);  // no allocation; must cost the same under every allocator
void Pair(Stopwatch& watch, size_t size);
void Batch(Stopwatch& watch, size_t count, Sizes sizes, FreeOrder order);
void Churn(Stopwatch& watch, size_t live);
void Calloc(Stopwatch& watch, size_t size);
void Aligned(Stopwatch& watch, size_t size, size_t alignment);
void ReallocBySteps(Stopwatch& watch);      // +64 up to 64 KiB; an operation is one step
void ReallocByFactor(Stopwatch& watch);     // x1.5 up to 1 MiB; an operation is one step
void Mixed(Stopwatch& watch, Sizes sizes);  // 1,000 live, small sizes more often than large

// growth_patterns.cc; an operation is one step of growth, or a block of those that are touched
void StringGrowth(Stopwatch& watch);  // many short strings, realloc to twice the size
void VectorGrowth(Stopwatch& watch);  // a new block of twice the size, a copy, a free
void LargeGrowth(Stopwatch& watch);   // realloc x1.5 from 256 KiB to 16 MiB, every page touched
void LargeTouched(Stopwatch& watch);  // 64 KiB to 16 MiB, every page touched
void LargeReplaced(Stopwatch& watch);  // 20 live of 5 to 25 MiB, every page touched

// thread_patterns.cc
void ProducerConsumer(Stopwatch& watch);
void Handover(Stopwatch& watch);
void LocalChurn(Stopwatch& watch);
void ThreadChurn(Stopwatch& watch);  // an operation is one thread

// transfer_patterns.cc: several threads and what they pass to each other
void SlotServer(Stopwatch& watch);
void DeepQueue(Stopwatch& watch);
void Ring(Stopwatch& watch);
void Pipe(Stopwatch& watch);
void Transfers(Stopwatch& watch);
void ActiveFalseSharing(Stopwatch& watch);
void PassiveFalseSharing(Stopwatch& watch);
void Scale(Stopwatch& watch, int threads);

// json_pattern.cc
void Json(Stopwatch& watch);

// latency_pattern.cc; prints its own figures.
void Latency();

// heap_patterns.cc; prints its own figures: nanoseconds per object that was allocated, of all calls
// of malloc and free (change) and of walking the heap (walk).
void Heap(size_t bytes, int rounds, int walks);  // each round replaces a quarter, then walks

// footprint_patterns.cc; they print their own figures.
void Footprint(size_t count, Sizes sizes);
void Fragmentation(size_t bytes);  // fill, free a random half, refill with another size
void Burst(size_t bytes);          // fill and free again, with an eighth of it live all the time

}  // namespace bench

#endif  // TOOLS_BENCHMARKS_PATTERNS_H_
