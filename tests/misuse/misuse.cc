// misuse: commits one small crime against the heap, chosen by its arguments.
//
//   misuse CRIME OPERATION SIZE
//
// CRIME says which pointer is passed, OPERATION to which function; SIZE is the
// size of the block it comes from. The pointer is printed on stdout just before
// the call. Exit codes: kSurvived when the call returned; kNotCommitted when
// the crime could not be staged (the slot was handed out again); kBadArguments.
// Crimes named "Control..." and "Oom..." are correct programs and exit 0.
//
// Built with -O0 -fno-builtin: every call below is made as written.
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <new>

#include "tests/misuse/exit_codes.h"
#include "tests/misuse/staging.h"
#include "tests/preload/library_under_test.h"

namespace {

// --- Operations: how a block is obtained, given back, and misused ---------------

struct Operation {
  const char* name;
  void* (*allocate)(size_t size);
  void (*release)(void* block, size_t size);  // the correct way
  void (*misuse)(void* pointer, size_t size);
};

void Free(void* pointer, size_t) { free(pointer); }
void FreeSized(void* pointer, size_t size) {
  static const auto free_sized = LibraryUnderTest::Find().free_sized;
  if (free_sized == nullptr) Exit(kBadArguments, "no free_sized in this process");
  free_sized(pointer, size);
}
void FreeAlignedSized(void* pointer, size_t size) {
  static const auto free_aligned_sized = LibraryUnderTest::Find().free_aligned_sized;
  if (free_aligned_sized == nullptr) Exit(kBadArguments, "no free_aligned_sized in this process");
  free_aligned_sized(pointer, 64, size);
}
void Delete(void* pointer, size_t) { operator delete(pointer); }
void DeleteSized(void* pointer, size_t size) { operator delete(pointer, size); }
void DeleteAligned(void* pointer, size_t) { operator delete(pointer, std::align_val_t{64}); }
void DeleteArray(void* pointer, size_t) { operator delete[](pointer); }
void Realloc(void* pointer, size_t size) {
  void* volatile moved = realloc(pointer, size);
  (void)moved;
}
void Reallocarray(void* pointer, size_t size) {
  void* volatile moved = reallocarray(pointer, 2, size);
  (void)moved;
}
void UsableSize(void* pointer, size_t) {
  volatile size_t size = malloc_usable_size(pointer);
  (void)size;
}
void* New(size_t size) { return operator new(size); }
void* NewArray(size_t size) { return operator new[](size); }
void* NewAligned(size_t size) { return operator new(size, std::align_val_t{64}); }
void* AlignedAlloc(size_t size) { return aligned_alloc(64, size); }

const Operation kOperations[] = {
    {"free", malloc, Free, Free},
    {"realloc", malloc, Free, Realloc},
    {"malloc_usable_size", malloc, Free, UsableSize},
    {"delete", New, Delete, Delete},
    {"delete_array", NewArray, DeleteArray, DeleteArray},
    {"free_sized", malloc, FreeSized, FreeSized},
    {"reallocarray", malloc, Free, Reallocarray},
    {"free_aligned_sized", AlignedAlloc, FreeAlignedSized, FreeAlignedSized},
    {"delete_sized", New, DeleteSized, DeleteSized},
    {"aligned_delete", NewAligned, DeleteAligned, DeleteAligned},
};

// What the arguments chose.
const Operation* operation;
size_t size;

void* Allocate() {
  void* block = operation->allocate(size);
  if (block == nullptr) Exit(kBadArguments, "allocation failed");
  return block;
}
// Not a guarded sample: those fault when they are written after their free.
void* AllocateUnguarded() {
  void* block = Allocate();
  while (IsBetweenGuards(block, size)) block = Allocate();
  return block;
}
void Release(void* block) { operation->release(block, size); }
void Misuse(void* pointer) {
  Say(STDOUT_FILENO, "%p\n", pointer);
  operation->misuse(pointer, size);
}
void* MapPages() {
  void* pages = mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) Exit(kBadArguments, "mmap failed");
  return pages;
}

