// process_probe: one small program that shows what a policy changes. The first argument says what
// to do; what was seen goes to stdout as one word or number.

#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <new>
#include <string_view>

#include "tests/support/resident.h"

namespace {

// So that no compiler knows what happens to the memory.
template <typename T>
T* volatile hidden;
char* Take(size_t bytes) {
  hidden<char> = static_cast<char*>(malloc(bytes));
  return hidden<char>;
}

const char* Ask(const char* function) {
  void* found = dlsym(RTLD_DEFAULT, function);
  return found == nullptr ? "libc" : reinterpret_cast<const char* (*)()>(found)();
}

// Whether the kernel can read the byte at `address`.
bool IsReadable(const void* address) {
  int ends[2];
  if (pipe(ends) != 0) _exit(99);
  const bool readable = write(ends[1], address, 1) == 1;
  close(ends[0]);
  close(ends[1]);
  return readable;
}

void DoubleFree() {
  char* p = Take(40);
  free(p);
  free(hidden<char>);
}

void InvalidFree() { free(Take(40) + 16); }

void ForeignPointer() {
  alignas(16) static char global[64];
  hidden<char> = global;
  free(hidden<char>);
}

void Mismatch() {
  hidden<int> = new int(1);
  free(hidden<int>);
}

void SizedDelete() {
  hidden<char> = static_cast<char*>(::operator new(40));
  ::operator delete(hidden<char>, 56);
}

void Canary() {
  char* p = Take(40);
  p[40] = 0;
  free(hidden<char>);
}

// Frees a slot, writes to it, and lets it pass the quarantine.
void WriteAfterFree() {
  char* p = Take(40);
  free(p);
  hidden<char>[8] = 1;
  for (int i = 0; i < 200'000; ++i) free(Take(40));
}

// How many pairs pass until a freed slot comes back.
void ReuseDistance() {
  char* p = Take(64);
  free(p);
  long pairs = 1;
  for (; pairs < 1'000'000; ++pairs) {
    char* q = Take(64);
    free(q);
    if (q == p) break;
  }
  printf("%ld\n", pairs);
}

void UseAfterFree() {
  for (int i = 0; i < 50; ++i) {
    char* p = Take(64);
    free(p);
    *const_cast<volatile char*>(p) = 1;
  }
}

// More freed samples than there can be at a time.
void UseAfterFreeOfALateSample() {
  for (int i = 0; i < 40'000; ++i) free(Take(64));
  UseAfterFree();
}

void HeldRun() {
  char* p = Take(1 << 20);
  free(p);
  printf("%s\n", IsReadable(p) ? "readable" : "guarded");
}

// How many of 100 runs lie where one of the last 8 did.
void RunAddresses() {
  int known = 0;
  char* last[8] = {};
  for (int i = 0; i < 100; ++i) {
    char* p = Take(200 << 10);
    for (char* earlier : last) {
      if (p != earlier) continue;
      ++known;
      break;
    }
    last[i % 8] = p;
    free(p);
  }
  printf("%d\n", known);
}

// Of the first 16 slabs of a class, behind how many a guard lies.
void GuardedSlabs() {
  uintptr_t slabs[16] = {};
  int known = 0, guarded = 0;
  while (known < 16) {
    const uintptr_t slab = reinterpret_cast<uintptr_t>(Take(100)) >> 16;
    bool seen = false;
    for (int i = 0; i < known; ++i) seen = seen || slabs[i] == slab;
    if (!seen) slabs[known++] = slab;
  }
  for (const uintptr_t slab : slabs) {
    guarded += !IsReadable(reinterpret_cast<void*>((slab + 1) << 16));
  }
  printf("%d\n", guarded);
}

// Of 200 neighbours in time, how many lie within 1 KiB.
void NearNeighbours() {
  int near = 0;
  char* last = Take(56);
  for (int i = 0; i < 200; ++i) {
    char* p = Take(56);
    near += llabs(p - last) < 1024;
    last = p;
  }
  printf("%d\n", near);
}

// How many KiB of 6 MiB stay resident half a second after they were freed.
void Purge() {
  constexpr int kCount = 750;
  static char* blocks[kCount];
  const long before = static_cast<long>(ResidentKib());
  for (char*& block : blocks) {
    block = Take(8000);
    memset(block, 1, 8000);
  }
  for (char* block : blocks) free(block);
  for (int i = 0; i < 10; ++i) {
    const timespec wait = {.tv_sec = 0, .tv_nsec = 100'000'000};
    nanosleep(&wait, nullptr);
    for (int j = 0; j < 2000; ++j) free(Take(300));
    free(Take(300 << 10));
  }
  printf("%ld\n", static_cast<long>(ResidentKib()) - before);
}

void Address() { printf("%lx\n", reinterpret_cast<unsigned long>(Take(64))); }

struct Deed {
  std::string_view name;
  void (*run)();
};

constexpr Deed kDeeds[] = {
    {"double_free", DoubleFree},
    {"invalid_free", InvalidFree},
    {"foreign_pointer", ForeignPointer},
    {"mismatch", Mismatch},
    {"sized_delete", SizedDelete},
    {"canary", Canary},
    {"write_after_free", WriteAfterFree},
    {"reuse_distance", ReuseDistance},
    {"use_after_free", UseAfterFree},
    {"use_after_free_of_a_late_sample", UseAfterFreeOfALateSample},
    {"held_run", HeldRun},
    {"run_addresses", RunAddresses},
    {"guarded_slabs", GuardedSlabs},
    {"near_neighbours", NearNeighbours},
    {"purge", Purge},
    {"address", Address},
    {"policy", [] { printf("%s %s\n", Ask("hardened_level"), Ask("hardened_policy")); }},
};

}  // namespace

#ifdef PROBE_DEFAULT_OPTIONS
extern "C" const char hardened_default_options[] = PROBE_DEFAULT_OPTIONS;
#endif

int main(int argc, char** argv) {
  static char output[4096];
  setvbuf(stdout, output, _IOFBF, sizeof(output));
  for (const Deed& deed : kDeeds) {
    if (argc != 2 || deed.name != argv[1]) continue;
    deed.run();
    fflush(stdout);
    return 0;
  }
  return 2;
}
