#include "hardened/canary.h"

namespace hardened {

// A sweep may look at what others write at the same time (neighbours.cc), and then forgets it.
__attribute__((no_sanitize("thread"))) uintptr_t SlotCanary::FirstDamage(
    Words words, uintptr_t slot, size_t size, size_t slack, uint64_t value) {
  const uintptr_t end = slot + size;
  const unsigned char* const bytes = reinterpret_cast<const unsigned char*>(end - slack);
  for (size_t i = 0; i < slack; ++i) {
    const bool has_canary = i < 8 || (words == Words::kFirstAndLast && i + 8 >= slack);
    if (has_canary && bytes[i] != (value >> 8 * (i % 8) & 0xff)) return end - slack + i;
  }
  return end - slack;
}

}  // namespace hardened
