// link_fuzzer: core/link.h. Input: five hexadecimal numbers, two keys, an address, a slot, a word.
//
// Exact, for any keys: a word is accepted if and only if it is the encoding of what it decodes to,
// and every slot comes back. With keys as the heap makes them, drawn anew each time from one stream
// for the whole run, whatever the input (engines repeat inputs): words that were not encoded for
// their address pass with probability 2^-21, counted for each way to make such a word.

#include <array>
#include <cstdint>
#include <cstdio>

#include "hardened/core/link.h"
#include "hardened/prim/check.h"

namespace hardened::fuzzers {
namespace {

using core::DecodeLink;
using core::EncodeLink;
using core::LinkKeys;

constexpr uintptr_t kSlotMask =
    ((uintptr_t{1} << core::kAddressBits) - 1) & ~uintptr_t{core::kSlotAlignment - 1};

class HexReader {
 public:
  HexReader(const uint8_t* data, size_t size) : at_(data), end_(data + size) {}

  // The next number; 0 at the end.
  uint64_t Next() {
    while (at_ != end_ && Digit(*at_) < 0) ++at_;
    uint64_t value = 0;
    for (; at_ != end_ && Digit(*at_) >= 0; ++at_) {
      value = value << 4 | static_cast<uint64_t>(Digit(*at_));
    }
    return value;
  }

 private:
  static int Digit(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
  }

  const uint8_t* at_;
  const uint8_t* end_;
};

// S. Vigna's splitmix64.
class Random {
 public:
  uint64_t Next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }

 private:
  uint64_t state_ = 0;
};

// Accepted must not depend on control flow: an engine would keep inputs that were accepted and try
// them again and again.
struct Trials {
  const char* what;
  uint64_t made = 0;
  uint64_t accepted = 0;

  void Add(bool was_accepted) {
    ++made;
    accepted += was_accepted;
  }
  // Twice the expectation and 32: beyond 5 standard deviations everywhere.
  void Check() const {
    const uint64_t bound = 2 * (made >> 21) + 32;
    if (accepted > bound) {
      std::fprintf(stderr, "link_fuzzer: %s: accepted %llu of %llu\n", what,
                   static_cast<unsigned long long>(accepted),
                   static_cast<unsigned long long>(made));
    }
    HARDENED_CHECK(accepted <= bound);
  }
};

Trials random_words{"random words"};
Trials moved_words{"words stored for another slot of the slab"};
Trials other_keys{"words of another process"};
Trials cleared_words{"zero"};
Trials plain_addresses{"addresses that were not encoded"};
std::array<Trials, 64> flipped_bits;

bool Accepts(const LinkKeys& keys, uintptr_t stored_at, uint64_t word) {
  uintptr_t next = 0;
  return DecodeLink(keys, stored_at, word, &next);
}

void CheckExactly(const LinkKeys& keys, uintptr_t stored_at, uintptr_t slot, uint64_t word) {
  uintptr_t next = ~uintptr_t{0};
  const bool accepted = DecodeLink(keys, stored_at, word, &next);
  const bool next_is_a_slot_address = (next & ~kSlotMask) == 0;
  HARDENED_CHECK(next_is_a_slot_address);
  HARDENED_CHECK(accepted == (EncodeLink(keys, stored_at, next) == word));

  const uint64_t encoded = EncodeLink(keys, stored_at, slot);
  uintptr_t decoded = ~uintptr_t{0};
  HARDENED_CHECK(DecodeLink(keys, stored_at, encoded, &decoded));
  HARDENED_CHECK(decoded == slot);
  // The tag is not masked by the pad: a change of tag bits alone never passes.
  const uint64_t tag_change = word >> core::kLinkTagShift << core::kLinkTagShift;
  if (tag_change != 0) HARDENED_CHECK(!Accepts(keys, stored_at, encoded ^ tag_change));
}

// As LinkKey() in heap_state.cc.
LinkKeys RandomKeys(Random& random) {
  constexpr uint64_t kAlways = 1 | uint64_t{1} << 63;
  return {.pad_key = random.Next() | kAlways, .tag_key = random.Next() | kAlways};
}

void CountAccepted(Random& random, uintptr_t stored_at, uintptr_t slot) {
  const LinkKeys keys = RandomKeys(random);
  // Half of the time the places of the input, else some in one cage.
  if (random.Next() % 2 == 0) {
    stored_at = random.Next() & kSlotMask;
    slot = (stored_at ^ random.Next() >> 44) & kSlotMask;
  }
  const uint64_t encoded = EncodeLink(keys, stored_at, slot);
  for (unsigned bit = 0; bit < flipped_bits.size(); ++bit) {
    flipped_bits[bit].what = "one flipped bit";
    flipped_bits[bit].Add(Accepts(keys, stored_at, encoded ^ uint64_t{1} << bit));
  }
  for (int i = 0; i < 32; ++i) {
    random_words.Add(Accepts(keys, stored_at, random.Next()));
    const uintptr_t elsewhere = stored_at ^ (random.Next() % 0xfff + 1) << 4;
    moved_words.Add(Accepts(keys, elsewhere, encoded));
    other_keys.Add(Accepts(RandomKeys(random), stored_at, encoded));
    // Words for the same slot say nothing about each other.
    HARDENED_CHECK((encoded ^ EncodeLink(keys, elsewhere, slot)) << (64 - core::kLinkTagShift) !=
                   0);
    plain_addresses.Add(Accepts(keys, stored_at ^ static_cast<uintptr_t>(i) << 4, slot));
  }
  cleared_words.Add(Accepts(keys, stored_at, 0));

  for (const Trials& trials : flipped_bits) trials.Check();
  for (const Trials* trials :
       {&random_words, &moved_words, &other_keys, &cleared_words, &plain_addresses}) {
    trials->Check();
  }
}

}  // namespace
}  // namespace hardened::fuzzers

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hardened::fuzzers;
  HexReader in(data, size);
  const hardened::core::LinkKeys keys{.pad_key = in.Next(), .tag_key = in.Next()};
  const uintptr_t stored_at = in.Next() & kSlotMask;
  const uintptr_t slot = in.Next() & kSlotMask;
  const uint64_t word = in.Next();
  CheckExactly(keys, stored_at, slot, word);
  static Random random;
  CountAccepted(random, stored_at, slot);
  return 0;
}
