// A freed pointer is passed on to another function than free.
#include <malloc.h>

#include "tools/attacks/attack.h"

char* Freed() {
  Get();
  char* block = Get();
  Get();
  free(block);
  return block;
}

Verdict ReallocSame() {
  realloc(Freed(), kSize);
  return kUndetected;
}
Verdict ReallocSmaller() {
  realloc(Freed(), kSize / 2);
  return kUndetected;
}
Verdict ReallocLarger() {
  realloc(Freed(), kSize * 4);
  return kUndetected;
}
Verdict ReallocInterior() {
  realloc(Get() + 16, kSize);
  return kUndetected;
}
Verdict ReallocArray() {
  reallocarray(Freed(), 2, kSize);
  return kUndetected;
}
Verdict UsableSize() {
  volatile size_t size = malloc_usable_size(Freed());
  return kUndetected;
}
Verdict UsableSizeInterior() {
  volatile size_t size = malloc_usable_size(Get() + 16);
  return kUndetected;
}
