// Canary: secret bytes from the exact end of a request, checked when the allocation ends.
//
// The value is 64 bits, mixed from a key, the slot's address and the slot's life (a number that
// changes each time the slot is handed out), so a canary that leaked is worth nothing for another
// slot or for the next life of the same slot. Its first byte is odd: the NUL of a string that is
// one too long never matches.
//
// Of the slack, the first 8 bytes behind the request hold it, and where neighbours are looked at
// the last 8 bytes of the slot as well, repeated every 8 bytes. Every request in a slot leaves at
// least kRoom bytes of slack, so that both words are whole.
//
// A forked child uses a new key for what it allocates and keeps the old ones to verify what it
// inherited; the life says which key (kEpochShift). Fast paths know the newest key alone: what they
// do not find intact goes to the slow side, which looks the key up.
//
// Threads: pure functions on memory that the caller owns.

#ifndef HARDENED_CANARY_H_
#define HARDENED_CANARY_H_

#include <cstddef>
#include <cstdint>

#include "absl/base/attributes.h"
#include "hardened/prim/multiply.h"
#include "hardened/secrets.h"

namespace hardened {

// Off: no room, no life, nothing checked.
struct NoCanary {
  static constexpr size_t kRoom = 0;
};

struct SlotCanary {
  // In bytes. A whole word: no mask, no branch. Two bytes would do for detection, but cost more
  // time, and less than 8 save memory for odd sizes only.
  static constexpr size_t kRoom = 8;

  // Which of the two words there are in slots.
  enum class Words : uint8_t { kFirst, kFirstAndLast };

  // The canary of the slot at `slot` in `life`.
  static uint64_t Value(uintptr_t slot, uint16_t life) {
    return Mix(slot, life, AllSecrets().canary.epochs[uint32_t{life} >> kEpochShift]);
  }
  // The same for a life of the newest epoch; of another one a number that is never its canary.
  ABSL_ATTRIBUTE_ALWAYS_INLINE static uint64_t NewestValue(uintptr_t slot, uint16_t life) {
    return Mix(slot, life, AllSecrets().canary.newest);
  }

  // Writes it. Requires: kRoom <= slack < size.
  ABSL_ATTRIBUTE_ALWAYS_INLINE static void Write(Words words, uintptr_t slot, size_t size,
                                                 size_t slack, uint64_t value) {
    const uintptr_t end = slot + size;
    Store(end - slack, value);
    if (words == Words::kFirstAndLast) Store(end - 8, LastWord(slack, value));
  }

  // Detects: a write behind the request that changed a byte of the words that there are; a single
  //          byte passes once in 256 times, two once in 65,536.
  // Misses:  a write that skips them, and one that the program undid.
  // Cost:    one multiplication, a load and a comparison a free, a store a malloc; for the last
  //          word a load and a store more, often in another cache line, and a rotation each.
  ABSL_ATTRIBUTE_ALWAYS_INLINE static bool Intact(Words words, uintptr_t slot, size_t size,
                                                  size_t slack, uint64_t value) {
    const uintptr_t end = slot + size;
    uint64_t changed = Load(end - slack) ^ value;
    if (words == Words::kFirstAndLast) changed |= Load(end - 8) ^ LastWord(slack, value);
    return changed == 0;
  }

  // The same for what ends a run, which may be as little as one byte: of the 8 bytes in front of
  // `end` those that belong to the slack. Requires: 1 <= slack.
  static void WriteTail(uintptr_t end, size_t slack, uint64_t value) {
    const uint64_t mask = LastMask(slack);
    Store(end - 8, (Load(end - 8) & ~mask) | (LastWord(slack, value) & mask));
    if (slack > 8) Store(end - slack, value);
  }
  static bool TailIntact(uintptr_t end, size_t slack, uint64_t value) {
    const uint64_t changed = (Load(end - 8) ^ LastWord(slack, value)) & LastMask(slack);
    return changed == 0 && (slack <= 8 || Load(end - slack) == value);
  }

  // A whole canary in front of an allocation. Requires: the 8 bytes there belong to it.
  static void WriteInFront(uintptr_t start, uint64_t value) { Store(start - 8, value); }
  static bool IntactInFront(uintptr_t start, uint64_t value) { return Load(start - 8) == value; }

  // As Intact(), by the key of any epoch there was. A signal handler that forks may interrupt the
  // walk of malloc between the life that it writes and the key that it reads: one of them is then
  // the parent's. For the slow side, before it reports.
  static bool IntactByAnyKey(Words words, uintptr_t slot, size_t size, size_t slack, uint16_t life);

  // The address of the first changed byte. Requires: !Intact(), or !TailIntact() of slot + size,
  // which has both words.
  static uintptr_t FirstDamage(Words words, uintptr_t slot, size_t size, size_t slack,
                               uint64_t value);

 private:
  ABSL_ATTRIBUTE_ALWAYS_INLINE static uint64_t Mix(uintptr_t slot, uint16_t life, uint64_t key) {
    return prim::FoldedProduct(slot ^ uint64_t{life} << 48 ^ key, AllSecrets().canary.multiplier) |
           1;
  }
  // The canary repeats every 8 bytes from the start of the slack; this is what it makes of the last
  // 8 bytes of the slot, of which the upper min(slack, 8) belong to it.
  static constexpr uint64_t LastWord(size_t slack, uint64_t value) {
    // One rotation: written out, since the sign of std::rotr's count costs an instruction.
    const unsigned bits = 8 * static_cast<unsigned>(slack);
    return value >> (bits & 63) | value << (-bits & 63);
  }
  static constexpr uint64_t LastMask(size_t slack) {
    return ~uint64_t{0} << (slack < 8 ? 64 - 8 * slack : 0);
  }
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
