/* opener: opens the plugin named first, locally or, with "global" behind it, for all. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char** argv) {
  alarm(60);
  if (argc < 3) return 2;
  void* plugin =
      dlopen(argv[1], RTLD_NOW | (strcmp(argv[2], "global") == 0 ? RTLD_GLOBAL : RTLD_LOCAL));
  if (plugin == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    return 2;
  }
  int (*plug)(int*, int*);
  *(void**)&plug = dlsym(plugin, "plug");
  int calls = 0, balance = 0;
  const int failed = plug(&calls, &balance);
  printf("failed %d, called %s, balance %d\n", failed, calls > 0 ? "yes" : "no", balance);
  return 0;
}
