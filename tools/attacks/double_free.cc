// A block is freed twice. COUNT: allocations between the two.
#include "tools/attacks/attack.h"

Verdict Immediate() {
  char* block = Get();
  free(block);
  free(block);
  return kUndetected;
}

Verdict Interleaved() {
  char* block = Get();
  char* other = Get();
  free(block);
  free(other);
  free(block);
  return kUndetected;
}

// The allocations cannot get the block's slot: they are larger.
Verdict Delayed() {
  char* block = Get();
  free(block);
  for (size_t i = 0; i < kCount; ++i) {
    if (Get(2 * kSize + 32 + i % 64 * 16) == block) return kNotStaged;
  }
  free(block);
  return kUndetected;
}

// The allocations may get the slot; then somebody else's live block is freed.
Verdict AfterReuse() {
  char* block = Get();
  free(block);
  for (size_t i = 0; i < kCount; ++i) Get();
  free(block);
  return kUndetected;
}

Verdict Overwritten() {
  char* block = Get();
  free(block);
  memset(block, 'A', kSize);
  free(block);
  return kUndetected;
}

Verdict OwnerThenThread() {
  char* block = Get();
  free(block);
  InThread([=] { free(block); });
  return kUndetected;
}

Verdict ThreadThenOwner() {
  char* block = Get();
  InThread([=] { free(block); });
  free(block);
  return kUndetected;
}

Verdict ThreadThenThread() {
  char* block = Get();
  InThread([=] { free(block); });
  InThread([=] { free(block); });
  return kUndetected;
}

Verdict ReallocToZero() {
  char* block = Get();
  if (realloc(block, 0) == block) return kNotStaged;  // shrunk in place: still live
  free(block);
  return kUndetected;
}
