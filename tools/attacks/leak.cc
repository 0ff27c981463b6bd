// Goal: memory shows what it must not: a secret of its former user, or where the heap is.
#include "tools/attacks/attack.h"

constexpr size_t kBlocks = kSize < 4096 ? 64 : 8;
char* blocks[kBlocks];

void GetAll(uintptr_t word) {
  for (char*& block : blocks) FillWords(block = Get(), kSize, word);
}
void FreeAll() {
  for (char* block : blocks) free(block);
}

bool IsMapped(uintptr_t address) {
  unsigned char resident = 0;
  return address >= 1 << 16 && address >> 47 == 0 &&
         mincore(reinterpret_cast<void*>(address & ~uintptr_t{4095}), 1, &resident) == 0;
}
// An address, or the page number of one, as glibc hides its links.
bool HasPointer(char* block) {
  for (size_t i = 0; i < kSize / 8; ++i) {
    if (IsMapped(Words(block)[i]) || IsMapped(Words(block)[i] << 12)) return true;
  }
  return false;
}

Verdict FreedSecret() {
  GetAll(kSecret);
  char* block = blocks[kBlocks / 2];
  free(block);
  return Contains(block, kSize, kSecret) ? kSucceeded : kFailed;
}
Verdict FreedPointer() {
  GetAll(0);
  FreeAll();
  for (char* block : blocks) {
    if (HasPointer(block)) return kSucceeded;
  }
  return kFailed;
}
// COUNT: allocations of the attacker.
Verdict UninitialisedSecret() {
  GetAll(kSecret);
  FreeAll();
  for (size_t i = 0; i < kCount; ++i) {
    if (Contains(Get(), kSize, kSecret)) return kSucceeded;
  }
  return kFailed;
}
Verdict UninitialisedPointer() {
  GetAll(0);
  FreeAll();
  for (size_t i = 0; i < kCount; ++i) {
    if (HasPointer(Get())) return kSucceeded;
  }
  return kFailed;
}
Verdict GrownSecret() {
  GetAll(kSecret);
  FreeAll();
  for (size_t i = 0; i < kCount; ++i) {
    char* small = Get(kSize / 2);
    memset(small, 0, kSize / 2);
    if (Contains(realloc(small, kSize), kSize, kSecret)) return kSucceeded;
  }
  return kFailed;
}
// COUNT: bytes read behind the attacker's block.
Verdict OverRead() {
  GetAll(kSecret);
  char* block = blocks[kBlocks / 2];
  FillWords(block, kSize, 0);
  return Contains(block + kSize, kCount, kSecret) ? kSucceeded : kFailed;
}
