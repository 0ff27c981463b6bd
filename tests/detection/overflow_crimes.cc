// Writes and reads beyond a block, and who notices.

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>

#include "tests/detection/crime.h"

namespace {

constexpr size_t kMaxSlot = 65536;

// A block with live neighbours that an overflow of `beyond` bytes stays within; runs stand alone.
unsigned char* MakeVictim(const char* maker, size_t beyond) {
  if (size > kMaxSlot - 2) return static_cast<unsigned char*>(Make(maker, size));
  return MakeNeighbours(maker, beyond).victim;
}

const char* MakerWord(size_t index) { return Word(index)[0] == '\0' ? "malloc" : Word(index); }

size_t Random() {
  size_t value;
  if (getrandom(&value, sizeof(value), 0) != sizeof(value)) _exit(kBadArguments);
  return value;
}

// CALL:BYTES[:MAKER]: changes BYTES bytes behind the block, then calls CALL with it.
void Overflow() {
  unsigned char* block = MakeVictim(MakerWord(2), Number(1));
  Flip(block + size, Number(1));
  End(Word(0), block, size);
}

// MAKER: one byte behind a block of this maker, which is then ended as it should be.
void OverflowByMaker() {
  unsigned char* block = MakeVictim(Word(0), 1);
  Flip(block + size, 1);
  End(MakerNamed(Word(0)).ender, block, size);
}

// CALL:BYTES: the owner allocated, another thread writes too far and calls CALL.
void OverflowByAnotherThread() {
  unsigned char* block = MakeVictim("malloc", Number(1));
  InAnotherThread([=] {
    Flip(block + size, Number(1));
    End(Word(0), block, size);
  });
}

// A string that is one character too long: its NUL lands behind the block.
void OverflowByNul() {
  unsigned char* block = MakeVictim("malloc", 1);
  char text[4097];
  memset(text, 'a', size);
  text[size] = '\0';
  strcpy(reinterpret_cast<char*>(block), text);
  free(block);
}

// ---- every size

// Shared with the child that commits the crime.
struct Progress {
  size_t next_size;
};

// Whether there is memory behind a block; where there is none the last slot of a slab is watched by
// the machine, whatever the level.
bool HasMemoryBehind(const unsigned char* end) {
  unsigned char byte;
  const iovec local = {&byte, 1};
  const iovec remote = {const_cast<unsigned char*>(end), 1};
  return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == 1;
}

// One overflow of each size from `first` on, until one is reported.
void OverflowSizesFrom(Progress& progress, size_t last) {
  const size_t bytes = Number(0);
  for (size_t n = progress.next_size; n <= last; ++n) {
    progress.next_size = n + 1;
    auto* block = static_cast<unsigned char*>(Malloc(n));
    while (!HasMemoryBehind(block + n)) block = static_cast<unsigned char*>(Malloc(n));
    unsigned char written[16];
    if (getrandom(written, bytes, 0) != static_cast<ssize_t>(bytes)) _exit(kBadArguments);
    if (WordIs(1, "nul")) memset(written, 0, bytes);
    // An odd number, as the first byte of every canary is.
    if (WordIs(1, "letter")) memset(written, 'A', bytes);
    memcpy(block + n, written, bytes);
    free(block);
  }
  _exit(kSurvived);
}

// True when the child with `status`, which wrote `report`, was stopped: by its canary, or, where
// the block was a guarded sample, by the guard.
bool IsStopped(int status, std::string_view report) {
  if (!WIFSIGNALED(status)) return false;
  const auto says = [report](std::string_view kind) {
    return report.substr(0, kind.size()) == kind;
  };
  return (WTERMSIG(status) == SIGABRT && says("hardened: heap corruption: canary clobbered\n")) ||
         (WTERMSIG(status) == SIGSEGV &&
          says("hardened: heap corruption: access outside an allocation\n"));
}

// BYTES:random|nul|letter: writes that many bytes, blindly, behind a block of every size of the
// 1,024 up to SIZE, each in a child of its own where the library stops it. Says how many were
// reported.
void OverflowEverySize() {
  auto* progress = static_cast<Progress*>(
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  const int report = memfd_create("report", 0);
  if (progress == MAP_FAILED || report < 0) Exit(kBadArguments, "no shared memory");
  // A log: what is opened otherwise and takes number 2 later is none that reports go to.
  if (fcntl(report, F_SETFL, O_APPEND) != 0) Exit(kBadArguments, "no appending");
  constexpr size_t kSizes = 1024;
  const size_t first = size - kSizes + 1;
  // So that the children need no new slabs.
  for (size_t n = first; n <= size; n += 16) free(Malloc(n));
  progress->next_size = first;
  size_t reported = 0;
  while (progress->next_size <= size) {
    if (ftruncate(report, 0) != 0 || lseek(report, 0, SEEK_SET) != 0) _exit(kBadArguments);
    const pid_t child = fork();
    if (child == 0) {
      dup2(report, STDERR_FILENO);
      OverflowSizesFrom(*progress, size);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child) Exit(kBadArguments, "no child");
    if (WIFEXITED(status) && WEXITSTATUS(status) == kSurvived) break;
    char text[80] = {};
    const ssize_t length = pread(report, text, sizeof(text), 0);
    if (length < 0 || !IsStopped(status, std::string_view(text, static_cast<size_t>(length)))) {
      Exit(kControlFailed, "a child ended otherwise than by the report");
    }
    ++reported;
  }
  Say(STDOUT_FILENO, "%zu of %zu\n", reported, kSizes);
  _exit(kMeasured);
}

// ---- noticed by others

// CALL:BYTES: overflow into a live neighbour, which is then freed; the victim never is.
void OverflowThenNeighbourFreed() {
  const Neighbours blocks = MakeNeighbours("malloc", Number(0));
  Flip(blocks.victim + size, Number(0));
  free(blocks.right);
}

// exit: the program ends. background: it goes on working for a while, then ends without exit().
void OverflowNeverFreed() {
  Flip(MakeVictim("malloc", 1) + size, 1);
  if (WordIs(0, "exit")) return;
  const time_t end = time(nullptr) + 2;
  while (time(nullptr) < end) Churn(64, 10'000);
  _exit(kSurvived);
}

// victim|left: changes the byte before the victim, then frees it, or the block whose byte it was.
void Underflow() {
  const Neighbours blocks = MakeNeighbours("malloc", 0);
  Flip(blocks.victim - 1, 1);
  free(WordIs(0, "victim") ? blocks.victim : blocks.left);
}

// The same, and the slot in front is free.
void UnderflowIntoFree() {
  const Neighbours blocks = MakeNeighbours("malloc", 0);
  free(blocks.left);
  Flip(blocks.victim - 1, 1);
  free(blocks.victim);
}

// BYTES:near|far: a write that skips the canary and lands in the slot behind, which is free: at its
// start, or anywhere. Then the victim is freed; after a far one, the program works on.
void JumpIntoFree() {
  const Neighbours blocks = MakeNeighbours("malloc", Number(0));
  free(blocks.right);
  size_t offset = 0;
  if (WordIs(1, "far")) offset = Random() % (size - std::min(Number(0), size - 1));
  Flip(blocks.right + offset, Number(0));
  free(blocks.victim);
  if (WordIs(1, "far")) Churn(size, TurnsToLeave(size));
}

// The same into a live block: both are then freed.
void JumpIntoLive() {
  const Neighbours blocks = MakeNeighbours("malloc", Number(0));
  Flip(blocks.right, Number(0));
  free(blocks.victim);
  free(blocks.right);
}

// Within one block, from one member into the next.
void OverflowWithinTheBlock() {
  auto* block = static_cast<unsigned char*>(Malloc(size));
  Flip(block, size);
  free(block);
}

// BYTES: reads behind a slot.
void ReadPastSlot() {
  const unsigned char* block = MakeNeighbours("malloc", Number(0)).victim;
  volatile unsigned char sum = 0;
  for (size_t i = 0; i < Number(0); ++i) sum = sum + block[size + i];
}

// Reads on from a slot until 64 KiB behind the end of its slab, which lies among others of its
// class.
void ReadPastSlab() {
  static unsigned char* blocks[40000];
  for (unsigned char*& block : blocks) block = static_cast<unsigned char*>(Malloc(size));
  std::sort(std::begin(blocks), std::end(blocks));
  const unsigned char* block = blocks[Random() % (std::size(blocks) * 3 / 4)];
  volatile unsigned char sum = 0;
  for (size_t i = 0; i < 65536; ++i) sum = sum + block[i];
}

// ---- runs

// read|write:OFFSET: one access at OFFSET from the exact end of the run (negative: from its start),
// then the run is freed.
void TouchRun() {
  auto* block = static_cast<volatile unsigned char*>(Malloc(size));
  const ptrdiff_t offset = strtoll(Word(1), nullptr, 10);
  volatile unsigned char* at = offset < 0 ? block + offset : block + size + offset;
  const unsigned char value = *at;
  if (WordIs(0, "write")) *at = static_cast<unsigned char>(value ^ 0xff);
  free(const_cast<unsigned char*>(block));
}

#define CRIME(name) {#name, name}
const Crime kCrimes[] = {
    CRIME(Overflow),           CRIME(OverflowByMaker),   CRIME(OverflowByAnotherThread),
    CRIME(OverflowByNul),      CRIME(OverflowEverySize), CRIME(OverflowThenNeighbourFreed),
    CRIME(OverflowNeverFreed), CRIME(Underflow),         CRIME(UnderflowIntoFree),
    CRIME(JumpIntoFree),       CRIME(JumpIntoLive),      CRIME(OverflowWithinTheBlock),
    CRIME(ReadPastSlot),       CRIME(ReadPastSlab),      CRIME(TouchRun),
};
#undef CRIME

}  // namespace

const std::span<const Crime> kOverflowCrimes = kCrimes;
