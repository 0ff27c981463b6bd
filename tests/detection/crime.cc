#include "tests/detection/crime.h"

#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <algorithm>
#include <new>

#include "tests/preload/library_under_test.h"

size_t size;

namespace {

char variant[128];
constexpr size_t kMaxWords = 6;
const char* words[kMaxWords] = {"", "", "", "", "", ""};

void Split(const char* text) {
  if (strlen(text) >= sizeof(variant)) Exit(kBadArguments, "the variant is too long");
  strcpy(variant, text);
  size_t count = 0;
  words[count++] = variant;
  for (char* at = variant; *at != '\0'; ++at) {
    if (*at != ':') continue;
    *at = '\0';
    if (count == kMaxWords) Exit(kBadArguments, "the variant has too many words");
    words[count++] = at + 1;
  }
}

// ---- makers and enders

constexpr auto kAlign = std::align_val_t{kAlignment};

void* PosixMemalign(size_t bytes) {
  void* block = nullptr;
  return posix_memalign(&block, kAlignment, bytes) == 0 ? block : nullptr;
}

const Maker kMakers[] = {
    {"malloc", malloc, "free"},
    {"calloc", [](size_t bytes) { return calloc(1, bytes); }, "free"},
    {"realloc", [](size_t bytes) { return realloc(nullptr, bytes); }, "free"},
    // In place where there is room, else to another slot.
    {"grown", [](size_t bytes) { return realloc(malloc(bytes - bytes / 4), bytes); }, "free"},
    {"shrunk", [](size_t bytes) { return realloc(malloc(bytes + bytes / 4), bytes); }, "free"},
    {"memalign", [](size_t bytes) { return memalign(kAlignment, bytes); }, "free"},
    {"aligned_alloc", [](size_t bytes) { return aligned_alloc(kAlignment, bytes); }, "free"},
    {"posix_memalign", PosixMemalign, "free"},
    {"valloc", valloc, "free"},
    {"new", [](size_t bytes) { return operator new(bytes); }, "delete"},
    {"new_array", [](size_t bytes) { return operator new[](bytes); }, "delete_array"},
    {"aligned_new", [](size_t bytes) { return operator new(bytes, kAlign); }, "aligned_delete"},
    {"aligned_new_array", [](size_t bytes) { return operator new[](bytes, kAlign); },
     "aligned_delete_array"},
};

void FreeSized(void* block, size_t bytes) { LibraryUnderTest::Find().free_sized(block, bytes); }
void FreeAlignedSized(void* block, size_t bytes) {
  LibraryUnderTest::Find().free_aligned_sized(block, kAlignment, bytes);
}
void FreeAlignedTwice(void* block, size_t bytes) {
  LibraryUnderTest::Find().free_aligned_sized(block, 2 * kAlignment, bytes);
}
void Realloc(void* block, size_t bytes) {
  void* volatile moved = realloc(block, bytes);
  (void)moved;
}
void Reallocarray(void* block, size_t bytes) {
  void* volatile moved = reallocarray(block, 2, bytes);
  (void)moved;
}
void UsableSize(void* block, size_t) {
  volatile size_t usable = malloc_usable_size(block);
  (void)usable;
}

const Ender kEnders[] = {
    {"free", [](void* block, size_t) { free(block); }},
    {"free_sized", FreeSized},
    {"free_aligned_sized", FreeAlignedSized},
    {"free_aligned_sized_twice_as_aligned", FreeAlignedTwice},
    {"delete", [](void* block, size_t) { operator delete(block); }},
    {"delete_sized", [](void* block, size_t bytes) { operator delete(block, bytes); }},
    {"delete_array", [](void* block, size_t) { operator delete[](block); }},
    {"delete_array_sized", [](void* block, size_t bytes) { operator delete[](block, bytes); }},
    {"aligned_delete", [](void* block, size_t) { operator delete(block, kAlign); }},
    {"aligned_delete_sized",
     [](void* block, size_t bytes) { operator delete(block, bytes, kAlign); }},
    {"aligned_delete_array", [](void* block, size_t) { operator delete[](block, kAlign); }},
    {"aligned_delete_array_sized",
     [](void* block, size_t bytes) { operator delete[](block, bytes, kAlign); }},
    {"aligned_delete_twice_as_aligned",
     [](void* block, size_t) { operator delete (block, std::align_val_t{2 * kAlignment}); }},
    {"aligned_delete_array_half_as_aligned",
     [](void* block, size_t) { operator delete[](block, std::align_val_t{kAlignment / 2}); }},
    {"realloc", Realloc},
    {"reallocarray", Reallocarray},
    {"malloc_usable_size", UsableSize},
};

}  // namespace

