// secure_probe: what the environment of a process did to its heap. secure_test runs it.
//
// Prints whether the kernel asks for secure execution, the level, and where a few blocks are; with
// an argument, frees a block twice.
#include <sys/auxv.h>

#include <cstdio>
#include <cstdlib>

#include "hardened/hardened.h"

int main(int argc, char**) {
  // Not by printf() alone: its buffer is a block as well.
  void* volatile blocks[4];
  for (auto& block : blocks) block = std::malloc(40);
  std::printf("secure %lu\nlevel %s\n", getauxval(AT_SECURE), hardened_level());
  for (auto& block : blocks) std::printf("block %p\n", block);
  std::fflush(stdout);
  std::free(blocks[0]);
  if (argc > 1) std::free(blocks[0]);
}
