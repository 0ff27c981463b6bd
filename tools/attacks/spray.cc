// Goal: the first word of a freed object is the attacker's. COUNT: allocations of the attacker.
#include "tools/attacks/attack.h"

void* Populate() {
  static char* objects[200];
  for (char*& object : objects) FillWords(object = Get(), kSize, 0);
  return objects[100];
}

Verdict Spray(void* victim) {
  for (size_t i = 0; i < kCount; ++i) {
    FillWords(Get(), kSize, kEvil);
    if (*static_cast<volatile uintptr_t*>(victim) == kEvil) return kSucceeded;
  }
  return kFailed;
}

// A C object with a function pointer.
Verdict FunctionPointer() {
  void* victim = Populate();
  free(victim);
  return Spray(victim);
}

// A C++ object with a vtable pointer; the spray is of another type.
struct Shape {
  virtual void Draw() {}
  char data[kSize - sizeof(void*)];
};
Verdict Vtable() {
  Populate();
  Shape* victim = new Shape();
  delete victim;
  return Spray(victim);
}

// The attacker first pushes a delayed block out by freeing many of the same size.
Verdict Flushed() {
  void* victim = Populate();
  free(victim);
  static char* others[256];
  for (int round = 0; round < 32; ++round) {
    for (char*& other : others) other = Get();
    for (char* other : others) free(other);
  }
  return Spray(victim);
}
