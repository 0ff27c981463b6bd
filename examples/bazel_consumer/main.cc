// Prints the level of the allocator in charge; with an argument, frees a block twice.
#include <cstdio>
#include <cstdlib>

#include "hardened/hardened.h"

int main(int argc, char**) {
  std::printf("level %s\n", hardened_level());
  std::fflush(stdout);
  // volatile: the compiler may remove neither the block nor the second free.
  void* volatile block = std::malloc(40);
  std::free(block);
  if (argc > 1) std::free(block);
}
