/* plug: gives memory away and takes some. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>

char* give(void) {
  char* line = NULL;
  return asprintf(&line, "%d", 5) < 0 ? NULL : line;
}
void take(char* text) { free(text); }
