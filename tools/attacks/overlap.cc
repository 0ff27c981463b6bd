// Goal: two live blocks share memory, after a double free. COUNT: allocations of the attacker.
#include "tools/attacks/attack.h"

Verdict Allocate() {
  static char* blocks[kCount];
  for (char*& block : blocks) block = Get();
  return Overlap(blocks, kCount) ? kSucceeded : kFailed;
}

Verdict Twice() {
  char* block = Get();
  free(block);
  free(block);
  return Allocate();
}
Verdict Dup() {
  char* block = Get();
  char* other = Get();
  free(block);
  free(other);
  free(block);
  return Allocate();
}
// The same when a cache in front of the free list is full.
Verdict DupPastCache() {
  char* filling[7];
  for (char*& block : filling) block = Get();
  char* block = Get();
  char* other = Get();
  for (char* filler : filling) free(filler);
  free(block);
  free(other);
  free(block);
  return Allocate();
}
Verdict KeyOverwritten() {
  char* block = Get();
  free(block);
  memset(block, 0, 16);
  free(block);
  return Allocate();
}
Verdict TwoThreads() {
  char* block = Get();
  InThread([=] { free(block); });
  free(block);
  return Allocate();
}
// The block is freed again when it has a new owner.
Verdict Dangling() {
  static char* blocks[2 * kCount];
  char* block = Get();
  free(block);
  for (size_t i = 0; i < kCount; ++i) blocks[i] = Get();
  free(block);
  for (size_t i = kCount; i < 2 * kCount; ++i) blocks[i] = Get();
  return Overlap(blocks, 2 * kCount) ? kSucceeded : kFailed;
}
