// Reads and writes through a pointer to freed memory.

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "tests/detection/crime.h"
#include "tests/support/late_free.h"

namespace {

// A block of a slab that stays in use, freed as `how` says.
unsigned char* FreedBlock(const char* how) {
  const Neighbours blocks = MakeNeighbours("malloc", 0);
  FillWithSecrets(blocks.victim, size);
  if (strcmp(how, "free") == 0) {
    free(blocks.victim);
  } else if (strcmp(how, "realloc") == 0) {
    if (realloc(blocks.victim, 3 * size) == blocks.victim) Exit(kNotCommitted, "grew in place");
  } else if (strcmp(how, "waiting") == 0) {
    InAnotherThread([&] { free(blocks.victim); });
  } else if (strcmp(how, "remote") == 0) {
    InAnotherThread([&] { free(blocks.victim); });
    // Until the owner has taken it back.
    for (int i = 0; i < 3000; ++i) Malloc(size);
  } else {
    Exit(kBadArguments, "unknown way to free");
  }
  return blocks.victim;
}

// free|realloc|waiting|remote:OFFSET: a byte of the freed slot is written; then the program works
// on.
void WriteAfterFree() {
  unsigned char* block = FreedBlock(Word(0));
  Flip(block + Number(1), 1);
  Churn(size, TurnsToLeave(size));
}

// The same, and the program ends.
void WriteAfterFreeNeverReused() { Flip(FreedBlock("free"), 1); }

// The same after the slot has left the quarantine and before it is handed out again.
void WriteAfterQuarantine() {
  unsigned char* block = FreedBlock("free");
  const size_t other = size < 512 ? 2 * size : size / 2;
  Churn(other, TurnsToLeave(other));
  Flip(block, 1);
  for (int i = 0; i < 100'000; ++i) {
    if (Malloc(size) == block) return;
  }
  Exit(kNotCommitted, "the slot was not handed out again");
}

// The slot belongs to somebody else by the time it is written through the old pointer.
void WriteAfterReuse() {
  unsigned char* block = FreedBlock("free");
  void* reused = ChurnUntil(block, size);
  Flip(block, size);
  free(reused);
}

// What a freed slot held is read through the old pointer.
void ReadAfterFree() {
  if (!HoldsSecrets(FreedBlock("free"), size)) _exit(kPrevented);
}

// malloc hands out a slot with what its last owner left in it.
void ReadOfFreshBlock() {
  unsigned char* block = FreedBlock("free");
  ChurnUntil(block, size);
  if (!HoldsSecrets(block, size)) _exit(kPrevented);
}

// read|write: through the pointer to a freed run.
void TouchFreedRun() {
  auto* block = static_cast<volatile unsigned char*>(Malloc(size));
  block[size / 2] = 1;
  free(const_cast<unsigned char*>(block));
  if (WordIs(0, "write")) {
    block[size / 2] = 2;
  } else {
    volatile unsigned char value = block[size / 2];
    (void)value;
  }
}

Neighbours freed_late;

// Frees blocks by `late` in a thread whose heap is gone: they go to their owner one by one.
void FreeAtTheEndOfAThread(void (*late)()) {
  freed_late = MakeNeighbours("malloc", 0);
  if (!AtTheEndOfAThread([] { free(Malloc(size)); }, late)) Exit(kBadArguments, "no thread");
}

// What is written over the link of such a slot, before its owner takes it.
void OverwriteLink() {
  FreeAtTheEndOfAThread([] { free(freed_late.victim); });
  Flip(freed_late.victim, 8);
  for (int i = 0; i < 100'000; ++i) Malloc(size);
}

// As above, with the word that another slot holds there.
void CopyLink() {
  FreeAtTheEndOfAThread([] {
    free(freed_late.left);
    free(freed_late.victim);
  });
  memcpy(freed_late.victim, freed_late.left, 8);
  for (int i = 0; i < 100'000; ++i) Malloc(size);
}

// MAKER:read|write: an access to an allocation of zero bytes.
void TouchZeroBytes() {
  auto* block = static_cast<volatile unsigned char*>(Make(Word(0), 0));
  if (WordIs(1, "write")) {
    block[0] = 1;
  } else {
    volatile unsigned char value = block[0];
    (void)value;
  }
}

#define CRIME(name) {#name, name}
const Crime kCrimes[] = {
    CRIME(WriteAfterFree),  CRIME(WriteAfterFreeNeverReused),
    CRIME(WriteAfterReuse), CRIME(WriteAfterQuarantine),
    CRIME(ReadAfterFree),   CRIME(ReadOfFreshBlock),
    CRIME(TouchFreedRun),   CRIME(TouchZeroBytes),
    CRIME(OverwriteLink),   CRIME(CopyLink),
};
#undef CRIME

}  // namespace

const std::span<const Crime> kUseAfterFreeCrimes = kCrimes;
