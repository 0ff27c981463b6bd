// multiply: the full product of two words.
//
// As unsigned __int128 gcc 12 keeps the words of both factors in registers that nobody reads: three
// more to save in free().
//
// Threads: pure.

#ifndef HARDENED_PRIM_MULTIPLY_H_
#define HARDENED_PRIM_MULTIPLY_H_

#include <cstdint>

#include "absl/base/attributes.h"

namespace hardened::prim {

// The two halves of a * b, xored: the step of W. Yi's wyhash.
ABSL_ATTRIBUTE_ALWAYS_INLINE inline uint64_t FoldedProduct(uint64_t a, uint64_t b) {
#if defined(__x86_64__)
  uint64_t high;
  asm("mulq %2" : "+a"(a), "=d"(high) : "rm"(b) : "cc");
  return a ^ high;
#else
  const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
#endif
}

}  // namespace hardened::prim

#endif  // HARDENED_PRIM_MULTIPLY_H_
