// Crimes against guarded samples: allocations that have pages of their own between two guards.
//
// A level samples one allocation in so many. The crimes allocate until they hold one, which they
// know by its surroundings, so they need no switch and prove that the level samples at all.

#include <stdlib.h>
#include <unistd.h>

#include "tests/detection/crime.h"

namespace {

const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));

// A sample that lies against the guard behind it, or in front of it. Requires: a size that no slot
// has, so that a slot is seldom where a sample would be.
unsigned char* MakeSample(bool against_the_end) {
  for (size_t i = 0; i < 4'000'000; ++i) {
    auto* block = static_cast<unsigned char*>(Malloc(size));
    const auto address = reinterpret_cast<uintptr_t>(block);
    const uintptr_t start = address / page * page;
    const bool in_place = against_the_end ? address + size + 16 > start + page : address == start;
    if (in_place && IsBetweenGuards(block, size)) return block;
    free(block);
  }
  Exit(kNotCommitted, "no allocation was a sample");
}

void Touch(unsigned char* at) {
  if (WordIs(0, "write")) {
    *static_cast<volatile unsigned char*>(at) = 1;
  } else {
    volatile unsigned char value = *at;
    (void)value;
  }
}

// read|write: at the first address behind the sample that is aligned as blocks are.
void PastSample() { Touch(MakeSample(true) + (size + 15) / 16 * 16); }
void BeforeSample() { Touch(MakeSample(false) - 1); }
void FreedSample() {
  unsigned char* block = MakeSample(true);
  free(block);
  Touch(block);
}
void DoubleFreeOfSample() {
  unsigned char* block = MakeSample(true);
  free(block);
  free(block);
}

#define CRIME(name) {#name, name}
const Crime kCrimes[] = {CRIME(PastSample), CRIME(BeforeSample), CRIME(FreedSample),
                         CRIME(DoubleFreeOfSample)};
#undef CRIME

}  // namespace

const std::span<const Crime> kSampleCrimes = kCrimes;
