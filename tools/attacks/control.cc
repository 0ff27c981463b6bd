// A correct program: says whose malloc it has, and must not be stopped.
#include <dlfcn.h>

#include "tools/attacks/attack.h"

Verdict Correct() {
  Dl_info info = {};
  dladdr(dlsym(RTLD_DEFAULT, "malloc"), &info);
  dprintf(STDOUT_FILENO, "malloc=%s\n", info.dli_fname);
  static char* blocks[1000];
  for (int round = 0; round < 10; ++round) {
    for (size_t i = 0; i < 1000; ++i) memset(blocks[i] = Get(i * 5), 'A', i * 5);
    for (char* block : blocks) free(block);
  }
  return kFailed;
}
