// thread_patterns.cc: two threads at a time, and many one after another.
//
// Threads wait for each other asleep, never by spinning, so that the CPU time
// of a pattern is that of its work.

#include "patterns.h"
#include "threads.h"

namespace bench {
namespace {

// Replaces random blocks of `blocks`. Returns: the bytes requested.
int64_t Replace(Array<char*>& blocks, Random& random, int64_t operations) {
  int64_t bytes = 0;
  for (int64_t i = 0; i < operations; ++i) {
    char*& block = blocks[random.Below(static_cast<uint32_t>(blocks.size()))];
    const uint32_t size = random.Between(kChurnSizes.low, kChurnSizes.high);
    free(block);
    block = Take(size);
    bytes += size;
  }
  return bytes;
}

void Fill(Array<char*>& blocks, Random& random) {
  for (char*& block : blocks) block = Take(random.Between(kChurnSizes.low, kChurnSizes.high));
}

}  // namespace

// One thread allocates, the other frees: batches travel through a ring.
void ProducerConsumer(Stopwatch& watch) {
  constexpr size_t kBatch = 1024;
  constexpr size_t kRing = 8;
  constexpr size_t kBatches = 300;
  constexpr size_t kSize = 64;
  Array<char*> ring(kRing * kBatch);
  watch.Repeat([&] {
    sem_t empty;
    sem_t full;
    sem_init(&empty, 0, kRing);
    sem_init(&full, 0, 0);
    InThreads(2, [&](int index) {
      for (size_t batch = 0; batch < kBatches; ++batch) {
        char** blocks = &ring[batch % kRing * kBatch];
        Wait(index == 0 ? &empty : &full);
        for (size_t i = 0; i < kBatch; ++i) {
          if (index == 0) {
            blocks[i] = Take(kSize);
          } else {
            free(blocks[i]);
          }
        }
        sem_post(index == 0 ? &full : &empty);
      }
    });
    return Work{kBatch * kBatches, kBatch * kBatches * kSize};
  });
}

// Both threads replace blocks in an array of 1,000 and swap the arrays every
// 4,000 operations, so that most blocks of the other thread are freed here.
void Handover(Stopwatch& watch) {
  constexpr int kSwaps = 40;
  constexpr int64_t kOperations = 4000;
  Random filler(4);
  Array<char*> blocks[2] = {Array<char*>(1000), Array<char*>(1000)};
  for (Array<char*>& half : blocks) Fill(half, filler);
  pthread_barrier_t barrier;
  pthread_barrier_init(&barrier, nullptr, 2);
  watch.Repeat([&] {
    int64_t bytes[2] = {};
    InThreads(2, [&](int index) {
      Random random(5 + index);
      for (int swap = 0; swap < kSwaps; ++swap) {
        bytes[index] += Replace(blocks[(index + swap) % 2], random, kOperations);
        pthread_barrier_wait(&barrier);
      }
    });
    return Work{2 * kSwaps * kOperations, bytes[0] + bytes[1]};
  });
  for (Array<char*>& half : blocks) {
    for (char* block : half) free(block);
  }
}

// Two threads that share nothing but the allocator.
void LocalChurn(Stopwatch& watch) {
  constexpr int64_t kOperations = 200'000;
  Array<char*> blocks[2] = {Array<char*>(1000), Array<char*>(1000)};
  watch.Repeat([&] {
    int64_t bytes[2] = {};
    InThreads(2, [&](int index) {
      Random random(7 + index);
      Fill(blocks[index], random);
      bytes[index] = Replace(blocks[index], random, kOperations);
      for (char* block : blocks[index]) free(block);
    });
    return Work{2 * kOperations, bytes[0] + bytes[1]};
  });
}

// 1,000 short threads, one after another; each takes and frees 100 blocks.
void ThreadChurn(Stopwatch& watch) {
  constexpr int kThreads = 1000;
  const OnOneCpu one_cpu;
  watch.Repeat([&] {
    for (int i = 0; i < kThreads; ++i) {
      pthread_t thread;
      const int error = pthread_create(
          &thread, nullptr,
          [](void*) -> void* {
            char* blocks[100];
            Random random(9);
            for (char*& block : blocks) {
              block = Take(random.Between(kChurnSizes.low, kChurnSizes.high));
            }
            for (char* block : blocks) free(block);
            return nullptr;
          },
          nullptr);
      if (error != 0) Die("pthread_create failed");
      pthread_join(thread, nullptr);
    }
    return Work{kThreads, 0};
  });
}

}  // namespace bench
