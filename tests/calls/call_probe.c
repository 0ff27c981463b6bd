// call_probe: what calls_test counts the system calls of. In C, so that nothing allocates before
// main().
//
//   nothing       ends at once
//   one           one allocation
//   pairs N       allocates and frees N times
//   past, before, freed
//                 finds a guarded sample after 100 others were freed, and touches what it must not;
//                 exits with 3 when there is no sample, and with 4 when nothing happened

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { kPage = 4096, kSize = 100, kFreedBefore = 100 };

static void* volatile kept;

static void Pairs(long count) {
  for (long i = 0; i < count; ++i) {
    kept = malloc(16 + i % 300);
    free(kept);
  }
}

// The kernel is asked to read it.
static int IsReadable(const char* at) {
  int ends[2];
  if (pipe(ends) != 0) _exit(5);
  const int readable = write(ends[1], at, 1) == 1;
  close(ends[0]);
  close(ends[1]);
  return readable;
}

static char* FindSample(int at_end) {
  int found = 0;
  for (long i = 0; i < 20 * 1000 * 1000; ++i) {
    char* block = malloc(kSize);
    const uintptr_t offset = (uintptr_t)block % kPage;
    const int in_place = at_end ? offset + kSize + 16 > kPage : offset == 0;
    if (in_place) {
      // A slot that lies so is kept: it might come again and again.
      if (IsReadable(block - offset - 1) || IsReadable(block - offset + kPage)) continue;
      if (++found > kFreedBefore) return block;
    }
    free(block);
  }
  _exit(3);
}

int main(int argc, char** argv) {
  alarm(300);
  const char* mode = argc > 1 ? argv[1] : "nothing";
  if (strcmp(mode, "one") == 0) kept = malloc(100);
  if (strcmp(mode, "pairs") == 0) Pairs(atol(argv[2]));
  volatile char* touched = NULL;
  if (strcmp(mode, "past") == 0) touched = FindSample(1) + (kSize + 15) / 16 * 16;
  if (strcmp(mode, "before") == 0) touched = FindSample(0) - 1;
  if (strcmp(mode, "freed") == 0) {
    touched = FindSample(1);
    free((void*)touched);
  }
  if (touched == NULL) return 0;
  *touched = 1;
  return 4;
}
