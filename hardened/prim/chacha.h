// chacha: blocks of the ChaCha key stream, several at a time.
//
// D. J. Bernstein, "ChaCha, a variant of Salsa20", 2008, in its original layout: four constant
// words, eight key words, a 64-bit block counter, a 64-bit stream id (the nonce).
//
// One vector holds the same state word of several consecutive blocks, its lanes, so that a round is
// plain vector arithmetic and the compiler picks the instructions.
//
// Threads: pure functions.

#ifndef HARDENED_PRIM_CHACHA_H_
#define HARDENED_PRIM_CHACHA_H_

#include <cstdint>
#include <cstring>

namespace hardened::prim {
namespace chacha_internal {

template <int kLanes>
struct Vector;
template <>
struct Vector<4> {
  typedef uint32_t Type __attribute__((vector_size(16)));
};
template <>
struct Vector<8> {
  typedef uint32_t Type __attribute__((vector_size(32)));
};

// Vectors travel by reference only: by value, their ABI depends on the target options.
template <typename Lanes>
[[gnu::always_inline]] inline void QuarterRound(Lanes& a, Lanes& b, Lanes& c, Lanes& d) {
  a += b;
  d ^= a;
  d = d << 16 | d >> 16;
  c += d;
  b ^= c;
  b = b << 12 | b >> 20;
  a += b;
  d ^= a;
  d = d << 8 | d >> 24;
  c += d;
  b ^= c;
  b = b << 7 | b >> 25;
}

}  // namespace chacha_internal

// Writes blocks `counter` to `counter` + kLanes - 1 of the stream: word w of the i-th of them goes
// to out[w * stride + i]. `out` may not overlap `key`.
template <int kRounds, int kLanes>
[[gnu::always_inline]] inline void ChaChaBlocks(const uint32_t* key, uint64_t counter,
                                                uint64_t stream_id, uint32_t* out, int stride) {
  using Lanes = typename chacha_internal::Vector<kLanes>::Type;
  using chacha_internal::QuarterRound;
  static_assert(kRounds % 2 == 0);
  // "expand 32-byte k"
  constexpr uint32_t kConstants[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
  Lanes start[16];
  for (int i = 0; i < 4; ++i) start[i] = Lanes{} + kConstants[i];
  for (int i = 0; i < 8; ++i) start[4 + i] = Lanes{} + key[i];
  for (int lane = 0; lane < kLanes; ++lane) {
    const uint64_t block = counter + static_cast<uint64_t>(lane);
    start[12][lane] = static_cast<uint32_t>(block);
    start[13][lane] = static_cast<uint32_t>(block >> 32);
  }
  start[14] = Lanes{} + static_cast<uint32_t>(stream_id);
  start[15] = Lanes{} + static_cast<uint32_t>(stream_id >> 32);

  Lanes x[16];
  for (int i = 0; i < 16; ++i) x[i] = start[i];
  for (int round = 0; round < kRounds; round += 2) {
    QuarterRound(x[0], x[4], x[8], x[12]);
    QuarterRound(x[1], x[5], x[9], x[13]);
    QuarterRound(x[2], x[6], x[10], x[14]);
    QuarterRound(x[3], x[7], x[11], x[15]);
    QuarterRound(x[0], x[5], x[10], x[15]);
    QuarterRound(x[1], x[6], x[11], x[12]);
    QuarterRound(x[2], x[7], x[8], x[13]);
    QuarterRound(x[3], x[4], x[9], x[14]);
  }
  for (int i = 0; i < 16; ++i) {
    x[i] += start[i];
    memcpy(out + i * stride, &x[i], sizeof(Lanes));
  }
}

}  // namespace hardened::prim

#endif  // HARDENED_PRIM_CHACHA_H_
