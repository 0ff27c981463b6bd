#include "hardened/prim/random_stream.h"

#include <algorithm>
#include <cstring>

#include "hardened/prim/chacha.h"
#include "hardened/prim/check.h"
#include "hardened/prim/entropy.h"
#include "hardened/prim/processor.h"

namespace hardened::prim {
namespace {

constexpr int kKeyWords = RandomStream::kKeyBytes / sizeof(uint32_t);

// Clears memory that the compiler may consider dead.
void Wipe(void* start, size_t size) {
  memset(start, 0, size);
  asm volatile("" : : "r"(start) : "memory");
}

// Both write blocks 0 to 7, word w of block b to out[8 * w + b].
void EightBlocks(const uint32_t* key, uint64_t stream_id, uint32_t* out) {
  ChaChaBlocks<8, 4>(key, 0, stream_id, out, 8);
  ChaChaBlocks<8, 4>(key, 4, stream_id, out + 4, 8);
}

#if defined(__x86_64__)
[[gnu::target("avx2")]] void EightBlocksAvx2(const uint32_t* key, uint64_t stream_id,
                                             uint32_t* out) {
  ChaChaBlocks<8, 8>(key, 0, stream_id, out, 8);
}

void FillBlocks(const uint32_t* key, uint64_t stream_id, uint32_t* out) {
  if (HasAvx2()) {
    EightBlocksAvx2(key, stream_id, out);
  } else {
    EightBlocks(key, stream_id, out);
  }
}
#else
void FillBlocks(const uint32_t* key, uint64_t stream_id, uint32_t* out) {
  EightBlocks(key, stream_id, out);
}
#endif

}  // namespace

void RandomStream::Seed(std::span<const std::byte, kKeyBytes> key, uint64_t stream_id) {
  memcpy(bytes_, key.data(), kKeyBytes);
  Wipe(bytes_ + kKeyBytes, sizeof(bytes_) - kKeyBytes);
  stream_id_ = stream_id;
  remaining_ = 0;
  seeded_ = true;
}

void RandomStream::Forget() {
  Wipe(bytes_, sizeof(bytes_));
  remaining_ = 0;
  seeded_ = false;
  mark_ = false;
}

void RandomStream::SeedFromKernel() {
  std::byte key[kKeyBytes];
  FillEntropy(key);
  Seed(key, stream_id_);
  Wipe(key, sizeof(key));
}

void RandomStream::Rekey(std::span<const std::byte> entropy) {
  HARDENED_CHECK(seeded_);
  uint32_t key[kKeyWords];
  memcpy(key, bytes_, sizeof(key));
  uint32_t blocks[16 * 4];
  // One step for each 32 bytes, with all 20 rounds since the input may be chosen by somebody; at
  // least one step, so that an empty `entropy` moves the key on, too.
  uint64_t step = 0;
  do {
    uint32_t chunk[kKeyWords] = {};
    const size_t taken = std::min(entropy.size(), sizeof(chunk));
    if (taken != 0) memcpy(chunk, entropy.data(), taken);
    entropy = entropy.subspan(taken);
    for (int i = 0; i < kKeyWords; ++i) key[i] ^= chunk[i];
    ChaChaBlocks<20, 4>(key, step++, ~stream_id_, blocks, 4);
    memcpy(key, blocks, sizeof(key));
    Wipe(chunk, sizeof(chunk));
  } while (!entropy.empty());
  memcpy(bytes_, key, sizeof(key));
  Wipe(bytes_ + kKeyBytes, sizeof(bytes_) - kKeyBytes);
  remaining_ = 0;
  Wipe(key, sizeof(key));
  Wipe(blocks, sizeof(blocks));
}

uint32_t RandomStream::BelowSlow(uint64_t product, uint32_t bound) {
  // 2^32 mod bound: so many low halves belong to the uneven rest.
  const uint32_t threshold = (0 - bound) % bound;
  while (static_cast<uint32_t>(product) < threshold) product = uint64_t{Next32()} * bound;
  return static_cast<uint32_t>(product >> 32);
}

uint32_t RandomStream::BelowSlow16(uint32_t product, uint32_t bound) {
  const uint32_t threshold = 65536 % bound;
  while ((product & 0xffff) < threshold) product = uint32_t{Next16()} * bound;
  return product >> 16;
}

std::array<uint64_t, 4> RandomStream::FourBelowSlow(uint64_t rest, uint32_t bound,
                                                    std::array<uint64_t, 4> drawn) {
  const uint64_t product = uint64_t{bound} * (bound - 1) * (bound - 2) * (bound - 3);
  // 2^64 modulo the product.
  const uint64_t threshold = -product % product;
  while (rest < threshold) rest = DrawFour(bound, &drawn);
  return drawn;
}

void RandomStream::Refill() {
  if (!seeded_) [[unlikely]]
    SeedFromKernel();
  uint32_t key[kKeyWords];
  memcpy(key, bytes_, sizeof(key));
  // Each key makes one refill, so the block counter starts over every time.
  FillBlocks(key, stream_id_, reinterpret_cast<uint32_t*>(bytes_));
  remaining_ = kBytes - kKeyBytes;
  Wipe(key, sizeof(key));
}

}  // namespace hardened::prim
