// bound: a library whose operators are its own alone (-Bsymbolic); who uses it may end what it
// made, since all of them go to malloc.
#include <cstdlib>
#include <new>

void* operator new(size_t n) {
  void* block = malloc(n);
  if (block == nullptr) throw std::bad_alloc();
  return block;
}
void operator delete(void* p) noexcept { free(p); }
void operator delete(void* p, size_t) noexcept { free(p); }

extern "C" int* Make() { return new int(7); }
extern "C" void Drop(int* made) { delete made; }
