// Overflows by somebody who has read a canary.

#include <stdlib.h>
#include <string.h>

#include <algorithm>

#include "tests/detection/crime.h"

namespace {

// Where a level keeps no canary, a block may fill its slot: then two bytes of the next one.
size_t Slack(const Neighbours& blocks) { return std::max<size_t>(blocks.slot - size, 2); }

// The canary of one slot is written behind another of the same slab.
void CanaryOfAnotherSlot() {
  const Neighbours blocks = MakeNeighbours("malloc", 16);
  memcpy(blocks.victim + size, blocks.left + size, Slack(blocks));
  free(blocks.victim);
}

// The canary of a block is written behind the next block in the same slot.
void CanaryOfAnEarlierLife() {
  const Neighbours blocks = MakeNeighbours("malloc", 16);
  unsigned char leaked[1024];
  memcpy(leaked, blocks.victim + size, Slack(blocks));
  free(blocks.victim);
  ChurnUntil(blocks.victim, size);
  memcpy(blocks.victim + size, leaked, Slack(blocks));
  free(blocks.victim);
}

// The canary of a slot of the parent is written behind a block in the same slot of a forked child.
void CanaryOfTheParent() {
  const Neighbours blocks = MakeNeighbours("malloc", 16);
  unsigned char leaked[1024];
  memcpy(leaked, blocks.victim + size, Slack(blocks));
  InAForkedChild([&] {
    free(blocks.victim);
    ChurnUntil(blocks.victim, size);
    memcpy(blocks.victim + size, leaked, Slack(blocks));
    free(blocks.victim);
  });
}

// What overflows restores the canary of this very slot.
void CanaryOfTheSameSlot() {
  const Neighbours blocks = MakeNeighbours("malloc", 16);
  unsigned char leaked[1024];
  memcpy(leaked, blocks.victim + size, Slack(blocks));
  Flip(blocks.victim + size, Slack(blocks));
  memcpy(blocks.victim + size, leaked, Slack(blocks));
  free(blocks.victim);
}

// A block that the parent allocated overflows in the child.
void OverflowOfAnInheritedBlock() {
  const Neighbours blocks = MakeNeighbours("malloc", 16);
  InAForkedChild([&] {
    Flip(blocks.victim + size, 1);
    free(blocks.victim);
  });
}

#define CRIME(name) {#name, name}
const Crime kCrimes[] = {
    CRIME(CanaryOfAnotherSlot), CRIME(CanaryOfAnEarlierLife),      CRIME(CanaryOfTheParent),
    CRIME(CanaryOfTheSameSlot), CRIME(OverflowOfAnInheritedBlock),
};
#undef CRIME

}  // namespace

const std::span<const Crime> kCanaryCrimes = kCrimes;
