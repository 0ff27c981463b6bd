// Uses the heap in every way that reaches the kernel, beside a library that counts who calls libc.
// With an argument it calls one of those functions itself, to show that it is counted.
// Exit: 0, or 1 when a function was called that is not libc's any more.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

extern int heap_only __attribute__((weak));
extern int InterposedCalls(void) __attribute__((weak));

static void UseHeap(void) {
  enum { kBlocks = 4000 };
  static __thread char* blocks[kBlocks];
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < kBlocks; ++i) {
      blocks[i] = malloc((size_t)i * 97 % 9000);
      if (i % 50 == 0) {
        free(blocks[i]);
        blocks[i] = calloc(1, 70000 + (size_t)i * 100);
        blocks[i] = realloc(blocks[i], 200000 + (size_t)i * 500);
        blocks[i][0] = 1;
      }
    }
    for (int i = 0; i < kBlocks; ++i) free(blocks[i]);
  }
  char* grown = malloc(1 << 20);
  memset(grown, 1, 1 << 20);
  for (size_t size = 2 << 20; size <= 64 << 20; size *= 2) grown = realloc(grown, size);
  free(grown);
  free(aligned_alloc(1 << 20, 1 << 20));
}

static pthread_barrier_t before, after;
static void* Thread(void* unused) {
  pthread_barrier_wait(&before);
  UseHeap();
  pthread_barrier_wait(&after);
  return unused;
}

int main(int argc, char** argv) {
  (void)argv;
  alarm(300);
  const int interposed = &heap_only != NULL;
  pthread_t thread;
  pthread_barrier_init(&before, NULL, 2);
  pthread_barrier_init(&after, NULL, 2);
  if (interposed) heap_only = 1;
  UseHeap();
  if (argc > 1) (void)time(NULL);
  if (interposed) heap_only = 0;
  pthread_create(&thread, NULL, Thread, NULL);
  if (interposed) heap_only = 1;
  pthread_barrier_wait(&before);
  pthread_barrier_wait(&after);
  if (interposed) heap_only = 0;
  pthread_join(thread, NULL);
  printf("%d calls\n", interposed ? InterposedCalls() : -1);
  return interposed && InterposedCalls() != 0;
}
