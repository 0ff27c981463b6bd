// Canary: secret bytes from the exact end of a request, checked when the allocation ends.
//
// The value is 64 bits, mixed from a key, the slot's address and the slot's life (a number that
// changes each time the slot is handed out), so a canary that leaked is worth nothing for another
// slot or for the next life of the same slot. Its first byte is odd: the NUL of a string that is
// one too long never matches.
//
// Of the slack, the first 8 bytes behind the request and the last 8 bytes of the slot hold it,
// repeated every 8 bytes. Every request leaves at least kRoom bytes of slack.
//
// A forked child uses a new key for what it allocates and keeps the old ones to verify what it
// inherited; the life says which key (kEpochShift).
//
// Threads: pure functions on memory that the caller owns.

#ifndef HARDENED_CANARY_H_
#define HARDENED_CANARY_H_

#include <bit>
#include <cstddef>
#include <cstdint>

#include "absl/base/attributes.h"
#include "hardened/secrets.h"

namespace hardened {

// Off: no room, no life, nothing checked.
struct NoCanary {
  static constexpr bool kOn = false;
  static constexpr size_t kRoom = 0;
};

struct SlotCanary {
  static constexpr bool kOn = true;
  // In bytes. Two: one byte can be guessed once in 256 overflows.
  static constexpr size_t kRoom = 2;

  // The canary of the slot at `slot` in `life`.
  ABSL_ATTRIBUTE_ALWAYS_INLINE static uint64_t Value(uintptr_t slot, uint16_t life) {
    const CanaryKeys& keys = AllSecrets().canary;
    const uint64_t key = keys.epochs[life >> kEpochShift];
    const unsigned __int128 product =
        static_cast<unsigned __int128>(slot ^ uint64_t{life} << 48 ^ key) * keys.multiplier;
    return (static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64)) | 1;
  }

  // Writes it into memory whose bytes in front of the slack need not be kept.
  // Requires: kRoom <= slack < size; size >= 16.
  //
  // Here and in Intact() slack is as random as the program's sizes, so nothing branches on it.
  ABSL_ATTRIBUTE_ALWAYS_INLINE static void Write(uintptr_t slot, size_t size, size_t slack,
                                                 uint64_t value) {
    const uintptr_t end = slot + size;
    const uint64_t last = LastWord(slack, value) & LastMask(slack);
    Store(end - 8, last);
    Store(end - FirstDistance(slack), slack < 8 ? last : value);
  }

  // Writes it and keeps the bytes in front of the slack: for an allocation that is in use.
  static void WriteKeeping(uintptr_t slot, size_t size, size_t slack, uint64_t value) {
    const uintptr_t end = slot + size;
    const uint64_t mask = LastMask(slack);
    Store(end - 8, (Load(end - 8) & ~mask) | (LastWord(slack, value) & mask));
    if (slack > 8) Store(end - slack, value);
  }

  // Detects: a write behind the request that changed a byte of the first 8 or the last 8 of the
  //          slack; a single byte passes once in 256 times, two once in 65,536.
  // Misses:  a write that skips them, and one that the program undid.
  // Cost:    one multiplication, two loads and a comparison a free; two stores a malloc.
  ABSL_ATTRIBUTE_ALWAYS_INLINE static bool Intact(uintptr_t slot, size_t size, size_t slack,
                                                  uint64_t value) {
    const uintptr_t end = slot + size;
    const uint64_t in_last = (Load(end - 8) ^ LastWord(slack, value)) & LastMask(slack);
    const uint64_t first = Load(end - FirstDistance(slack));
    const uint64_t in_first = first ^ (slack < 8 ? first : value);
    return (in_last | in_first) == 0;
  }

  // A whole canary in front of an allocation. Requires: the 8 bytes there belong to it.
  static void WriteInFront(uintptr_t start, uint64_t value) { Store(start - 8, value); }
  static bool IntactInFront(uintptr_t start, uint64_t value) { return Load(start - 8) == value; }

  // The address of the first changed byte. Requires: !Intact().
  static uintptr_t FirstDamage(uintptr_t slot, size_t size, size_t slack, uint64_t value);

 private:
  // The canary repeats every 8 bytes from the start of the slack; this is what it makes of the last
  // 8 bytes of the slot, of which the upper min(slack, 8) belong to it.
  static constexpr uint64_t LastWord(size_t slack, uint64_t value) {
    return std::rotr(value, static_cast<int>(8 * slack % 64));
  }
  static constexpr uint64_t LastMask(size_t slack) {
    return ~uint64_t{0} << (slack < 8 ? 64 - 8 * slack : 0);
  }
  // From the end of the slot back to the word that starts with the slack; the last word when the
  // slack is shorter than a word.
  static constexpr size_t FirstDistance(size_t slack) { return slack < 8 ? 8 : slack; }
  ABSL_ATTRIBUTE_ALWAYS_INLINE static uint64_t Load(uintptr_t address) {
    uint64_t word;
    __builtin_memcpy(&word, reinterpret_cast<const void*>(address), sizeof(word));
    return word;
  }
  ABSL_ATTRIBUTE_ALWAYS_INLINE static void Store(uintptr_t address, uint64_t word) {
    __builtin_memcpy(reinterpret_cast<void*>(address), &word, sizeof(word));
  }
};

}  // namespace hardened

#endif  // HARDENED_CANARY_H_
