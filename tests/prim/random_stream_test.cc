#include "hardened/prim/random_stream.h"

#include <signal.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "gtest/gtest.h"
#include "hardened/prim/chacha.h"
#include "tests/prim/child_process.h"

namespace hardened::prim {
namespace {

using Block = std::array<uint32_t, 16>;
using Key = std::array<uint32_t, 8>;

// ChaCha as its paper writes it: one block, one word at a time.
Block ScalarChaCha(int rounds, const Key& key, uint64_t counter, uint64_t stream_id) {
  Block start = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
  std::copy(key.begin(), key.end(), start.begin() + 4);
  start[12] = static_cast<uint32_t>(counter);
  start[13] = static_cast<uint32_t>(counter >> 32);
  start[14] = static_cast<uint32_t>(stream_id);
  start[15] = static_cast<uint32_t>(stream_id >> 32);
  Block x = start;
  const auto quarter = [&x](size_t a, size_t b, size_t c, size_t d) {
    x[a] += x[b];
    x[d] = std::rotl(x[d] ^ x[a], 16);
    x[c] += x[d];
    x[b] = std::rotl(x[b] ^ x[c], 12);
    x[a] += x[b];
    x[d] = std::rotl(x[d] ^ x[a], 8);
    x[c] += x[d];
    x[b] = std::rotl(x[b] ^ x[c], 7);
  };
  for (int round = 0; round < rounds; round += 2) {
    for (size_t i = 0; i < 4; ++i) quarter(i, 4 + i, 8 + i, 12 + i);
    for (size_t i = 0; i < 4; ++i) {
      quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4);
    }
  }
  for (size_t i = 0; i < 16; ++i) x[i] += start[i];
  return x;
}

template <int kRounds, int kLanes>
Block BlockOf(const Key& key, uint64_t counter, uint64_t stream_id, int lane) {
  alignas(32) uint32_t out[16 * kLanes];
  ChaChaBlocks<kRounds, kLanes>(key.data(), counter, stream_id, out, kLanes);
  Block block;
  for (int w = 0; w < 16; ++w) block[static_cast<size_t>(w)] = out[w * kLanes + lane];
  return block;
}

Key CountingKey() {
  Key key;
  for (uint32_t i = 0; i < 8; ++i) key[i] = (4 * i) * 0x01010101 + 0x03020100;
  return key;
}

// A stream written the slow way: eight blocks, their words transposed, taken from the end.
class ModelStream {
 public:
  ModelStream(const Key& key, uint64_t stream_id) : key_(key), stream_id_(stream_id) {}

  template <typename T>
  T Take() {
    if (bytes_.size() < sizeof(T)) Refill();
    T value;
    std::memcpy(&value, bytes_.data() + bytes_.size() - sizeof(T), sizeof(T));
    bytes_.resize(bytes_.size() - sizeof(T));
    return value;
  }

 private:
  void Refill() {
    std::vector<uint32_t> words(128);
    for (size_t b = 0; b < 8; ++b) {
      const Block block = ScalarChaCha(8, key_, b, stream_id_);
      for (size_t w = 0; w < 16; ++w) words[8 * w + b] = block[w];
    }
    std::copy_n(words.begin(), 8, key_.begin());
    bytes_.resize(480);
    std::memcpy(bytes_.data(), words.data() + 8, 480);
  }