// --- Freed pointers -----------------------------------------------------------------

void Freed() {
  void* block = Allocate();
  Release(block);
  Misuse(block);
}
void FreedWithLiveNeighbour() {
  Allocate();
  void* block = Allocate();
  Allocate();
  Release(block);
  Misuse(block);
}
void FreedThenOverwritten() {
  Allocate();
  void* block = AllocateUnguarded();
  Release(block);
  memset(block, 0x41, size);
  Misuse(block);
}
void FreedThenZeroed() {
  Allocate();
  void* block = AllocateUnguarded();
  Release(block);
  memset(block, 0, size);
  Misuse(block);
}
void FreedBeforeAnotherFree() {
  void* block = Allocate();
  void* other = Allocate();
  Release(block);
  Release(other);
  Misuse(block);
}
void FreedThenManyAllocations() {
  static void* later[10000];
  Allocate();
  void* block = Allocate();
  Release(block);
  for (size_t i = 0; i < 10000; ++i) {
    later[i] = malloc(2 * size + 32 + i % 500);
    const auto start = reinterpret_cast<uintptr_t>(later[i]);
    const auto wanted = reinterpret_cast<uintptr_t>(block);
    if (start <= wanted && wanted < start + malloc_usable_size(later[i])) {
      Exit(kNotCommitted, "the memory was handed out again");
    }
  }
  for (size_t i = 0; i < 10000; i += 2) free(later[i]);
  Misuse(block);
}
void FreedWithItsWholeSlab() {
  static void* blocks[20000];
  for (void*& block : blocks) block = Allocate();
  for (void* block : blocks) Release(block);
  Misuse(blocks[10000]);
}
void FreedByRealloc() {
  void* block = Allocate();
  void* moved = realloc(block, 0);
  if (moved != nullptr) Exit(kBadArguments, "realloc to 0 did not free");
  Misuse(block);
}
void FreedByMovingRealloc() {
  Allocate();
  void* block = Allocate();
  void* moved = realloc(block, 40 * size + 4096);
  if (moved == block) Exit(kNotCommitted, "the block grew in place");
  Misuse(block);
}

void OwnerThenRemote() {
  void* block = Allocate();
  Release(block);
  InAnotherThread([=] { Misuse(block); });
}
void RemoteThenOwner() {
  void* block = Allocate();
  InAnotherThread([=] { Release(block); });
  Misuse(block);
}
void RemoteThenOtherRemote() {
  void* block = Allocate();
  InAnotherThread([=] { Release(block); });
  InAnotherThread([=] { Misuse(block); });
}
void RemoteTwice() {
  void* block = Allocate();
  InAnotherThread([=] {
    Release(block);
    Misuse(block);
  });
}
void RemoteWhileOwnerAllocates() {
  void* block = Allocate();
  InAnotherThread([=] { Release(block); });
  for (int i = 0; i < 10; ++i) {
    if (malloc(2 * size + 32) == block) Exit(kNotCommitted, "the memory was handed out again");
  }
  Misuse(block);
}
// In the next three a neighbour stays live, so that the slab outlives its owner.
void FreedByAnOwnerThatEnded() {
  void* block = nullptr;
  InAnotherThread([&] {
    Allocate();
    block = Allocate();
    Release(block);
  });
  Misuse(block);
}
void FreedTwiceAfterItsOwnerEnded() {
  void* block = nullptr;
  InAnotherThread([&] {
    Allocate();
    block = Allocate();
  });
  Release(block);
  Misuse(block);
}
void FreedByRemotesAfterItsOwnerEnded() {
  void* block = nullptr;
  InAnotherThread([&] {
    Allocate();
    block = Allocate();
  });
  InAnotherThread([=] { Release(block); });
  InAnotherThread([=] { Misuse(block); });
}
void FreedWithItsSlabByAnOwnerThatEnded() {
  void* block = nullptr;
  InAnotherThread([&] {
    block = Allocate();
    Release(block);
  });
  Misuse(block);
}
void FreedWithItsSlabAfterItsOwnerEnded() {
  void* block = nullptr;
  InAnotherThread([&] { block = Allocate(); });
  InAnotherThread([=] { Release(block); });
  InAnotherThread([=] { Misuse(block); });
}

