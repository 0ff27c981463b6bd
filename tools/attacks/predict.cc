// Where things are, for tools/attack to learn from many processes: prints lines "value NAME X", or
// "value NAME none" when there is nothing to exploit.
#include "tools/attacks/attack.h"

Verdict Values() {
  static char* blocks[1000];
  for (char*& block : blocks) block = Get();
  dprintf(STDOUT_FILENO, "value second-minus-first %td\n", blocks[1] - blocks[0]);
  dprintf(STDOUT_FILENO, "value 100th-minus-99th %td\n", blocks[99] - blocks[98]);
  dprintf(STDOUT_FILENO, "value 1000th-minus-999th %td\n", blocks[999] - blocks[998]);
  dprintf(STDOUT_FILENO, "value first-minus-libc %td\n",
          blocks[0] - reinterpret_cast<char*>(&abort));
  for (size_t i = 500; i < 600; ++i) free(blocks[i]);
  char* again = Get();
  for (size_t i = 500; i < 600; ++i) {
    if (blocks[i] == again) {
      dprintf(STDOUT_FILENO, "value freed-that-returns %zu\n", i);
      return kFailed;
    }
  }
  dprintf(STDOUT_FILENO, "value freed-that-returns none\n");
  return kFailed;
}