  Key key_;
  uint64_t stream_id_;
  std::vector<std::byte> bytes_;
};

std::array<std::byte, 32> Bytes(const Key& key) {
  return std::bit_cast<std::array<std::byte, 32>>(key);
}

// Chi-square of `count` draws over `bins` equally likely values.
template <typename Draw>
double ChiSquare(uint32_t bins, uint32_t count, Draw draw) {
  std::vector<uint32_t> counts(bins);
  for (uint32_t i = 0; i < count; ++i) ++counts.at(draw());
  const double expected = static_cast<double>(count) / bins;
  double sum = 0;
  for (const uint32_t c : counts) sum += (c - expected) * (c - expected) / expected;
  return sum;
}

// Six standard deviations above the mean of the chi-square distribution, and 25 for one or two
// degrees of freedom (chance 4e-6): seeds are fixed, so a pass stays a pass.
double Bound(uint32_t bins) {
  const double freedom = bins - 1;
  return std::max(25.0, freedom + 6 * std::sqrt(2 * freedom));
}

TEST(ChaChaTest, TwentyRoundsGiveTheBlockOfRfc8439) {
  // Section 2.3.2: counter 1, nonce 00000009 0000004a 00000000, as our counter and stream id.
  const uint64_t counter = uint64_t{0x09000000} << 32 | 1;
  const uint64_t stream_id = 0x4a000000;
  const Block expected = {0xe4e7f110, 0x15593bd1, 0x1fdd0f50, 0xc47120a3, 0xc7f4d1c7, 0x0368c033,
                          0x9aaa2204, 0x4e6cd4c3, 0x466482d2, 0x09aa9f07, 0x05d7c214, 0xa2028bd9,
                          0xd19c12b5, 0xb94e16de, 0xe883d0cb, 0x4e3c50a2};
  EXPECT_EQ(ScalarChaCha(20, CountingKey(), counter, stream_id), expected);
  EXPECT_EQ((BlockOf<20, 4>(CountingKey(), counter, stream_id, 0)), expected);
  EXPECT_EQ((BlockOf<20, 8>(CountingKey(), counter, stream_id, 0)), expected);
}

TEST(ChaChaTest, EightRoundsGiveThePublishedKeyStream) {
  // draft-strombergson-chacha-test-vectors-01, TC1, 256-bit key, 8 rounds: all zero input.
  const std::array<uint8_t, 32> expected = {0x3e, 0x00, 0xef, 0x2f, 0x89, 0x5f, 0x40, 0xd6,
                                            0x7f, 0x5b, 0xb8, 0xe8, 0x1f, 0x09, 0xa5, 0xa1,
                                            0x2c, 0x84, 0x0e, 0xc3, 0xce, 0x9a, 0x7f, 0x3b,
                                            0x18, 0x1b, 0xe1, 0x88, 0xef, 0x71, 0x1a, 0x1e};
  const Block block = BlockOf<8, 4>(Key{}, 0, 0, 0);
  EXPECT_EQ(std::memcmp(block.data(), expected.data(), expected.size()), 0);
}

TEST(ChaChaTest, EveryLaneIsTheBlockOfItsCounter) {
  // The counter carries into its upper word between two lanes.
  const uint64_t counter = 0xfffffffe;
  for (int lane = 0; lane < 8; ++lane) {
    const Block expected =
        ScalarChaCha(8, CountingKey(), counter + static_cast<uint64_t>(lane), 0x123456789abcdef0);
    EXPECT_EQ((BlockOf<8, 8>(CountingKey(), counter, 0x123456789abcdef0, lane)), expected);
    if (lane < 4) {
      EXPECT_EQ((BlockOf<8, 4>(CountingKey(), counter, 0x123456789abcdef0, lane)), expected);
    }
  }
}

TEST(RandomStreamTest, DrawsEqualTheModelAcrossRefills) {
  RandomStream stream;
  stream.Seed(Bytes(CountingKey()), 42);
  ModelStream model(CountingKey(), 42);
  for (int i = 0; i < 500; ++i) ASSERT_EQ(stream.Next32(), model.Take<uint32_t>()) << i;
  for (int i = 0; i < 500; ++i) {
    ASSERT_EQ(stream.Next16(), model.Take<uint16_t>()) << i;
    ASSERT_EQ(stream.Next64(), model.Take<uint64_t>()) << i;
    ASSERT_EQ(stream.Next32(), model.Take<uint32_t>()) << i;
  }
}

TEST(RandomStreamTest, WhatWasHandedOutIsNotInTheStateAnyMore) {
  RandomStream stream;
  stream.Seed(Bytes(CountingKey()), 7);
  std::vector<uint32_t> drawn;
  for (int i = 0; i < 300; ++i) {
    drawn.push_back(stream.Next32());
    std::array<std::byte, sizeof(RandomStream)> state;
    std::memcpy(state.data(), static_cast<const void*>(&stream), sizeof(stream));
    for (size_t at = 0; at + 4 <= state.size(); at += 4) {
      uint32_t word;
      std::memcpy(&word, state.data() + at, 4);
      ASSERT_EQ(std::find(drawn.begin(), drawn.end(), word), drawn.end()) << i;
    }
  }
}

// In .bss, where padding is zero, too.
constinit RandomStream g_forgotten;

TEST(RandomStreamTest, AForgottenStreamHoldsNothing) {
  RandomStream& stream = g_forgotten;
  stream.Seed(Bytes(CountingKey()), 7);
  stream.Next32();
  stream.Forget();
  EXPECT_FALSE(stream.seeded());
  std::array<std::byte, sizeof(RandomStream)> state;
  std::memcpy(state.data(), static_cast<const void*>(&stream), sizeof(stream));
  // The stream's number alone is left.
  EXPECT_LE(
      std::count_if(state.begin(), state.end(), [](std::byte b) { return b != std::byte{0}; }), 1);
}

TEST(RandomStreamTest, StreamsOfOneKeyAreUncorrelated) {
  RandomStream first, second;
  first.Seed(Bytes(CountingKey()), 1);
  second.Seed(Bytes(CountingKey()), 2);
  int64_t equal_bits = 0;
  constexpr int kWords = 10000;
  for (int i = 0; i < kWords; ++i) equal_bits += std::popcount(~(first.Next32() ^ second.Next32()));
  // Binomial(320000, 1/2): deviation 283; six of them.
  EXPECT_NEAR(static_cast<double>(equal_bits), 160000, 6 * 283);
}

TEST(RandomStreamTest, RekeyingChangesTheFutureByKeyAndByEntropy) {
  const std::array<std::byte, 40> entropy = {std::byte{1}};
  const auto first_draw = [&](uint64_t stream_id, std::span<const std::byte> extra) {
    RandomStream stream;
    stream.Seed(Bytes(CountingKey()), stream_id);
    stream.Next32();
    stream.Rekey(extra);
    return stream.Next64();
  };
  EXPECT_EQ(first_draw(1, entropy), first_draw(1, entropy));
  EXPECT_NE(first_draw(1, entropy), first_draw(2, entropy));
  // Every byte counts, in the first chunk and in the short last one; and so does no byte at all.
  for (const size_t at : {size_t{0}, size_t{31}, size_t{32}, size_t{39}}) {
    std::array<std::byte, 40> other = entropy;
    other[at] ^= std::byte{0x80};
    EXPECT_NE(first_draw(1, other), first_draw(1, entropy)) << at;
  }
  ModelStream untouched(CountingKey(), 1);
  untouched.Take<uint32_t>();
  EXPECT_NE(first_draw(1, {}), untouched.Take<uint64_t>());
}

TEST(RandomStreamTest, BytesOfDrawsAreUniform) {
  RandomStream stream;
  stream.Seed(Bytes(CountingKey()), 3);
  for (const int shift : {0, 8, 16, 24}) {
    EXPECT_LT(ChiSquare(256, 1 << 20, [&] { return stream.Next32() >> shift & 255; }), Bound(256));
  }
  EXPECT_LT(ChiSquare(65536, 1 << 22, [&] { return stream.Next16(); }), Bound(65536));
}

TEST(RandomStreamTest, BelowIsUniformForAwkwardBounds) {
  RandomStream stream;
  stream.Seed(Bytes(CountingKey()), 4);
  for (const uint32_t bound : {2u, 3u, 7u, 341u, 1000u, 4095u}) {
    EXPECT_LT(ChiSquare(bound, 1 << 22, [&] { return stream.Below(bound); }), Bound(bound))
        << bound;
    EXPECT_LT(ChiSquare(bound, 1 << 22, [&] { return stream.Below16(bound); }), Bound(bound))
        << bound;
  }
  for (const uint32_t bound : {4u, 7u, 341u, 1000u, 1024u}) {
    for (unsigned i = 0; i < 4; ++i) {
      if (bound - i < 2) continue;
      EXPECT_LT(ChiSquare(bound - i, 1 << 20,
                          [&] { return static_cast<uint32_t>(stream.FourBelow(bound)[i]); }),
                Bound(bound - i))
          << bound << " " << i;
    }
  }
  // All permutations of four.
  EXPECT_LT(ChiSquare(24, 1 << 20,
                      [&] {
                        const std::array<uint64_t, 4> drawn = stream.FourBelow(4);
                        return static_cast<uint32_t>((drawn[0] * 3 + drawn[1]) * 2 + drawn[2]);
                      }),
            Bound(24));
  // Too many values to count: eighths of the range, and residues, where uneven rounding shows.
  constexpr uint32_t kLarge = (1u << 31) + 1;
  EXPECT_LT(
      ChiSquare(8, 1 << 20,
                [&] { return static_cast<uint32_t>(uint64_t{stream.Below(kLarge)} * 8 / kLarge); }),
      Bound(8));
  constexpr uint32_t kThreeQuarters = 3u << 30;
  EXPECT_LT(ChiSquare(3, 1 << 20, [&] { return stream.Below(kThreeQuarters) % 3; }), Bound(3));
  constexpr uint32_t kThreeQuarters16 = 3u << 14;
  EXPECT_LT(ChiSquare(3, 1 << 20, [&] { return stream.Below16(kThreeQuarters16) % 3; }), Bound(3));
}

TEST(RandomStreamTest, TheStatisticRejectsABiasOfOnePercent) {
  RandomStream stream;
  stream.Seed(Bytes(CountingKey()), 5);
  // The lower half of the values, and value 0 of three, are 1 % likelier than the others.
  const auto biased_half = [&] {
    const uint32_t value = stream.Below(341);
    if (value < 170 || stream.Below(100) != 0) return value;
    return stream.Below(170);
  };
  EXPECT_GT(ChiSquare(341, 1 << 24, biased_half), Bound(341));
  EXPECT_LT(ChiSquare(341, 1 << 24, [&] { return stream.Below(341); }), Bound(341));
  const auto biased_three = [&] {
    const uint32_t value = stream.Below(3);
    return value != 0 && stream.Below(200) == 0 ? 0 : value;
  };
  EXPECT_GT(ChiSquare(3, 1 << 22, biased_three), Bound(3));
  // A draw without rejection.
  const auto without_rejection = [&] {
    return static_cast<uint32_t>(uint64_t{stream.Next32()} * (3u << 30) >> 32) % 3;
  };
  EXPECT_GT(ChiSquare(3, 1 << 20, without_rejection), Bound(3));
}

TEST(RandomStreamTest, BelowStaysBelowAndReachesBothEnds) {
  RandomStream stream;
  stream.Seed(Bytes(CountingKey()), 6);
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(stream.Below(1), 0u);
    ASSERT_EQ(stream.Below16(1), 0u);
    ASSERT_LT(stream.Below(UINT32_MAX), UINT32_MAX);
    ASSERT_LT(stream.Below16(65536), 65536u);
  }
  uint32_t smallest = 9, largest = 0;
  for (int i = 0; i < 1000; ++i) {
    const uint32_t value = stream.Below(10);
    smallest = std::min(smallest, value);
    largest = std::max(largest, value);
  }
  EXPECT_EQ(smallest, 0u);
  EXPECT_EQ(largest, 9u);
}

