// Blocks that are ended by the wrong call, or with the wrong size.

#include <stdlib.h>

#include "tests/detection/crime.h"

namespace {

// ENDER:MAKER: what MAKER made is passed to ENDER, with the right size.
void Mismatch() { End(Word(0), Make(Word(1), size), size); }

// ENDER:MAKER:DELTA: the size passed is DELTA off.
void WrongSize() {
  End(Word(0), Make(Word(1), size), size + static_cast<size_t>(strtoll(Word(2), nullptr, 10)));
}

// ENDER:MAKER: another thread ends it.
void MismatchInAnotherThread() {
  void* block = Make(Word(1), size);
  InAnotherThread([=] { End(Word(0), block, size); });
}

#define CRIME(name) {#name, name}
const Crime kCrimes[] = {CRIME(Mismatch), CRIME(WrongSize), CRIME(MismatchInAnotherThread)};
#undef CRIME

}  // namespace

const std::span<const Crime> kCallCrimes = kCrimes;
