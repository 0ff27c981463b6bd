// single_thread_patterns.cc: what one thread can do to an allocator.
//
// Sizes and orders are drawn before the clock starts, in several variants so
// that the branch predictor cannot learn one by heart.

#include <algorithm>
#include <utility>

#include "patterns.h"

namespace bench {
namespace {

constexpr size_t kVariants = 8;

// Operations in one repetition of a pattern whose blocks have `size` bytes:
// fewer for large blocks, which cost some allocators microseconds each.
int64_t OperationsFor(size_t size) { return size > 65536 ? 10'000 : 200'000; }

}  // namespace

void Control(Stopwatch& watch) {
  Random random(1);
  watch.Repeat([&] {
    uint64_t sum = 0;
    for (int i = 0; i < 1'000'000; ++i) {
      sum += random.Below(1000);
      Escape(&sum);
    }
    return Work{1'000'000, 0};
  });
}

void Pair(Stopwatch& watch, size_t size) {
  const int64_t operations = OperationsFor(size);
  watch.Repeat([&] {
    for (int64_t i = 0; i < operations; ++i) free(Take(size));
    return Work{operations, operations * static_cast<int64_t>(size)};
  });
}

void Batch(Stopwatch& watch, size_t count, Sizes sizes, FreeOrder order) {
  Random random(2);
  Array<char*> blocks(count);
  Array<uint32_t> size_of(count * kVariants);
  Array<uint32_t> free_order(count * kVariants);
  for (uint32_t& size : size_of) size = random.Between(sizes.low, sizes.high);
  for (size_t variant = 0; variant < kVariants; ++variant) {
    uint32_t* position = &free_order[variant * count];
    for (uint32_t i = 0; i < count; ++i) {
      position[i] = order == FreeOrder::kLastFirst ? static_cast<uint32_t>(count) - 1 - i : i;
    }
    if (order != FreeOrder::kRandom) continue;
    for (uint32_t i = static_cast<uint32_t>(count) - 1; i > 0; --i) {
      std::swap(position[i], position[random.Below(i + 1)]);
    }
  }
  watch.Repeat([&] {
    int64_t bytes = 0;
    const size_t rounds = 80'000 / count;
    for (size_t round = 0; round < rounds; ++round) {
      const size_t variant = round % kVariants * count;
      for (size_t i = 0; i < count; ++i) {
        blocks[i] = Take(size_of[variant + i]);
        bytes += size_of[variant + i];
      }
      for (size_t i = 0; i < count; ++i) free(blocks[free_order[variant + i]]);
    }
    return Work{static_cast<int64_t>(rounds * count), bytes};
  });
}

void Churn(Stopwatch& watch, size_t live) {
  constexpr int64_t kOperations = 200'000;
  Random random(3);
  Array<char*> blocks(live);
  for (char*& block : blocks) block = Take(random.Between(kChurnSizes.low, kChurnSizes.high));
  watch.Repeat([&] {
    int64_t bytes = 0;
    for (int64_t i = 0; i < kOperations; ++i) {
      char*& block = blocks[random.Below(static_cast<uint32_t>(live))];
      const uint32_t size = random.Between(kChurnSizes.low, kChurnSizes.high);
      free(block);
      block = Take(size);
      bytes += size;
    }
    return Work{kOperations, bytes};
  });
  for (char* block : blocks) free(block);
}

void Mixed(Stopwatch& watch, Sizes sizes) {
  constexpr int64_t kOperations = 100'000;
  constexpr size_t kLive = 1000;
  Random random(11);
  Array<char*> blocks(kLive);
  // Half of the draws from the full range, the rest from ever smaller ones.
  Array<uint32_t> draws(kOperations);
  for (uint32_t& size : draws) {
    uint32_t high = sizes.high;
    while (high / 2 > sizes.low && random.Below(2) == 0) high /= 2;
    size = random.Between(sizes.low, high);
  }
  for (size_t i = 0; i < kLive; ++i) blocks[i] = Take(draws[i]);
  watch.Repeat([&] {
    int64_t bytes = 0;
    for (const uint32_t size : draws) {
      char*& block = blocks[random.Below(kLive)];
      free(block);
      block = Take(size);
      bytes += size;
    }
    return Work{kOperations, bytes};
  });
  for (char* block : blocks) free(block);
}

void Calloc(Stopwatch& watch, size_t size) {
  const int64_t operations = OperationsFor(size);
  watch.Repeat([&] {
    for (int64_t i = 0; i < operations; ++i) {
      char* block = static_cast<char*>(calloc(1, size));
      if (block == nullptr || block[0] != 0 || block[size - 1] != 0) Die("calloc failed");
      block[0] = 1;
      block[size - 1] = 1;
      Escape(block);
      free(block);
    }
    return Work{operations, operations * static_cast<int64_t>(size)};
  });
}

void Aligned(Stopwatch& watch, size_t size, size_t alignment) {
  const int64_t operations = OperationsFor(size);
  watch.Repeat([&] {
    for (int64_t i = 0; i < operations; ++i) {
      char* block = static_cast<char*>(aligned_alloc(alignment, size));
      if (block == nullptr || reinterpret_cast<uintptr_t>(block) % alignment != 0) {
        Die("aligned_alloc failed");
      }
      *block = 1;
      Escape(block);
      free(block);
    }
    return Work{operations, operations * static_cast<int64_t>(size)};
  });
}

namespace {

// Grows two blocks in turn from 64 bytes to `limit` by `next(size)`, `rounds`
// times, in a heap that was used before.
template <typename Next>
void Grow(Stopwatch& watch, int rounds, size_t limit, Next next) {
  const UsedHeap used;
  watch.Repeat([&] {
    Work work;
    for (int round = 0; round < rounds; ++round) {
      char* blocks[2] = {Take(64), Take(64)};
      for (size_t size = 64; size < limit;) {
        const size_t old_size = size;
        size = std::min(next(size), limit);
        for (char*& block : blocks) {
          block = static_cast<char*>(realloc(block, size));
          if (block == nullptr || *block != 1) Die("realloc failed");
          block[old_size] = 1;
          Escape(block);
          ++work.operations;
          work.bytes += static_cast<int64_t>(size);
        }
      }
      for (char* block : blocks) free(block);
    }
    return work;
  });
}

}  // namespace

void ReallocBySteps(Stopwatch& watch) {
  Grow(watch, 20, 65536, [](size_t size) { return size + 64; });
}

void ReallocByFactor(Stopwatch& watch) {
  Grow(watch, 25, 1 << 20, [](size_t size) { return size + size / 2; });
}

}  // namespace bench
