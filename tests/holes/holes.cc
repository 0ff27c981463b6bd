// holes: programs that once found a way past a promise of SECURITY.md, and correct ones beside
// them.
//
//   holes SCENARIO [NUMBER]
//
// Ends with one of tests/misuse/exit_codes.h unless the library ends it.
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <new>

#include "tests/misuse/exit_codes.h"
#include "tests/preload/library_under_test.h"

namespace {

constexpr size_t kSliceBytes = 64 << 10;

volatile char* AllocateBytes(size_t bytes) { return static_cast<volatile char*>(malloc(bytes)); }
void Free(volatile char* pointer) { free(const_cast<char*>(pointer)); }

bool IsZero(const unsigned char* bytes, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    if (bytes[i] != 0) return false;
  }
  return true;
}

// Allocates and keeps `count` blocks of zeros, and frees them all.
int CheckZeroed(size_t bytes, int count) {
  unsigned char** blocks = static_cast<unsigned char**>(malloc(sizeof(*blocks) * count));
  int result = kPrevented;
  for (int i = 0; i < count; ++i) {
    blocks[i] = static_cast<unsigned char*>(calloc(1, bytes));
    if (!IsZero(blocks[i], bytes)) result = kSurvived;
  }
  for (int i = 0; i < count; ++i) free(blocks[i]);
  free(blocks);
  return result;
}

// ---- calloc

int CallocAfterAWriteToAFreedSlot(size_t bytes) {
  volatile char* stale = AllocateBytes(bytes);
  Free(stale);
  stale[bytes / 2] = 0x41;
  // As long as the quarantine takes of the small ones, which are wiped at standard.
  const int count = bytes <= 1000 ? 20'000 : 500;
  for (int i = 0; i < count; ++i) {
    unsigned char* fresh = static_cast<unsigned char*>(calloc(1, bytes));
    const bool zero = IsZero(fresh, bytes);
    free(fresh);
    if (!zero) return kSurvived;
  }
  return kPrevented;
}

// Everything behind one slot in its slice, of which at least half was not handed out yet.
int CallocAfterAWriteToUnusedSlots(size_t bytes) {
  volatile char* slot;
  size_t up_to;
  do {
    slot = AllocateBytes(bytes);
    up_to = kSliceBytes - reinterpret_cast<uintptr_t>(slot) % kSliceBytes;
  } while (up_to < kSliceBytes / 2);
  for (size_t i = bytes; i + bytes < up_to; ++i) slot[i] = 0x41;
  // All that a slab has of the small ones.
  return CheckZeroed(bytes, bytes <= 1000 ? 5000 : 64);
}

// Of a run that was freed, and is cached or given back by now.
int CallocAfterAWriteToAFreedRun(size_t bytes) {
  volatile char* run = AllocateBytes(bytes);
  run[0] = 1;
  Free(run);
  run[bytes / 2] = 0x41;
  return CheckZeroed(bytes, 16);
}

// Of runs that others pushed out of what is held.
int CallocAfterAWriteToARunThatWasHeld(size_t bytes) {
  constexpr int kRuns = 12;
  volatile char* runs[kRuns];
  for (volatile char*& run : runs) {
    run = AllocateBytes(bytes);
    run[0] = 1;
  }
  for (volatile char* run : runs) Free(run);
  for (int i = 0; i < kRuns / 3; ++i) runs[i][bytes / 2] = 0x41;
  return CheckZeroed(bytes, 2 * kRuns);
}

