/* Chooses its own default and prints what holds. */
#include <dlfcn.h>
#include <stdio.h>

#include "hardened/hardened.h"

HARDENED_DEFAULT_OPTIONS("level=strict:quarantine=2M");

int main(void) {
  const char* (*policy)(void) = NULL;
  *(void**)&policy = dlsym(RTLD_DEFAULT, "hardened_policy");
  puts(policy != NULL ? policy() : "none");
  return 0;
}
