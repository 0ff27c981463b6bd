/* wrapper: a program whose own malloc is libc's, reached by the names that begin with __libc_. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void __libc_free(void*);

static long calls;
void* malloc(size_t n) {
  ++calls;
  return __libc_malloc(n);
}
void free(void* p) {
  if (p != NULL) ++calls;
  __libc_free(p);
}
void* calloc(size_t n, size_t m) { return __libc_calloc(n, m); }
void* realloc(void* p, size_t n) { return __libc_realloc(p, n); }

int main(void) {
  alarm(60);
  const long before = calls;
  for (int i = 0; i < 100; ++i) {
    char* text = strdup("a string");
    text = realloc(text, 1000);
    free(text);
    free(calloc(3, 4));
  }
  const long counted = calls - before;
  printf("ok %ld\n", counted);
  return 0;
}
