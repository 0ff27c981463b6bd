// Frees that come late, from a fork, or from many threads at once; and how soon memory is re-used.

#include <pthread.h>
#include <stdlib.h>

#include "tests/detection/crime.h"

namespace {

// TIMES: a freed slot belongs to somebody else within that many allocations.
void ReuseWithin() {
  void* block = MakeNeighbours("malloc", 0).victim;
  free(block);
  for (size_t i = 0; i < Number(0); ++i) {
    void* other = Malloc(size);
    if (other == block) return;
    free(other);
  }
  _exit(kPrevented);
}

// The second free ends the life of what somebody else has in the slot by now.
void DoubleFreeAfterReuse() {
  void* block = MakeNeighbours("malloc", 0).victim;
  free(block);
  ChurnUntil(block, size);
  free(block);
}

// Nobody owns the slot any more, and it left the quarantine long ago.
void DoubleFreeAfterQuarantine() {
  void* block = MakeNeighbours("malloc", 0).victim;
  free(block);
  const size_t other = size < 512 ? 2 * size : size / 2;
  Churn(other, TurnsToLeave(other));
  free(block);
}

// Freed by the parent, and again by its child.
void DoubleFreeInAForkedChild() {
  void* block = Malloc(size);
  Malloc(size);
  free(block);
  InAForkedChild([=] { free(block); });
}

// ---- many threads at once

constexpr size_t kMaxThreads = 64;
pthread_barrier_t barrier;
void* shared_block;

void* FreeShared(void*) {
  pthread_barrier_wait(&barrier);
  free(shared_block);
  return nullptr;
}

// THREADS:owner|remotes: so many threads free one block at the same moment; with "owner" the one
// that allocated it is among them. Then its owner works on.
void DoubleFreeRace() {
  const size_t threads = Number(0);
  const bool with_owner = WordIs(1, "owner");
  static pthread_t started[kMaxThreads];
  pthread_barrier_init(&barrier, nullptr, static_cast<unsigned>(threads));
  Malloc(size);
  shared_block = Malloc(size);
  const size_t others = with_owner ? threads - 1 : threads;
  for (size_t i = 0; i < others; ++i) {
    if (pthread_create(&started[i], nullptr, FreeShared, nullptr) != 0) {
      Exit(kBadArguments, "no thread");
    }
  }
  if (with_owner) FreeShared(nullptr);
  for (size_t i = 0; i < others; ++i) pthread_join(started[i], nullptr);
  for (int i = 0; i < 20'000; ++i) Malloc(size);
}

#define CRIME(name) {#name, name}
const Crime kCrimes[] = {
    CRIME(ReuseWithin),
    CRIME(DoubleFreeAfterReuse),
    CRIME(DoubleFreeAfterQuarantine),
    CRIME(DoubleFreeInAForkedChild),
    CRIME(DoubleFreeRace),
};
#undef CRIME

}  // namespace

const std::span<const Crime> kReuseCrimes = kCrimes;
