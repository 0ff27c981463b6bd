// RandomStream: a fast cryptographic stream of random words.
//
// ChaCha with 8 rounds (D. J. Bernstein, "ChaCha, a variant of Salsa20", 2008), eight blocks at a
// time. Every refill makes 512 bytes: the first 32 become the next key, the other 480 are handed
// out and wiped as they go (fast key erasure: D. J. Bernstein, "Fast-key-erasure random-number
// generators", 2017). Whoever reads the state learns nothing about numbers drawn before.
//
// Layout of bytes_: [0, 32) the key of the next refill; [32, 32 + remaining_) not yet handed out,
// taken from the end; the rest zero.
//
// Equal seeds give equal draws on every machine of one byte order.
//
// All zero is a stream that was not seeded, and one whose pages the kernel wiped for the child of a
// fork (stream_store.h): its next draw seeds it from the kernel's entropy.
//
// Threads: external; one stream per thread or a lock around it.

#ifndef HARDENED_PRIM_RANDOM_STREAM_H_
#define HARDENED_PRIM_RANDOM_STREAM_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "hardened/prim/check.h"

namespace hardened::prim {

class RandomStream {
 public:
  static constexpr size_t kKeyBytes = 32;

  constexpr RandomStream() = default;
  RandomStream(const RandomStream&) = delete;
  RandomStream& operator=(const RandomStream&) = delete;

  // Starts the stream of `key` and `stream_id`, dropping what came before. Equal arguments give
  // equal draws; streams of one key with different ids are independent.
  void Seed(std::span<const std::byte, kKeyBytes> key, uint64_t stream_id);

  // Mixes `entropy` into the key and drops words not yet handed out. The result is as
  // unpredictable as the better of the old key and `entropy`: a forked child calls this.
  // Requires: seeded().
  void Rekey(std::span<const std::byte> entropy);

  bool seeded() const { return seeded_; }

  // Wipes the key and everything drawn ahead. Afterwards: !seeded().
  void Forget();

  // A note of the stream's user, false at first. It goes with the state when Forget() or the kernel
  // wipes that; seeding keeps it.
  bool mark() const { return mark_; }
  void SetMark() { mark_ = true; }

  // Uniform draws.
  uint16_t Next16() { return Take<uint16_t>(); }
  uint32_t Next32() { return Take<uint32_t>(); }
  uint64_t Next64() { return Take<uint64_t>(); }

  // Uniform in [0, bound), exactly: D. Lemire, "Fast Random Integer Generation in an Interval",
  // ACM TOMACS 29(1), 2019. Requires: bound >= 1.
  uint32_t Below(uint32_t bound) {
    HARDENED_DCHECK(bound >= 1);
    const uint64_t product = uint64_t{Next32()} * bound;
    if (static_cast<uint32_t>(product) < bound) [[unlikely]] {
      return BelowSlow(product, bound);
    }
    return static_cast<uint32_t>(product >> 32);
  }

  // The same from half as many random bits. Requires: 1 <= bound <= 65536.
  uint32_t Below16(uint32_t bound) { return Below16(bound, Next16()); }
  // The same for who has drawn `bits` already, such as one word for four; more are drawn if needed.
  uint32_t Below16(uint32_t bound, uint16_t bits) {
    HARDENED_DCHECK(bound >= 1 && bound <= 65536);
    const uint32_t product = uint32_t{bits} * bound;
    if ((product & 0xffff) < bound) [[unlikely]]
      return BelowSlow16(product, bound);
    return product >> 16;
  }
  // Uniform in [0, bound), [0, bound - 1), [0, bound - 2) and [0, bound - 3), exactly:
  // N. Brackett-Rozinsky, D. Lemire, "Batched Ranged Random Integer Generation", Software: Practice
  // and Experience 55(1), 2025. Requires: 4 <= bound <= 1024.
  std::array<uint64_t, 4> FourBelow(uint32_t bound) {
    HARDENED_DCHECK(bound >= 4 && bound <= 1024);
    std::array<uint64_t, 4> drawn;
    const uint64_t rest = DrawFour(bound, &drawn);
    // No product of four bounds is larger.
    if (rest < uint64_t{1} << 40) [[unlikely]]
      return FourBelowSlow(rest, bound, drawn);
    return drawn;
  }

 private:
  static constexpr uint32_t kBlocks = 8;
  static constexpr uint32_t kBytes = 64 * kBlocks;

  // Moves the last bytes not yet handed out to the caller. At the end of the buffer up to
  // sizeof(T) - 1 bytes go unused; Refill() overwrites them. Where a signal handler forks in the
  // middle of this, a child whose pages are wiped draws zeros up to the next Refill().
  template <typename T>
  T Take() {
    uint32_t left = remaining_;
    if (left < sizeof(T)) [[unlikely]] {
      Refill();
      left = kBytes - kKeyBytes;
    }
    left -= static_cast<uint32_t>(sizeof(T));
    remaining_ = left;
    std::byte* const taken = bytes_ + kKeyBytes + left;
    T result;
    std::memcpy(&result, taken, sizeof(T));
    std::memset(taken, 0, sizeof(T));
    return result;
  }

  // Draws four numbers. Returns: the rest, which is large enough unless they have to be drawn anew.
  uint64_t DrawFour(uint32_t bound, std::array<uint64_t, 4>* out) {
    uint64_t rest = Next64();
    const auto draw = [&rest](uint32_t below) {
      const unsigned __int128 product = static_cast<unsigned __int128>(rest) * below;
      rest = static_cast<uint64_t>(product);
      return static_cast<uint64_t>(product >> 64);
    };
    *out = {draw(bound), draw(bound - 1), draw(bound - 2), draw(bound - 3)};
    return rest;
  }

  [[gnu::cold, gnu::noinline]] uint32_t BelowSlow(uint64_t product, uint32_t bound);
  [[gnu::cold, gnu::noinline]] uint32_t BelowSlow16(uint32_t product, uint32_t bound);
  [[gnu::cold, gnu::noinline]] std::array<uint64_t, 4> FourBelowSlow(uint64_t rest, uint32_t bound,
                                                                     std::array<uint64_t, 4> drawn);
  [[gnu::noinline]] void Refill();
  [[gnu::cold, gnu::noinline]] void SeedFromKernel();

  uint64_t stream_id_ = 0;
  uint32_t remaining_ = 0;
  bool seeded_ = false;
  bool mark_ = false;
  alignas(32) std::byte bytes_[kBytes] = {};
};

}  // namespace hardened::prim

#endif  // HARDENED_PRIM_RANDOM_STREAM_H_
