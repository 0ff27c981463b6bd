#include "hardened/canary.h"

namespace hardened {

// A sweep may look at what others write at the same time (neighbours.cc), and then forgets it.
__attribute__((no_sanitize("thread"))) uintptr_t SlotCanary::FirstDamage(Words words,
                                                                         uintptr_t slot,
                                                                         size_t size, size_t slack,
                                                                         uint64_t value) {
  const uintptr_t end = slot + size;
  const unsigned char* const bytes = reinterpret_cast<const unsigned char*>(end - slack);
  for (size_t i = 0; i < slack; ++i) {
    const bool has_canary = i < 8 || (words == Words::kFirstAndLast && i + 8 >= slack);
    if (has_canary && bytes[i] != (value >> 8 * (i % 8) & 0xff)) return end - slack + i;
  }
  return end - slack;
}

__attribute__((no_sanitize("thread"))) bool SlotCanary::IntactByAnyKey(Words words, uintptr_t slot,
                                                                       size_t size, size_t slack,
                                                                       uint16_t life) {
  const Secrets& secrets = AllSecrets();
  for (size_t epoch = 0; epoch <= secrets.epoch; ++epoch) {
    if (Intact(words, slot, size, slack, Mix(slot, life, secrets.canary.epochs[epoch])))
      return true;
  }
  return false;
}

}  // namespace hardened
