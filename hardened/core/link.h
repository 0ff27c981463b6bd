// EncodedLink: the word in the first 8 bytes of a freed slot that names the next slot of a batch.
//
// Free slots are threaded through their own memory only while they travel to the thread that owns
// them (remote_frees.h). A program that writes there after its free must not be able to choose what
// the owner sees:
//
//   word = (next >> 4 | tag << 43) xor pad
//
// pad depends on the process's keys and on the address the word is stored at, so a leaked or copied
// word is worth nothing elsewhere; tag is 21 bits over next, the address and the keys. A changed
// word passes the tag with probability 2^-21, and the decoded slot must then still be the exact
// start of a slot that waits for collection.
//
// The mixing is two multiplications by odd secret numbers with the high half folded in (the step of
// W. Yi's wyhash); it is made to be cheap and unguessable without the keys, not to withstand
// somebody who sees many words of one process.
//
// Threads: pure functions.

#ifndef HARDENED_CORE_LINK_H_
#define HARDENED_CORE_LINK_H_

#include <cstdint>

#include "hardened/core/geometry.h"

namespace hardened::core {

struct LinkKeys {
  uint64_t pad_key = 0;
  uint64_t tag_key = 0;
};

inline constexpr unsigned kLinkTagShift = kAddressBits - 4;

constexpr uint64_t MixLink(uint64_t a, uint64_t b) {
  const unsigned __int128 product = static_cast<unsigned __int128>(a) * (b | 1);
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

constexpr uint64_t LinkTag(const LinkKeys& keys, uintptr_t stored_at, uintptr_t next) {
  return MixLink(next ^ keys.tag_key, stored_at ^ keys.pad_key) >> kLinkTagShift << kLinkTagShift;
}

constexpr uint64_t LinkPad(const LinkKeys& keys, uintptr_t stored_at) {
  return MixLink(stored_at ^ keys.pad_key, keys.tag_key ^ 0x9e3779b97f4a7c15u);
}

// The word to store at `stored_at` for `next`, which may be 0 (end) and is 16-byte aligned.
constexpr uint64_t EncodeLink(const LinkKeys& keys, uintptr_t stored_at, uintptr_t next) {
  return ((next >> 4) | LinkTag(keys, stored_at, next)) ^ LinkPad(keys, stored_at);
}

// Decodes `word` found at `stored_at`.
// Returns: whether its tag is right; *next is then the slot it names, or 0.
constexpr bool DecodeLink(const LinkKeys& keys, uintptr_t stored_at, uint64_t word,
                          uintptr_t* next) {
  const uint64_t plain = word ^ LinkPad(keys, stored_at);
  *next = (plain & ((uint64_t{1} << kLinkTagShift) - 1)) << 4;
  return plain >> kLinkTagShift << kLinkTagShift == LinkTag(keys, stored_at, *next);
}

}  // namespace hardened::core

#endif  // HARDENED_CORE_LINK_H_