// --- Pointers into live blocks ---------------------------------------------------------

void InteriorBy16() { Misuse(At(Allocate(), 16)); }
void InteriorAtTheMiddle() { Misuse(At(Allocate(), size / 2 & ~size_t{15})); }
void InteriorNearTheEnd() { Misuse(At(Allocate(), (size - 16) & ~size_t{15})); }
void InteriorAtAPage() { Misuse(At(Allocate(), 4096)); }
void MisalignedBy1() { Misuse(At(Allocate(), 1)); }
void MisalignedBy8() { Misuse(At(Allocate(), 8)); }
void MisalignedNearTheEnd() { Misuse(At(Allocate(), size - 1)); }
void MisalignedInAFreedBlock() {
  void* block = Allocate();
  Release(block);
  Misuse(At(block, 8));
}

// --- Pointers that never were ours -------------------------------------------------------

alignas(4096) char global_bytes[8192];
alignas(16) thread_local char thread_bytes[64];
// A header as glibc puts before a block: previous size, then size and flags.
void FakeHeader(void* place) {
  auto* words = static_cast<uint64_t*>(place);
  words[0] = 0;
  words[1] = 0x41;
  words[9] = 0x1000;
}

void ForeignStack() {
  alignas(16) char bytes[256];
  memset(bytes, 0, sizeof bytes);
  Misuse(bytes + 64);
}
void ForeignGlobal() { Misuse(global_bytes + 64); }
void ForeignGlobalPage() { Misuse(global_bytes); }
void ForeignGlobalMisaligned() { Misuse(global_bytes + 1); }
void ForeignThreadLocal() { Misuse(thread_bytes); }
void ForeignMmap() { Misuse(MapPages()); }
void ForeignMmapInside() { Misuse(At(MapPages(), 65536)); }
void ForeignMunmapped() {
  void* pages = MapPages();
  munmap(pages, 1 << 20);
  Misuse(pages);
}
void ForeignFakeHeaderInGlobal() {
  FakeHeader(global_bytes);
  Misuse(global_bytes + 16);
}
void ForeignFakeHeaderInMmap() {
  void* pages = MapPages();
  FakeHeader(pages);
  Misuse(At(pages, 16));
}
void ForeignStringLiteral() { Misuse(const_cast<char*>("a string that nobody allocated")); }
void ForeignFunction() { Misuse(reinterpret_cast<void*>(&ForeignFunction)); }
void ForeignProgramBreak() { Misuse(At(sbrk(65536), 4096)); }
void ForeignEnvironment() { Misuse(environ); }
void Foreign0x1() { Misuse(reinterpret_cast<void*>(0x1)); }
void Foreign0x10() { Misuse(reinterpret_cast<void*>(0x10)); }
void Foreign0x1000() { Misuse(reinterpret_cast<void*>(0x1000)); }
void ForeignTopOfUserSpace() { Misuse(reinterpret_cast<void*>(0x00007ffffffff000)); }
void ForeignNonCanonical() { Misuse(reinterpret_cast<void*>(0x0080000000000010)); }
void ForeignKernel() { Misuse(reinterpret_cast<void*>(0xffffffff81000000)); }
void ForeignMinus16() { Misuse(reinterpret_cast<void*>(UINTPTR_MAX - 15)); }

// --- Guesses near a live block ---------------------------------------------------------------

void GuessOneChunkUp() { Misuse(At(Allocate(), 65536)); }
void GuessSevenChunksUp() { Misuse(At(Allocate(), 7 * 65536)); }
void GuessOneChunkDown() { Misuse(At(Allocate(), -65536)); }
void GuessThirtyMibUp() { Misuse(At(Allocate(), 30 << 20)); }

