/* deep: opens the library named first with RTLD_DEEPBIND, and gives it memory and takes some. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char** argv) {
  alarm(60);
  if (argc < 3) return 2;
  const int by_space = strcmp(argv[2], "space") == 0;
  void* library = by_space ? dlmopen(LM_ID_BASE, argv[1], RTLD_NOW | RTLD_DEEPBIND)
                           : dlopen(argv[1], RTLD_NOW | RTLD_DEEPBIND);
  if (library == NULL) {
    puts(dlerror());
    return 2;
  }
  char* (*give)(void);
  void (*take)(char*);
  *(void**)&give = dlsym(library, "give");
  *(void**)&take = dlsym(library, "take");
  for (int i = 0; i < 100; ++i) {
    free(give());
    take(strdup("from the program"));
  }
  puts("ok");
  return 0;
}
