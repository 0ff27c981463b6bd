// bound_user: gives the library named first what new made, and deletes what the library made.
#include <dlfcn.h>
#include <unistd.h>

#include <cstdio>

int main(int argc, char** argv) {
  alarm(60);
  void* library = argc > 1 ? dlopen(argv[1], RTLD_NOW) : nullptr;
  if (library == nullptr) return 2;
  const auto make = reinterpret_cast<int* (*)()>(dlsym(library, "Make"));
  const auto drop = reinterpret_cast<void (*)(int*)>(dlsym(library, "Drop"));
  for (int i = 0; i < 1000; ++i) {
    delete make();
    drop(new int(i));
  }
  std::puts("ok");
}
