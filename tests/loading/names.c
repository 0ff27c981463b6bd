/* names: the malloc family by all the names that glibc has for it, each ended by another. */
#define _GNU_SOURCE
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
void* __libc_valloc(size_t);
void* __libc_pvalloc(size_t);
void __libc_free(void*);
/* As programs from before 2017 have it. */
void old_cfree(void*);
__asm__(".symver old_cfree,cfree@GLIBC_2.2.5");

static void* Filled(void* block, size_t bytes) {
  if (block == NULL) exit(1);
  memset(block, 0x55, bytes);
  return block;
}

int main(int argc, char** argv) {
  const int valgrind = argc > 1 && strcmp(argv[1], "valgrind") == 0;
  alarm(60);
  for (int i = 0; i < 200; ++i) {
    size_t n = 1 + (size_t)i * 37;
    old_cfree(Filled(malloc(n), n));
    free(Filled(reallocarray(Filled(reallocarray(NULL, n, 2), 2 * n), n, 3), 3 * n));
    free(Filled(realloc(Filled(aligned_alloc(64, 64 * n), 64 * n), n), n));
    void* aligned = NULL;
    if (posix_memalign(&aligned, 256, n) != 0) return 2;
    free(Filled(aligned, n));
    /* valgrind itself refuses pvalloc, and does not know the rest. */
    if (valgrind) continue;
    free(Filled(pvalloc(n), n));
    free(Filled(__libc_malloc(n), n));
    __libc_free(Filled(malloc(n), n));
    free(Filled(realloc(Filled(__libc_calloc(n, 2), 2 * n), 3 * n), 3 * n));
    __libc_free(Filled(__libc_realloc(Filled(malloc(n), n), 2 * n), 2 * n));
    free(Filled(__libc_memalign(128, n), n));
    old_cfree(Filled(__libc_valloc(n), n));
    free(Filled(__libc_pvalloc(n), n));
  }
  puts("ok");
  return 0;
}