// After it was purged: what it held is gone, and then somebody writes.
int CallocAfterAWriteToAPurgedRun(size_t bytes) {
  constexpr int kRuns = 4;
  volatile char* runs[kRuns];
  for (volatile char*& run : runs) {
    run = AllocateBytes(bytes);
    memset(const_cast<char*>(run), 1, bytes);
  }
  for (volatile char* run : runs) Free(run);
  usleep(600'000);
  // Housekeeping, once for each generation of what is kept.
  for (int i = 0; i < 3; ++i) {
    Free(AllocateBytes(9 << 20));
    usleep(300'000);
  }
  for (volatile char* run : runs) run[bytes / 2] = 0x41;
  return CheckZeroed(bytes, 2 * kRuns);
}

// ---- allocations of nothing

sigjmp_buf before_access;
void Return(int) { siglongjmp(before_access, 1); }

int ZeroSizeAligned(size_t) {
  signal(SIGSEGV, &Return);
  signal(SIGBUS, &Return);
  for (size_t alignment = 16; alignment <= size_t{1} << 30; alignment *= 2) {
    void* nothing = nullptr;
    if (posix_memalign(&nothing, alignment, 0) != 0) continue;
    if (reinterpret_cast<uintptr_t>(nothing) % alignment != 0 || malloc_usable_size(nothing) != 0) {
      return kControlFailed;
    }
    for (const bool writes : {false, true}) {
      if (sigsetjmp(before_access, 1) != 0) continue;
      volatile char* const at = static_cast<volatile char*>(nothing);
      if (writes) {
        *at = 1;
      } else {
        (void)*at;
      }
      printf("an allocation of nothing, aligned to %zu, is %s\n", alignment,
             writes ? "writable" : "readable");
      return kSurvived;
    }
    // A neighbour, a growth and a free of it.
    void* other = nullptr;
    if (posix_memalign(&other, alignment, 0) != 0 || other == nothing) return kControlFailed;
    char* grown = static_cast<char*>(realloc(other, 100'000));
    if (grown == nullptr) return kControlFailed;
    memset(grown, 1, 100'000);
    free(grown);
    free(nothing);
  }
  return kPrevented;
}

// ---- freed runs

int RunComesBackAtOnce(size_t bytes) {
  volatile char* first = AllocateBytes(bytes);
  first[0] = 1;
  Free(first);
  volatile char* second = AllocateBytes(bytes);
  const bool same = first == second;
  Free(second);
  return same ? kSurvived : kPrevented;
}

// As under a server that forks for each request: whether all get the same run.
int SiblingsGetTheSameRun(size_t bytes) {
  constexpr int kChildren = 12;
  Free(AllocateBytes(bytes));
  int ends[2];
  if (pipe(ends) != 0) return kNotCommitted;
  uintptr_t places[kChildren] = {};
  for (uintptr_t& place : places) {
    const pid_t child = fork();
    if (child == 0) {
      const uintptr_t mine = reinterpret_cast<uintptr_t>(AllocateBytes(bytes));
      _exit(write(ends[1], &mine, sizeof(mine)) == sizeof(mine) ? 0 : 1);
    }
    int status = -1;
    if (waitpid(child, &status, 0) != child || status != 0 ||
        read(ends[0], &place, sizeof(place)) != sizeof(place)) {
      return kNotCommitted;
    }
  }
  for (const uintptr_t place : places) {
    if (place != places[0]) return kPrevented;
  }
  return kSurvived;
}

// ---- stated alignments

void EndAs(void* pointer, size_t alignment, size_t bytes, int way) {
  const std::align_val_t stated{alignment};
  switch (way) {
    case 0:
      return operator delete(pointer, stated);
    case 1:
      return operator delete(pointer, bytes, stated);
    case 2:
      return operator delete(pointer, stated, std::nothrow);
    default: {
      const LibraryUnderTest library = LibraryUnderTest::Find();
      library.free_aligned_sized == nullptr ? free(pointer)
                                            : library.free_aligned_sized(pointer, alignment, bytes);
    }
  }
}
void* Make(size_t alignment, size_t bytes, int way) {
  if (way == 3) return aligned_alloc(alignment, bytes);
  return operator new (bytes, std::align_val_t{alignment});
}

// A correct program.
int RightAlignments(size_t) {
  for (size_t alignment = 1; alignment <= 1 << 20; alignment *= 2) {
    for (const size_t bytes : {0, 1, 8, 24, 100, 1000, 5000, 40'000, 66'000, 300'000}) {
      for (int way = 0; way < 4; ++way) {
        for (int again = 0; again < 30; ++again) {
          void* pointer = Make(alignment, bytes, way);
          if (pointer == nullptr || reinterpret_cast<uintptr_t>(pointer) % alignment != 0) {
            return kControlFailed;
          }
          EndAs(pointer, alignment, bytes, way);
        }
      }
    }
  }
  return 0;
}

// NUMBER: which of these.
int WrongAlignment(size_t number) {
  constexpr struct {
    size_t alignment, stated, bytes;
  } kWrong[] = {{64, 256, 100},     {64, 16, 100},         {32, 4096, 40},     {4096, 64, 4096},
                {8192, 4096, 8192}, {1 << 17, 1 << 16, 9}, {64, 8192, 5000},   {128, 64, 300'000},
                {16, 64, 300'000},  {4096, 8192, 0},       {1 << 16, 16, 300}, {64, 128, 64},
                {64, 32, 4096},     {1024, 512, 1000},     {32, 64, 20'000},   {2048, 4096, 4080}};
  if (number >= 4 * sizeof(kWrong) / sizeof(kWrong[0])) return kBadArguments;
  const auto& wrong = kWrong[number / 4];
  const int way = static_cast<int>(number % 4);
  EndAs(Make(wrong.alignment, wrong.bytes, way), wrong.stated, wrong.bytes, way);
  return kSurvived;
}

// ---- a free that is overtaken between its look at the allocation and its claim

// The descriptor of reports, and its other end.
int report_pipe[2];

void* FreeMadeByNew(void* pointer) {
  free(pointer);
  return nullptr;
}

// Two threads free one block. The first stops in the middle: it reports that free() does not fit
// new, and nobody reads its report. Meanwhile the block is freed and handed out again.
int FreeOvertaken(size_t bytes) {
  constexpr int kMost = 60'000;
  if (pipe(report_pipe) != 0 || dup2(report_pipe[1], STDERR_FILENO) < 0) return kNotCommitted;
  static char filling[4096];
  for (pollfd room = {STDERR_FILENO, POLLOUT, 0}; poll(&room, 1, 0) == 1 && room.revents != 0;) {
    if (write(STDERR_FILENO, filling, sizeof(filling)) < 0) return kNotCommitted;
  }
  void* block = operator new(bytes);
  pthread_t first;
  if (pthread_create(&first, nullptr, &FreeMadeByNew, block) != 0) return kNotCommitted;
  usleep(300'000);
  // Where it did not stop, this is the double free.
  operator delete(block);
  static void* blocks[kMost];
  int made = 0;
  const bool is_run = bytes > kSliceBytes;
  while (made < kMost && (made == 0 || blocks[made - 1] != block)) {
    blocks[made++] = operator new(bytes);
    if (is_run || blocks[made - 1] == block) continue;
    // A slot comes back after others were freed.
    operator delete(blocks[--made]);
    blocks[made++] = operator new(bytes);
  }
  const bool again = made > 0 && blocks[made - 1] == block;
  pthread_t reader;
  pthread_create(
      &reader, nullptr,
      [](void*) -> void* {
        static char text[4096];
        for (ssize_t got; (got = read(report_pipe[0], text, sizeof(text))) > 0;) {
          for (ssize_t i = 0; i < got; ++i) {
            if (text[i] != 0 && write(STDOUT_FILENO, text + i, 1) < 0) return nullptr;
          }
        }
        return nullptr;
      },
      nullptr);
  pthread_join(first, nullptr);
  return again ? kSurvived : kNotCommitted;
}

// ---- the sweep

void* Bursts(void*) {
  constexpr size_t kMost = 1500;
  static thread_local char* blocks[kMost];
  for (int round = 0; round < 120; ++round) {
    const size_t bytes = size_t{1024} << round % 6;
    const size_t count = (size_t{24} << 20) / bytes < kMost ? (size_t{24} << 20) / bytes : kMost;
    for (size_t i = 0; i < count; ++i) {
      blocks[i] = static_cast<char*>(malloc(bytes - 16));
      blocks[i][0] = 1;
    }
    for (size_t i = 0; i < count; ++i) free(blocks[i]);
  }
  return nullptr;
}

volatile bool stop = false;

void* SmallOnes(void*) {
  while (!stop) {
    void* blocks[64];
    for (size_t i = 0; i < 64; ++i) blocks[i] = malloc(16 + 8 * i);
    for (void* block : blocks) free(block);
  }
  return nullptr;
}

// A correct program: one thread's slabs come and go while another one allocates, and sweeps.
int SlabsComeAndGo(size_t) {
  pthread_t bursts, small;
  if (pthread_create(&bursts, nullptr, &Bursts, nullptr) != 0 ||
      pthread_create(&small, nullptr, &SmallOnes, nullptr) != 0) {
    return kNotCommitted;
  }
  pthread_join(bursts, nullptr);
  stop = true;
  pthread_join(small, nullptr);
  return 0;
}

struct Scenario {
  const char* name;
  int (*run)(size_t number);
};

constexpr Scenario kScenarios[] = {
    {"CallocAfterAWriteToAFreedSlot", &CallocAfterAWriteToAFreedSlot},
    {"CallocAfterAWriteToUnusedSlots", &CallocAfterAWriteToUnusedSlots},
    {"CallocAfterAWriteToAFreedRun", &CallocAfterAWriteToAFreedRun},
    {"CallocAfterAWriteToARunThatWasHeld", &CallocAfterAWriteToARunThatWasHeld},
    {"CallocAfterAWriteToAPurgedRun", &CallocAfterAWriteToAPurgedRun},
    {"ZeroSizeAligned", &ZeroSizeAligned},
    {"RunComesBackAtOnce", &RunComesBackAtOnce},
    {"SiblingsGetTheSameRun", &SiblingsGetTheSameRun},
    {"RightAlignments", &RightAlignments},
    {"WrongAlignment", &WrongAlignment},
    {"FreeOvertaken", &FreeOvertaken},
    {"SlabsComeAndGo", &SlabsComeAndGo},
};

}  // namespace

int main(int argc, char** argv) {
  alarm(300);
  if (argc < 2) return kBadArguments;
  const LibraryUnderTest library = LibraryUnderTest::Find();
  if (library.level == nullptr || library.level() != LibraryUnderTest::ExpectedLevel()) {
    return kWrongLibrary;
  }
  for (const Scenario& scenario : kScenarios) {
    if (strcmp(scenario.name, argv[1]) != 0) continue;
    return scenario.run(argc > 2 ? strtoul(argv[2], nullptr, 10) : 0);
  }
  return kBadArguments;
}
