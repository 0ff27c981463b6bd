// Crimes against guarded samples: allocations that have pages of their own between two guards.
//
// A level samples one allocation in so many. The crimes allocate until they hold one, which they
// know by its surroundings, so they need no switch and prove that the level samples at all.

#include <stdlib.h>
#include <unistd.h>

#include "tests/detection/crime.h"

namespace {

const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
constexpr size_t kMallocAlignment = 16;

// A sample that lies against the guard behind it, or in front of it. Requires: a size that no slot
// has, so that a slot is seldom where a sample would be.
unsigned char* MakeSample(bool against_the_end, size_t alignment = kMallocAlignment) {
  for (size_t i = 0; i < 4'000'000; ++i) {
    auto* block = static_cast<unsigned char*>(
        alignment == kMallocAlignment ? Malloc(size) : aligned_alloc(alignment, size));
    const auto address = reinterpret_cast<uintptr_t>(block);
    if (address % alignment != 0) Exit(kNotCommitted, "a block is not aligned");
    const uintptr_t start = address / page * page;
    const bool in_place =
        against_the_end ? address + size + alignment > start + page : address == start;
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
void TouchPastSample(size_t alignment) {
  Touch(MakeSample(true, alignment) + (size + alignment - 1) / alignment * alignment);
}
void PastSample() { TouchPastSample(kMallocAlignment); }
void PastAlignedSample() { TouchPastSample(64); }
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
const Crime kCrimes[] = {CRIME(PastSample), CRIME(PastAlignedSample), CRIME(BeforeSample),
                         CRIME(FreedSample), CRIME(DoubleFreeOfSample)};
#undef CRIME

}  // namespace

const std::span<const Crime> kSampleCrimes = kCrimes;
