#include "hardened/core/link.h"

#include <array>
#include <cmath>
#include <cstdio>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/chi_square.h"
#include "tests/support/seeded_stream.h"

namespace hardened::core {
namespace {

constexpr int kLinks = 100'000;

uintptr_t Slot(prim::RandomStream& random) {
  return random.Next64() & ((uint64_t{1} << kAddressBits) - 1) & ~uint64_t{15};
}

LinkKeys Keys(prim::RandomStream& random) {
  return {random.Next64() | 1 | uint64_t{1} << 63, random.Next64() | 1 | uint64_t{1} << 63};
}

TEST(LinkTest, ALinkDecodesToWhatWasEncoded) {
  SeededStream random(1);
  for (int i = 0; i < kLinks; ++i) {
    const LinkKeys keys = Keys(random);
    const uintptr_t at = Slot(random);
    const uintptr_t next = i % 10 == 0 ? 0 : Slot(random);
    uintptr_t decoded = 1;
    ASSERT_TRUE(DecodeLink(keys, at, EncodeLink(keys, at, next), &decoded));
    ASSERT_EQ(decoded, next);
  }
}

// A tag of 21 bits misses one changed word in 2^21; the flip of a tag bit itself is always seen.
// Neighbouring slots of one slab are the links that occur.
TEST(LinkTest, AlmostEverySingleBitFlipIsDetected) {
  SeededStream random(2);
  const LinkKeys keys = Keys(random);
  const uintptr_t slab = Slot(random);
  uint64_t detected = 0;
  uint64_t tag_flips_missed = 0;
  for (int i = 0; i < kLinks; ++i) {
    const uintptr_t at = slab + 48 * random.Below(1365);
    const uintptr_t next = slab + 48 * random.Below(1365);
    const uint64_t word = EncodeLink(keys, at, next);
    for (unsigned bit = 0; bit < 64; ++bit) {
      uintptr_t decoded;
      const bool passed = DecodeLink(keys, at, word ^ uint64_t{1} << bit, &decoded);
      detected += !passed;
      tag_flips_missed += passed && bit >= kLinkTagShift;
    }
  }
  const double rate = static_cast<double>(detected) / (64.0 * kLinks);
  std::printf("detected %.7f of single-bit flips\n", rate);
  RecordProperty("detection_rate", std::to_string(rate));
  EXPECT_GE(rate, 0.99999);
  EXPECT_EQ(tag_flips_missed, 0u);
}

// Expected by chance: one of 21 copies in 2^21.
TEST(LinkTest, ALinkCopiedToAnotherAddressIsRejected) {
  SeededStream random(3);
  const LinkKeys keys = Keys(random);
  const uintptr_t slab = Slot(random);
  int accepted = 0;
  for (int i = 0; i < kLinks; ++i) {
    const uint32_t from = random.Below(1365);
    const uint32_t to = (from + 1 + random.Below(1364)) % 1365;
    const uint64_t word = EncodeLink(keys, slab + 48 * from, slab + 48 * random.Below(1365));
    uintptr_t decoded;
    accepted += DecodeLink(keys, slab + 48 * to, word, &decoded);
  }
  EXPECT_LE(accepted, 3);
}

TEST(LinkTest, WordsOfTheProgramAreRejected) {
  SeededStream random(4);
  const LinkKeys keys = Keys(random);
  int accepted = 0;
  for (int i = 0; i < kLinks; ++i) {
    const uintptr_t at = Slot(random);
    for (const uint64_t word : {uint64_t{0}, ~uint64_t{0}, uint64_t{at}, uint64_t{at + 64},
                                uint64_t{0x4141414141414141}, random.Next64()}) {
      uintptr_t decoded;
      accepted += DecodeLink(keys, at, word, &decoded);
    }
  }
  EXPECT_LE(accepted, 6);
}

// What the word adds to the plain link, over slots of one slab and fixed keys.
TEST(LinkTest, ALeakedWordHidesItsLinkBehindUniformBits) {
  SeededStream random(5);
  constexpr int kSlots = 1 << 16;
  const LinkKeys keys = Keys(random);
  const uintptr_t slab = Slot(random);
  const uintptr_t next = Slot(random);
  std::array<int, 64> ones{};
  std::vector<std::vector<uint64_t>> bytes(8, std::vector<uint64_t>(256));
  for (int i = 0; i < kSlots; ++i) {
    const uintptr_t at = slab + 16 * static_cast<uintptr_t>(i);
    const uint64_t hidden = EncodeLink(keys, at, next) ^ next >> 4;
    for (unsigned bit = 0; bit < 64; ++bit) ones[bit] += hidden >> bit & 1;
    for (unsigned byte = 0; byte < 8; ++byte) ++bytes[byte][hidden >> (8 * byte) & 0xff];
  }
  for (unsigned bit = 0; bit < 64; ++bit) {
    EXPECT_NEAR(ones[bit], kSlots / 2, 5 * std::sqrt(kSlots) / 2) << "bit " << bit;
  }
  for (unsigned byte = 0; byte < 8; ++byte) {
    EXPECT_LT(ChiSquare(bytes[byte]), ChiSquareBound(256)) << "byte " << byte;
  }
}

// The same link at the same address under other keys, as in another process.
TEST(LinkTest, OtherKeysGiveUnrelatedWords) {
  SeededStream random(6);
  const uintptr_t at = Slot(random);
  const uintptr_t next = Slot(random);
  constexpr int kProcesses = 1 << 14;
  std::array<int, 64> ones{};
  for (int i = 0; i < kProcesses; ++i) {
    const uint64_t word = EncodeLink(Keys(random), at, next);
    for (unsigned bit = 0; bit < 64; ++bit) ones[bit] += word >> bit & 1;
  }
  for (unsigned bit = 0; bit < 64; ++bit) {
    EXPECT_NEAR(ones[bit], kProcesses / 2, 5 * std::sqrt(kProcesses) / 2) << "bit " << bit;
  }
}

}  // namespace
}  // namespace hardened::core
