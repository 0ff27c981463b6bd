/* Chooses its own default and prints what holds. */
#include <dlfcn.h>
#include <stdio.h>

#include "hardened/hardened.h"

/* Linked; else it is found when the program runs. */
#pragma weak hardened_policy

HARDENED_DEFAULT_OPTIONS("level=strict:quarantine=2M");

int main(void) {
  const char* (*policy)(void) = hardened_policy;
  if (policy == NULL) *(void**)&policy = dlsym(RTLD_DEFAULT, "hardened_policy");
  puts(policy != NULL ? policy() : "none");
  return 0;
}