// --- Correct programs -------------------------------------------------------------------------

void Check(bool condition, const char* what) {
  if (!condition) Exit(kControlFailed, what);
}

void ControlUsesEverything() {
  static void* blocks[3000];
  for (int round = 0; round < 3; ++round) {
    for (size_t i = 0; i < 3000; ++i) {
      blocks[i] = i % 3 == 0 ? calloc(1, i + 1) : malloc(i * 7 + 1);
      Check(blocks[i] != nullptr, "allocation failed");
      memset(blocks[i], 0xee, malloc_usable_size(blocks[i]));
    }
    for (void*& block : blocks) block = realloc(block, malloc_usable_size(block) + round * 100);
    InAnotherThread([] {
      for (size_t i = 0; i < 3000; i += 2) free(blocks[i]);
    });
    for (size_t i = 1; i < 3000; i += 2) free(blocks[i]);
  }
  for (size_t each : {size_t{16}, size_t{1000}, size_t{20000}, size_t{4} << 20}) {
    for (const Operation& row : kOperations) row.release(row.allocate(each), each);
    free(aligned_alloc(65536, each));
    free(reallocarray(malloc(each), 2, each));
    operator delete(operator new(each, std::align_val_t{256}), std::align_val_t{256});
  }
  free(nullptr);
  operator delete(nullptr);
}

void OomOnAnImpossibleSize() {
  errno = 0;
  Check(malloc(PTRDIFF_MAX) == nullptr, "malloc(PTRDIFF_MAX) returned a block");
  Check(errno == ENOMEM, "errno is not ENOMEM");
  free(malloc(100));
}

struct Link {
  Link* next;
};
size_t Fill(Link*& all) {
  size_t count = 0;
  for (;; ++count) {
    errno = 0;
    auto* link = static_cast<Link*>(malloc(size));
    if (link == nullptr) return count;
    memset(link, 0x11, size);
    link->next = all;
    all = link;
  }
}
void Drain(Link*& all) {
  while (all != nullptr) {
    Link* next = all->next;
    free(all);
    all = next;
  }
}

// The caller has set RLIMIT_AS to 256 MiB.
void OomUnderALimit() {
  Link* all = nullptr;
  const size_t first = Fill(all);
  Check(errno == ENOMEM, "errno is not ENOMEM after malloc gave null");
  Check(first * size >= size_t{32} << 20, "less than 32 MiB before malloc gave null");
  Drain(all);
  const size_t second = Fill(all);
  Check(errno == ENOMEM, "errno is not ENOMEM the second time");
  Check(second >= first / 2, "less than half as much the second time");
  Drain(all);
  for (int i = 0; i < 1000; ++i) {
    void* block = malloc(size);
    Check(block != nullptr, "malloc failed after everything was freed");
    memset(block, 0x22, size);
    free(block);
  }
}

void OomThrowsBadAlloc() {
  Link* all = nullptr;
  bool thrown = false;
  while (!thrown) {
    try {
      auto* link = static_cast<Link*>(operator new(size));
      link->next = all;
      all = link;
    } catch (const std::bad_alloc&) {
      thrown = true;
    }
  }
  while (all != nullptr) {
    Link* next = all->next;
    operator delete(all);
    all = next;
  }
  operator delete(operator new(size));
}

// Keeps the first block; realloc that cannot grow must leave it alone.
void OomInReallocKeepsTheBlock() {
  char* block = static_cast<char*>(malloc(size));
  memset(block, 0x33, size);
  errno = 0;
  Check(realloc(block, size_t{1} << 30) == nullptr, "realloc to 1 GiB gave a block");
  Check(errno == ENOMEM, "errno is not ENOMEM");
  for (size_t i = 0; i < size; ++i) Check(block[i] == 0x33, "the block changed");
  free(block);
}

