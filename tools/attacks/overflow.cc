// COUNT bytes before or behind a block are overwritten; then it is freed, and its neighbours.
#include "tools/attacks/attack.h"

constexpr size_t kBlocks = kSize < 4096 ? 64 : 8;
char* blocks[kBlocks];
char source[kSize + kCount + 1];

char* Victim() {
  memset(source, 'A', kSize + kCount);
  for (char*& block : blocks) memset(block = Get(), 'B', kSize);
  return blocks[kBlocks / 2];
}

Verdict FreeAll() {
  free(blocks[kBlocks / 2]);
  for (char*& block : blocks) {
    if (&block != &blocks[kBlocks / 2]) free(block);
  }
  return kUndetected;
}

Verdict Memset() {
  memset(Victim(), 'A', kSize + kCount);
  return FreeAll();
}
Verdict Memcpy() {
  memcpy(Victim(), source, kSize + kCount);
  return FreeAll();
}
// The last of the bytes is the NUL.
Verdict Strcpy() {
  char* victim = Victim();
  source[kSize + kCount - 1] = 0;
  strcpy(victim, source);
  return FreeAll();
}
// A single stray byte, the one at distance COUNT.
Verdict Stray() {
  Victim()[kSize + kCount - 1] ^= 0x55;
  return FreeAll();
}
Verdict Below() {
  char* victim = Victim();
  memset(victim - kCount, 'A', kCount);
  return FreeAll();
}
// Only the victim is freed: what is in the neighbours lies there for good.
Verdict BelowVictimOnly() {
  char* victim = Victim();
  memset(victim - kCount, 'A', kCount);
  free(victim);
  return kUndetected;
}
