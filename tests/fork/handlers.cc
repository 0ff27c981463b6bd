// A library whose constructor registers a prepare handler, before anybody allocates. What the
// handler does is the first letter of FORK_HANDLER: m allocates slots, b a run, z nothing, j waits
// for a thread that allocates and opens a file, t does so with the thread that is started there.

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

namespace {

pthread_t worker;
bool running = false;
int pipe_ends[2];

void AllocateALot() {
  for (size_t bytes = 1; bytes < 300'000; bytes += bytes / 4 + 1) {
    for (int i = 0; i < 40; ++i) {
      char* volatile block = static_cast<char*>(malloc(bytes));
      block[0] = 1;
      free(block);
    }
  }
  FILE* file = fopen("/dev/null", "w");
  if (file != nullptr) {
    fputs("x", file);
    fclose(file);
  }
}

void* WaitAndAllocate(void*) {
  char byte;
  free(malloc(1000));
  if (read(pipe_ends[0], &byte, 1) != 1) abort();
  AllocateALot();
  return nullptr;
}

void* Allocate(void*) {
  AllocateALot();
  return nullptr;
}

void Prepare() {
  const char* mode = getenv("FORK_HANDLER");
  switch (mode == nullptr ? ' ' : mode[0]) {
    case 'm':
      AllocateALot();
      break;
    case 'b':
      for (int i = 0; i < 20; ++i) {
        void* volatile block = malloc(size_t{1} << 20);
        free(block);
      }
      break;
    case 'z': {
      void* volatile block = malloc(0);
      free(block);
      break;
    }
    case 'j':
      if (!running) break;
      running = false;
      if (write(pipe_ends[1], "x", 1) != 1) abort();
      pthread_join(worker, nullptr);
      break;
    case 't':
      if (pthread_create(&worker, nullptr, Allocate, nullptr) == 0) pthread_join(worker, nullptr);
      break;
    default:
      break;
  }
}

[[gnu::constructor]] void Register() { pthread_atfork(Prepare, nullptr, nullptr); }

}  // namespace

extern "C" [[gnu::visibility("default")]] void StartHandlersWorker() {
  if (pipe(pipe_ends) != 0 || pthread_create(&worker, nullptr, WaitAndAllocate, nullptr) != 0) {
    abort();
  }
  running = true;
}