// What the kernel does to the pages of a stream when a process forks.
void WipeState(RandomStream& stream) {
  std::memset(static_cast<void*>(&stream), 0, sizeof(stream));
}

// Bits of 10,000 pairs of words that agree: binomial(640000, 1/2), deviation 400.
TEST(RandomStreamTest, WipedStreamsDrawOnAndDifferFromEachOtherAndFromBefore) {
  constexpr size_t kWords = 10000;
  RandomStream stream;
  std::vector<std::vector<uint64_t>> drawn(3);
  for (std::vector<uint64_t>& words : drawn) {
    if (&words == &drawn[0]) {
      stream.Seed(Bytes(CountingKey()), 8);
    } else {
      WipeState(stream);
    }
    for (size_t i = 0; i < kWords; ++i) words.push_back(stream.Next64());
    EXPECT_TRUE(stream.seeded());
  }
  for (const auto& [a, b] : {std::pair{0, 1}, std::pair{0, 2}, std::pair{1, 2}}) {
    int64_t equal_bits = 0;
    for (size_t i = 0; i < kWords; ++i) equal_bits += std::popcount(~(drawn[a][i] ^ drawn[b][i]));
    EXPECT_NEAR(static_cast<double>(equal_bits), 320000, 6 * 400) << a << " and " << b;
  }
}

