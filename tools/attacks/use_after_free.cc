// SIZE bytes at offset COUNT of a freed block are overwritten; then its memory is used again.
#include "tools/attacks/attack.h"

constexpr size_t kBlock = kSize + kCount < 32 ? 32 : kSize + kCount;
constexpr size_t kLive = 512;
// 51,200 frees: more than any quarantine here holds.
constexpr size_t kRounds = 100;

void Reuse(size_t rounds) {
  static char* live[kLive];
  for (size_t round = 0; round < rounds; ++round) {
    for (char*& block : live) *(block = Get(kBlock)) = 1;
    for (char* block : live) free(block);
  }
}

char* Freed() {
  Get(kBlock);
  char* block = Get(kBlock);
  Get(kBlock);
  free(block);
  return block;
}

Verdict Write() {
  memset(Freed() + kCount, 'A', kSize);
  Reuse(kRounds);
  return kUndetected;
}
// The block may wait somewhere else by the time it is written.
Verdict WriteLater() {
  char* block = Freed();
  Reuse(2);
  memset(block + kCount, 'A', kSize);
  Reuse(kRounds);
  return kUndetected;
}
