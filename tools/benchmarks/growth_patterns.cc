// growth_patterns.cc: blocks that grow, and large blocks that are used in full.

#include <algorithm>

#include "patterns.h"

namespace bench {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kMiB = 1 << 20;

void TouchPages(char* block, size_t from, size_t to) {
  for (size_t offset = from; offset < to; offset += kPage) block[offset] = 1;
  Escape(block);
}

char* Resize(char* block, size_t size) {
  block = static_cast<char*>(realloc(block, size));
  if (block == nullptr || *block != 1) Die("realloc failed");
  Escape(block);
  return block;
}

}  // namespace

// 64 strings grow by short pieces, in turn; a full one moves to twice its size.
void StringGrowth(Stopwatch& watch) {
  struct String {
    char* text;
    uint32_t length;
    uint32_t capacity;
  };
  constexpr int kAppends = 100'000;
  constexpr uint32_t kLongest = 2048;
  constexpr uint32_t kFirstCapacity = 16;
  constexpr char kPiece[] = "0123456789abcdefghijklmnopqrstuv";
  Random random(12);
  Array<String> strings(64);
  watch.Repeat([&] {
    Work work;
    for (String& string : strings) string = {Take(kFirstCapacity), 1, kFirstCapacity};
    for (int i = 0; i < kAppends; ++i) {
      String& string = strings[random.Below(static_cast<uint32_t>(strings.size()))];
      const uint32_t piece = random.Between(4, 32);
      if (string.length + piece > string.capacity) {
        if (string.capacity == kLongest) {
          free(string.text);
          string = {Take(kFirstCapacity), 1, kFirstCapacity};
        }
        // The longest piece is twice the first capacity.
        while (string.length + piece > string.capacity) string.capacity *= 2;
        string.text = Resize(string.text, string.capacity);
        ++work.operations;
        work.bytes += string.capacity;
      }
      memcpy(string.text + string.length, kPiece, piece);
      string.length += piece;
    }
    for (String& string : strings) free(string.text);
    return work;
  });
}

// 16 arrays of 8-byte elements grow to 128 KiB, each in a block twice the size
// of the last one, as containers do whose elements cannot move with realloc.
void VectorGrowth(Stopwatch& watch) {
  constexpr size_t kVectors = 16;
  constexpr size_t kLargest = 128 * 1024;
  const UsedHeap used;
  watch.Repeat([&] {
    Work work;
    for (int round = 0; round < 10; ++round) {
      char* vectors[kVectors];
      for (char*& vector : vectors) vector = Take(8);
      for (size_t size = 16; size <= kLargest; size *= 2) {
        for (char*& vector : vectors) {
          char* larger = Take(size);
          memcpy(larger, vector, size / 2);
          free(vector);
          vector = larger;
          ++work.operations;
          work.bytes += static_cast<int64_t>(size);
        }
      }
      for (char* vector : vectors) free(vector);
    }
    return work;
  });
}

// Two blocks in turn: one alone at the end of the heap would always have room
// behind it, which programs seldom see.
void LargeGrowth(Stopwatch& watch) {
  watch.Repeat([&] {
    Work work;
    size_t size = 256 * 1024;
    char* blocks[2] = {Take(size), Take(size)};
    for (char* block : blocks) TouchPages(block, 0, size);
    while (size < 16 * kMiB) {
      const size_t larger = std::min(size + size / 2, 16 * kMiB);
      for (char*& block : blocks) {
        block = Resize(block, larger);
        TouchPages(block, (size + kPage - 1) & ~(kPage - 1), larger);
        ++work.operations;
        work.bytes += static_cast<int64_t>(larger);
      }
      size = larger;
    }
    for (char* block : blocks) free(block);
    return work;
  });
}

// 8 blocks live, as many small as large ones: every doubling of size has an
// equal share of the draws.
void LargeTouched(Stopwatch& watch) {
  constexpr size_t kDraws = 64;
  Random random(13);
  Array<uint32_t> sizes(kDraws);
  for (uint32_t& size : sizes) {
    const uint32_t low = 65536u << random.Below(8);
    size = random.Between(low, 2 * low);
  }
  Array<char*> blocks(8);
  watch.Repeat([&] {
    int64_t bytes = 0;
    for (size_t i = 0; i < kDraws; ++i) {
      char*& block = blocks[i % blocks.size()];
      free(block);
      block = Take(sizes[i]);
      TouchPages(block, 0, sizes[i]);
      bytes += sizes[i];
    }
    return Work{kDraws, bytes};
  });
  for (char* block : blocks) free(block);
}

// 20 blocks live, of which a random one is replaced. Random sizes to the byte: what was freed
// seldom has the size that is asked for next.
void LargeReplaced(Stopwatch& watch) {
  constexpr size_t kReplaced = 40;
  constexpr uint32_t kLow = 5 * kMiB;
  constexpr uint32_t kHigh = 25 * kMiB;
  struct Replacement {
    uint32_t block;
    uint32_t size;
  };
  Random random(16);
  Array<char*> blocks(20);
  Array<Replacement> replacements(kReplaced);
  for (Replacement& replacement : replacements) {
    replacement = {random.Below(static_cast<uint32_t>(blocks.size())), random.Between(kLow, kHigh)};
  }
  const auto take = [](uint32_t size) {
    char* block = Take(size);
    TouchPages(block, 0, size);
    return block;
  };
  for (char*& block : blocks) block = take(random.Between(kLow, kHigh));
  watch.Repeat([&] {
    int64_t bytes = 0;
    for (const Replacement& replacement : replacements) {
      char*& block = blocks[replacement.block];
      free(block);
      block = take(replacement.size);
      bytes += replacement.size;
    }
    return Work{kReplaced, bytes};
  });
  for (char* block : blocks) free(block);
}

}  // namespace bench
