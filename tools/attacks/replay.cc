// Goal: what an over-read showed of one slot makes damage to a slot pass.
#include "tools/attacks/attack.h"

constexpr size_t kBlocks = 512;
char* blocks[kBlocks];

void GetAll() {
  for (char*& block : blocks) FillWords(block = Get(), kSize, 0);
}

// Overflows `victim` with the COUNT bytes behind `from` and, after them, the attacker's value; the
// goal is an attacker's value in a neighbour when the victim's free has passed.
Verdict Replay(size_t victim, size_t from) {
  char leaked[kCount];
  memcpy(leaked, blocks[from] + kSize, kCount);
  memcpy(blocks[victim] + kSize, leaked, kCount);
  for (size_t i = 0; i < kSize; ++i) {
    blocks[victim][kSize + kCount + i] = reinterpret_cast<const char*>(&kEvil)[i % 8];
  }
  free(blocks[victim]);
  for (size_t i = 0; i < kBlocks; ++i) {
    if (i != victim && Contains(blocks[i], kSize, kEvil)) return kSucceeded;
  }
  return kFailed;
}
Verdict OtherCanary() {
  GetAll();
  return Replay(kBlocks / 2, kBlocks / 4);
}
Verdict OwnCanary() {
  GetAll();
  return Replay(kBlocks / 2, kBlocks / 2);
}

// The first 16 bytes of one freed block are written into the others. COUNT: allocations.
Verdict Link() {
  GetAll();
  for (char* block : blocks) free(block);
  char* leaked = blocks[kBlocks / 2];
  for (char* block : blocks) {
    if (block != leaked) memcpy(block, leaked, 16);
  }
  static char* later[kCount];
  for (char*& block : later) block = Get();
  return Overlap(later, kCount) ? kSucceeded : kFailed;
}