struct Crime {
  const char* name;
  void (*commit)();
};
#define CRIME(name) {#name, name}
const Crime kCrimes[] = {
    CRIME(Freed),
    CRIME(FreedWithLiveNeighbour),
    CRIME(FreedThenOverwritten),
    CRIME(FreedThenZeroed),
    CRIME(FreedBeforeAnotherFree),
    CRIME(FreedThenManyAllocations),
    CRIME(FreedWithItsWholeSlab),
    CRIME(FreedByRealloc),
    CRIME(FreedByMovingRealloc),
    CRIME(OwnerThenRemote),
    CRIME(RemoteThenOwner),
    CRIME(RemoteThenOtherRemote),
    CRIME(RemoteTwice),
    CRIME(RemoteWhileOwnerAllocates),
    CRIME(FreedByAnOwnerThatEnded),
    CRIME(FreedTwiceAfterItsOwnerEnded),
    CRIME(FreedByRemotesAfterItsOwnerEnded),
    CRIME(FreedWithItsSlabByAnOwnerThatEnded),
    CRIME(FreedWithItsSlabAfterItsOwnerEnded),
    CRIME(InteriorBy16),
    CRIME(InteriorAtTheMiddle),
    CRIME(InteriorNearTheEnd),
    CRIME(InteriorAtAPage),
    CRIME(MisalignedBy1),
    CRIME(MisalignedBy8),
    CRIME(MisalignedNearTheEnd),
    CRIME(MisalignedInAFreedBlock),
    CRIME(ForeignStack),
    CRIME(ForeignGlobal),
    CRIME(ForeignGlobalPage),
    CRIME(ForeignGlobalMisaligned),
    CRIME(ForeignThreadLocal),
    CRIME(ForeignMmap),
    CRIME(ForeignMmapInside),
    CRIME(ForeignMunmapped),
    CRIME(ForeignFakeHeaderInGlobal),
    CRIME(ForeignFakeHeaderInMmap),
    CRIME(ForeignStringLiteral),
    CRIME(ForeignFunction),
    CRIME(ForeignProgramBreak),
    CRIME(ForeignEnvironment),
    CRIME(Foreign0x1),
    CRIME(Foreign0x10),
    CRIME(Foreign0x1000),
    CRIME(ForeignTopOfUserSpace),
    CRIME(ForeignNonCanonical),
    CRIME(ForeignKernel),
    CRIME(ForeignMinus16),
    CRIME(GuessOneChunkUp),
    CRIME(GuessSevenChunksUp),
    CRIME(GuessOneChunkDown),
    CRIME(GuessThirtyMibUp),
    CRIME(ControlUsesEverything),
    CRIME(OomOnAnImpossibleSize),
    CRIME(OomUnderALimit),
    CRIME(OomThrowsBadAlloc),
    CRIME(OomInReallocKeepsTheBlock),
};
#undef CRIME

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) Exit(kBadArguments, "usage: misuse CRIME OPERATION SIZE");
  for (const Operation& row : kOperations) {
    if (strcmp(row.name, argv[2]) == 0) operation = &row;
  }
  size = strtoull(argv[3], nullptr, 10);
  if (operation == nullptr || size == 0) Exit(kBadArguments, "unknown operation or size 0");
  const char* level = getenv("HARDENED_EXPECTED_LEVEL");
  const LibraryUnderTest library = LibraryUnderTest::Find();
  if (level != nullptr && (library.level == nullptr || strcmp(library.level(), level) != 0)) {
    Exit(kWrongLibrary, "the preloaded library is not in charge");
  }
  for (const Crime& crime : kCrimes) {
    if (strcmp(crime.name, argv[1]) != 0) continue;
    crime.commit();
    const bool correct = strncmp(argv[1], "Control", 7) == 0 || strncmp(argv[1], "Oom", 3) == 0;
    return correct ? 0 : kSurvived;
  }
  Exit(kBadArguments, "unknown crime");
}
