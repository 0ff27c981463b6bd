/* runpath: the library named first must find what its RUNPATH leads to, which the program does not.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char** argv) {
  alarm(60);
  void* caller = argc > 1 ? dlopen(argv[1], RTLD_NOW) : NULL;
  if (caller == NULL) return 2;
  int (*call)(int, int);
  *(void**)&call = dlsym(caller, "CallLeaf");
  printf("%d %d %d %d", call(RTLD_LAZY, 0), call(RTLD_NOW | RTLD_DEEPBIND, 0), call(RTLD_NOW, 1),
         call(RTLD_NOW | RTLD_DEEPBIND, 1));
  printf(" %s\n",
         dlopen("libleaf.so", RTLD_NOW) == NULL ? "not for the program" : "for the program");
  return 0;
}
