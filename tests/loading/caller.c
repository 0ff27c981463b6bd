/* caller: opens a library that only its own RUNPATH leads to. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>

int CallLeaf(int flags, int by_space) {
  void* leaf = by_space ? dlmopen(LM_ID_BASE, "libleaf.so", flags) : dlopen("libleaf.so", flags);
  if (leaf == NULL) return -1;
  int (*number)(void);
  *(void**)&number = dlsym(leaf, "LeafNumber");
  const int found = number();
  dlclose(leaf);
  return found;
}