const char* Word(size_t index) { return words[index]; }
bool WordIs(size_t index, const char* text) { return strcmp(words[index], text) == 0; }
size_t Number(size_t index) { return strtoull(words[index], nullptr, 10); }

const Maker& MakerNamed(const char* name) {
  for (const Maker& maker : kMakers) {
    if (strcmp(maker.name, name) == 0) return maker;
  }
  Exit(kBadArguments, "unknown maker");
}

void End(const char* ender, void* block, size_t bytes) {
  for (const Ender& row : kEnders) {
    if (strcmp(row.name, ender) == 0) return row.end(block, bytes);
  }
  Exit(kBadArguments, "unknown ender");
}

void* Make(const char* maker, size_t bytes) {
  void* block = MakerNamed(maker).make(bytes);
  if (block == nullptr) Exit(kBadArguments, "allocation failed");
  return block;
}

void Flip(void* start, size_t bytes) {
  auto* at = static_cast<volatile unsigned char*>(start);
  for (size_t i = 0; i < bytes; ++i) at[i] = at[i] ^ 0xff;
}

constexpr unsigned char kSecret = 0x5a;

void FillWithSecrets(void* start, size_t bytes) { memset(start, kSecret, bytes); }

bool HoldsSecrets(const void* start, size_t bytes) {
  const auto* at = static_cast<const volatile unsigned char*>(start);
  for (size_t i = 0; i < bytes; ++i) {
    if (at[i] == kSecret) return true;
  }
  return false;
}

Neighbours MakeNeighbours(const char* maker, size_t beyond) {
  // Enough to fill a slab of any class, wherever its slots are drawn from.
  static unsigned char* blocks[16384];
  const size_t count = std::clamp<size_t>(4 * 65536 / size, 64, 16384);
  for (size_t i = 0; i < count; ++i) blocks[i] = static_cast<unsigned char*>(Make(maker, size));
  std::sort(blocks, blocks + count);
  size_t slot = SIZE_MAX;
  for (size_t i = 1; i < count; ++i) {
    slot = std::min(slot, static_cast<size_t>(blocks[i] - blocks[i - 1]));
  }
  const size_t wanted = 2 + beyond / slot + 1;
  size_t in_line = 1;
  for (size_t i = 1; i < count; ++i) {
    in_line = blocks[i] == blocks[i - 1] + slot ? in_line + 1 : 1;
    if (in_line <= wanted) continue;
    unsigned char* victim = blocks[i - wanted + 1];
    return {victim - slot, victim, victim + slot, slot};
  }
  Exit(kNotCommitted, "no neighbours");
}

void Churn(size_t bytes, size_t times) {
  for (size_t i = 0; i < times; ++i) free(Malloc(bytes));
}

void* ChurnUntil(void* block, size_t bytes) {
  for (size_t i = 0; i < 5'000'000; ++i) {
    void* other = Malloc(bytes);
    if (other == block) return other;
    free(other);
  }
  Exit(kNotCommitted, "the slot was not handed out again");
}

size_t TurnsToLeave(size_t bytes) {
  const char* level = getenv("HARDENED_EXPECTED_LEVEL");
  const size_t ring = level != nullptr && strcmp(level, "paranoid") == 0 ? 8 << 20 : 1 << 20;
  // The second stage: each turn takes one of its 1,024 places.
  return ring / std::max<size_t>(bytes, 64) + 20'000;
}

void ForkAndEndAsTheChild() {
  const pid_t child = fork();
  if (child == 0) return;
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) Exit(kBadArguments, "no child");
  if (WIFEXITED(status)) _exit(WEXITSTATUS(status));
  signal(WTERMSIG(status), SIG_DFL);
  raise(WTERMSIG(status));
  _exit(kBadArguments);
}

int main(int argc, char** argv) {
  if (argc != 4) Exit(kBadArguments, "usage: crimes CRIME VARIANT SIZE");
  Split(argv[2]);
  size = strtoull(argv[3], nullptr, 10);
  const LibraryUnderTest library = LibraryUnderTest::Find();
  if (library.level == nullptr || library.level() != LibraryUnderTest::ExpectedLevel()) {
    Exit(kWrongLibrary, "the preloaded library is not in charge");
  }
  for (const auto& crimes : {kOverflowCrimes, kCanaryCrimes, kUseAfterFreeCrimes, kReuseCrimes,
                             kCallCrimes, kSampleCrimes}) {
    for (const Crime& crime : crimes) {
      if (strcmp(crime.name, argv[1]) != 0) continue;
      crime.commit();
      return kSurvived;
    }
  }
  Exit(kBadArguments, "unknown crime");
}
