// Pattern: content that names its block and its place in it.
//
// Word i of a block is a start value drawn from the block's seed, plus i, so
// bytes of another block, or of this one moved, do not match.
// Requires (all functions): the block is 8-byte aligned.
#ifndef TESTS_PRELOAD_PATTERN_H_
#define TESTS_PRELOAD_PATTERN_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

// Hides where a value comes from, so that no compiler removes an allocation or
// warns about a call that is wrong on purpose.
template <typename T>
inline T Opaque(T value) {
  __asm__ volatile("" : "+r"(value) : : "memory");
  return value;
}

inline uint64_t PatternStart(uint64_t seed) {
  seed += 0x9e3779b97f4a7c15;
  seed = (seed ^ (seed >> 30)) * 0xbf58476d1ce4e5b9;
  seed = (seed ^ (seed >> 27)) * 0x94d049bb133111eb;
  return seed ^ (seed >> 31);
}

inline void FillPattern(void* block, size_t size, uint64_t seed) {
  auto* words = static_cast<uint64_t*>(block);
  const uint64_t start = PatternStart(seed);
  const size_t count = size / 8;
  for (size_t i = 0; i < count; ++i) words[i] = start + i;
  const uint64_t last = start + count;
  if (size % 8 != 0) std::memcpy(words + count, &last, size % 8);
}

// Returns: the offset of the first word that differs, or `size`.
inline size_t FirstDifference(const void* block, size_t size, uint64_t seed) {
  const auto* words = static_cast<const uint64_t*>(block);
  const uint64_t start = PatternStart(seed);
  const size_t count = size / 8;
  for (size_t i = 0; i < count; ++i) {
    if (words[i] != start + i) return i * 8;
  }
  const uint64_t last = start + count;
  if (size % 8 != 0 && std::memcmp(words + count, &last, size % 8) != 0) return count * 8;
  return size;
}

inline bool HasPattern(const void* block, size_t size, uint64_t seed) {
  return FirstDifference(block, size, seed) == size;
}

// Returns: the offset of the first byte that is not zero, or `size`.
inline size_t FirstNonZero(const void* block, size_t size) {
  const auto* words = static_cast<const uint64_t*>(block);
  size_t i = 0;
  while (i < size / 8 && words[i] == 0) ++i;
  const auto* bytes = static_cast<const unsigned char*>(block);
  for (i *= 8; i < size; ++i) {
    if (bytes[i] != 0) return i;
  }
  return size;
}

#endif  // TESTS_PRELOAD_PATTERN_H_
