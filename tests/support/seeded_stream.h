// SeededStream: a RandomStream with a key that a test states.

#ifndef TESTS_SUPPORT_SEEDED_STREAM_H_
#define TESTS_SUPPORT_SEEDED_STREAM_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hardened/prim/random_stream.h"

namespace hardened {

class SeededStream : public prim::RandomStream {
 public:
  explicit SeededStream(uint64_t seed) {
    std::byte key[kKeyBytes] = {};
    std::memcpy(key, &seed, sizeof(seed));
    Seed(key, 0);
  }

  // Uniform in [low, high].
  uint32_t Between(uint32_t low, uint32_t high) { return low + Below(high - low + 1); }
};

}  // namespace hardened

#endif  // TESTS_SUPPORT_SEEDED_STREAM_H_
