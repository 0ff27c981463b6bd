// A block is ended by the wrong function, or with the wrong size.
#include <new>

#include "tools/attacks/attack.h"

constexpr std::align_val_t kAlignment{64};

Verdict MallocDelete() {
  operator delete(Get());
  return kUndetected;
}
Verdict MallocDeleteArray() {
  operator delete[](Get());
  return kUndetected;
}
Verdict NewFree() {
  free(operator new(kSize));
  return kUndetected;
}
Verdict NewArrayFree() {
  free(operator new[](kSize));
  return kUndetected;
}
Verdict NewDeleteArray() {
  operator delete[](operator new(kSize));
  return kUndetected;
}
Verdict NewArrayDelete() {
  operator delete(operator new[](kSize));
  return kUndetected;
}
Verdict AlignedNewDelete() {
  operator delete(operator new(kSize, kAlignment));
  return kUndetected;
}
Verdict NewAlignedDelete() {
  operator delete(operator new(kSize), kAlignment);
  return kUndetected;
}
Verdict SizeTooSmall() {
  operator delete(operator new(kSize), kSize - 32);
  return kUndetected;
}
Verdict SizeTooLarge() {
  operator delete(operator new(kSize), kSize + 32);
  return kUndetected;
}
Verdict NewRealloc() {
  realloc(operator new(kSize), 2 * kSize);
  return kUndetected;
}
