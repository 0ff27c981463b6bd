#include "hardened/canary.h"

namespace hardened {

uintptr_t SlotCanary::FirstDamage(Words words, uintptr_t slot, size_t size, size_t slack,
                                  uint64_t value) {
  const uintptr_t end = slot + size;
  const auto byte_at = [](uintptr_t address) {
    return *reinterpret_cast<const unsigned char*>(address);
  };
  const auto damaged = [&](size_t i) {
    return byte_at(end - slack + i) != (value >> 8 * (i % 8) & 0xff);
  };
  for (size_t i = 0; i < slack; ++i) {
    const bool has_canary = i < 8 || (words == Words::kFirstAndLast && i + 8 >= slack);
    if (has_canary && damaged(i)) return end - slack + i;
  }
  return end - slack;
}

}  // namespace hardened