TEST(RandomStreamTest, AWipeInTheMiddleOfABufferIsSeenAtTheNextDrawOfAnyWidth) {
  for (int width = 0; width < 3; ++width) {
    RandomStream stream;
    stream.Seed(Bytes(CountingKey()), 9);
    stream.Next16();
    WipeState(stream);
    uint64_t any = 0;
    // 64 zeros in a row come by chance in 1 of 2^1024 runs.
    for (int i = 0; i < 64; ++i) {
      any |= width == 0 ? stream.Next16() : width == 1 ? stream.Next32() : stream.Next64();
    }
    EXPECT_NE(any, 0u);
  }
}

TEST(RandomStreamTest, AMarkOutlastsSeedingAndGoesWithTheState) {
  RandomStream stream;
  EXPECT_FALSE(stream.mark());
  stream.SetMark();
  stream.Seed(Bytes(CountingKey()), 1);
  stream.Rekey({});
  stream.Next16();
  EXPECT_TRUE(stream.mark());
  WipeState(stream);
  stream.Next16();
  EXPECT_FALSE(stream.mark());
  stream.SetMark();
  stream.Forget();
  EXPECT_FALSE(stream.mark());
}

constinit RandomStream g_unseeded;

TEST(RandomStreamDeathTest, RekeyingBeforeSeedingFailsACheck) {
  EXPECT_FALSE(g_unseeded.seeded());
  const ChildResult child = RunInChild([] { g_unseeded.Rekey({}); });
  EXPECT_TRUE(child.died_of(SIGABRT));
  EXPECT_NE(child.text.find("seeded_"), std::string::npos);
}

TEST(RandomStreamDeathTest, ABoundOutOfRangeFailsADebugCheck) {
#ifdef NDEBUG
  GTEST_SKIP() << "debug checks are compiled out";
#else
  EXPECT_TRUE(RunInChild([] { g_unseeded.Below(0); }).died_of(SIGABRT));
  EXPECT_TRUE(RunInChild([] { g_unseeded.Below16(0); }).died_of(SIGABRT));
  EXPECT_TRUE(RunInChild([] { g_unseeded.Below16(65537); }).died_of(SIGABRT));
  EXPECT_TRUE(RunInChild([] { g_unseeded.FourBelow(3); }).died_of(SIGABRT));
  EXPECT_TRUE(RunInChild([] { g_unseeded.FourBelow(1025); }).died_of(SIGABRT));
#endif
}

}  // namespace
}  // namespace hardened::prim
