// Goal: a linear overflow of COUNT bytes puts the attacker's value into the function pointer that
// another object starts with.
#include "tools/attacks/attack.h"

constexpr size_t kObjects = 512;
char* objects[kObjects];

void Overflow(char* buffer) {
  for (size_t i = 0; i < kCount / 8; ++i) Words(buffer + kSize)[i] = kEvil;
}
// The function pointers are used.
Verdict Call() {
  for (char* object : objects) {
    if (object != nullptr && Words(object)[0] == kEvil) return kSucceeded;
  }
  return kFailed;
}
// Returns: the attacker's buffer, between objects.
char* Straight() {
  for (char*& object : objects) FillWords(object = Get(), kSize, 0);
  char* buffer = objects[kObjects / 2];
  objects[kObjects / 2] = nullptr;
  return buffer;
}
// Returns: one of the attacker's many buffers, meant to be in one of the holes.
char* Groom() {
  Straight();
  for (size_t i = 1; i < kObjects; i += 2) {
    free(objects[i]);
    objects[i] = nullptr;
  }
  static char* buffers[kObjects / 2];
  for (char*& buffer : buffers) buffer = Get();
  return buffers[kObjects / 4];
}

Verdict Neighbour() {
  Overflow(Straight());
  return Call();
}
Verdict NeighbourInAHole() {
  Overflow(Groom());
  return Call();
}
// The buffer is freed before the pointer is used, as a request ends before the next one.
Verdict NeighbourAfterFree() {
  char* buffer = Straight();
  Overflow(buffer);
  free(buffer);
  return Call();
}
