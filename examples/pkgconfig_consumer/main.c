/* Prints the level of the allocator in charge; with an argument, frees a block twice. */
#include <hardened/hardened.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
  (void)argv;
  printf("level %s\n", hardened_level());
  fflush(stdout);
  /* volatile: the compiler may remove neither the block nor the second free. */
  void *volatile block = malloc(40);
  free(block);
  if (argc > 1) free(block);
  return 0;
}
