#include "tools/entropy_probe/patterns.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>

namespace {

// Requests that leave a canary its room in every size class up to 256 bytes of our allocator, one
// that does not, and some larger ones; the last is a run.
constexpr size_t kRequests[] = {8,   24,  40,  56,  72,  88,  104, 120,  136,  152,   168,
                                184, 200, 216, 232, 248, 256, 504, 1016, 4088, 16376, 262144};
constexpr int kRequestCount = sizeof(kRequests) / sizeof(kRequests[0]);
// How often churn asks for each, of their sum.
constexpr int kShares[kRequestCount] = {16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16,
                                        16, 16, 16, 16, 16, 16, 8,  8,  4,  1,  1};

[[noreturn]] void Fail(const char* what) {
  dprintf(STDERR_FILENO, "entropy_probe: %s\n", what);
  _exit(4);
}

// The program's own choices: the same in every process (splitmix64; S. Vigna).
class Choices {
 public:
  uint32_t Below(uint32_t bound) {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return static_cast<uint32_t>(((z ^ z >> 31) >> 32) * bound >> 32);
  }

 private:
  uint64_t state_ = 1;
};

uintptr_t Allocate(size_t bytes) {
  void* pointer = malloc(bytes);
  if (pointer == nullptr) Fail("malloc failed");
  return reinterpret_cast<uintptr_t>(pointer);
}
void Free(uintptr_t address) { free(reinterpret_cast<void*>(address)); }

// ---- fresh: the first objects of each size, and where the heap lies

// Reads /proc/self/maps without allocating. Finds the start of the row of anonymous mappings around
// `address`, and of the longest other such row: metadata that lies apart. Small gaps belong to a
// row: what is not in use may not be mapped.
void FindBases(uintptr_t address, uintptr_t* own, uintptr_t* other) {
  static char text[1 << 16];
  const int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  size_t length = 0;
  for (ssize_t got; fd >= 0 && (got = read(fd, text + length, sizeof(text) - 1 - length)) > 0;) {
    length += static_cast<size_t>(got);
  }
  close(fd);
  text[length] = 0;
  *own = *other = 0;
  constexpr uintptr_t kSmallGap = 256 << 20;
  uintptr_t start = 0, end = 0, longest = 0;
  const auto settle = [&] {
    if (address >= start && address < end) {
      *own = start;
    } else if (end - start > longest) {
      longest = end - start;
      *other = start;
    }
  };
  for (char* line = text; *line != 0;) {
    char* const newline = strchr(line, '\n');
    if (newline == nullptr) break;
    *newline = 0;
    unsigned long low = 0, high = 0, inode = 0;
    int name = 0;
    sscanf(line, "%lx-%lx %*s %*s %*s %lu %n", &low, &high, &inode, &name);
    // Also "[heap]", where libc's allocator lives.
    const bool ours = inode == 0 && (line[name] == 0 || strcmp(line + name, "[heap]") == 0);
    if (ours && end != 0 && low - end < kSmallGap) {
      end = high;
    } else {
      settle();
      start = end = 0;
      if (ours) start = low, end = high;
    }
    line = newline + 1;
  }
  settle();
}

void Fresh(Samples& samples) {
  uintptr_t first = 0;
  for (const size_t bytes : kRequests) {
    static uintptr_t objects[100];
    for (uintptr_t& object : objects) object = Allocate(bytes);
    if (first == 0) first = objects[0];
    samples.Add("p1-p0", bytes, static_cast<int64_t>(objects[1] - objects[0]));
    samples.Add("p99-p98", bytes, static_cast<int64_t>(objects[99] - objects[98]));
  }
  uintptr_t own, other;
  FindBases(first, &own, &other);
  samples.Add("base", 0, static_cast<int64_t>(own));
  samples.Add("second-base", 0, static_cast<int64_t>(other));
  samples.Add("offset", 0, static_cast<int64_t>(first - own));
}

// ---- runs: large allocations, of sizes that fill their pages and slices and of others

constexpr size_t kRunRequests[] = {66'000,    70'000,    90'112,    122'880,   131'072,
                                   188'416,   200'000,   300'000,   524'288,   1'000'000,
                                   1'048'576, 1'900'000, 3'000'000, 8'388'608, 50'000'000};

void Runs(Samples& samples) {
  for (const size_t bytes : kRunRequests) {
    static uintptr_t objects[100];
    for (uintptr_t& object : objects) object = Allocate(bytes);
    samples.Add("run-p1-p0", bytes, static_cast<int64_t>(objects[1] - objects[0]));
    samples.Add("run-p99-p98", bytes, static_cast<int64_t>(objects[99] - objects[98]));
  }
}

// ---- aged: a heap that lives long

constexpr int kLive = 20'000;
constexpr int kAgedSamples = 8;  // of each size and age
// Churn between two samples of one process: what was in a magazine is not there any more.
constexpr int kApart = 2'000;

class Churn {
 public:
  Churn() {
    for (int i = 0; i < kRequestCount; ++i) sum_ += kShares[i];
  }
  // Until `objects` have been allocated in all.
  void RunTo(int64_t objects) {
    for (; allocated_ < objects; ++allocated_) {
      uintptr_t& place = live_[choices_.Below(kLive)];
      if (place != 0) Free(place);
      int which = 0;
      for (int at = static_cast<int>(choices_.Below(sum_)); at >= kShares[which]; ++which) {
        at -= kShares[which];
      }
      place = Allocate(kRequests[which]);
    }
  }
  int64_t allocated() const { return allocated_; }

 private:
  Choices choices_;
  uint32_t sum_ = 0;
  int64_t allocated_ = 0;
  uintptr_t live_[kLive] = {};
};

void Aged(Samples& samples) {
  static Churn churn;
  static const struct {
    const char* name;
    int64_t objects;
  } kAges[] = {{"at-1e5", 100'000}, {"at-1e6", 1'000'000}};
  for (const auto& age : kAges) {
    churn.RunTo(age.objects);
    for (int i = 0; i < kAgedSamples; ++i) {
      if (i > 0) churn.RunTo(churn.allocated() + kApart);
      for (const size_t bytes : kRequests) {
        const uintptr_t one = Allocate(bytes);
        const uintptr_t two = Allocate(bytes);
        samples.Add(age.name, bytes, static_cast<int64_t>(two - one));
        Free(one);
        Free(two);
      }
    }
  }
}

// ---- pairs: two allocations of one size, at first and in a heap that was used

constexpr size_t kPairBytes = 64;

void AddPair(Samples& samples, const char* name) {
  const uintptr_t one = Allocate(kPairBytes);
  const uintptr_t two = Allocate(kPairBytes);
  samples.Add(name, kPairBytes, static_cast<int64_t>(two - one));
}

void Pairs(Samples& samples) {
  AddPair(samples, "p1-p0");
  for (int i = 2; i < 98; ++i) Allocate(kPairBytes);
  AddPair(samples, "p99-p98");
}

void AgedPairs(Samples& samples) {
  static Churn churn;
  churn.RunTo(100'000);
  for (int i = 0; i < kAgedSamples; ++i) {
    churn.RunTo(churn.allocated() + kApart);
    AddPair(samples, "at-1e5");
  }
}

// ---- reuse: when a freed slot returns

// From the address of a slot to a number; open addressing, nothing is ever taken out.
class AddressTable {
 public:
  // Returns: the number kept for `address`, kNone at first.
  int32_t& operator[](uintptr_t address) {
    size_t at = (address >> 4) * 0x9e3779b97f4a7c15u >> (64 - kBits);
    for (; keys_[at] != address; at = (at + 1) % kPlaces) {
      if (keys_[at] != 0) continue;
      if (++used_ > kPlaces / 2) Fail("too many addresses");
      keys_[at] = address;
      values_[at] = kNone;
      break;
    }
    return values_[at];
  }
  static constexpr int32_t kNone = -1;

 private:
  static constexpr unsigned kBits = 18;
  static constexpr size_t kPlaces = size_t{1} << kBits;
  uintptr_t keys_[kPlaces];
  int32_t values_[kPlaces];
  size_t used_;
};

constexpr size_t kReuseBytes = 56;
constexpr int kFreed = 1'000;
constexpr int kReuseLive = 2'000;
constexpr int kNever = 100'000;  // allocations after which we stop waiting

// In a heap that replaces its objects at random, frees 1,000 and goes on until they return.
void Reuse(Samples& samples) {
  static uintptr_t live[kReuseLive], freed[kFreed];
  static AddressTable order, freed_at;
  static int32_t distances[4 * kNever];
  Choices choices;
  int32_t frees = 0;
  int reused = 0;
  const auto free_object = [&](uintptr_t object) {
    freed_at[object] = frees++;
    Free(object);
  };
  const auto allocate_object = [&] {
    const uintptr_t object = Allocate(kReuseBytes);
    int32_t& at = freed_at[object];
    // Frees between the one of this slot and its return.
    if (at != AddressTable::kNone) distances[reused++] = frees - at - 1;
    at = AddressTable::kNone;
    return object;
  };
  const auto replace_one = [&] {
    uintptr_t& place = live[choices.Below(kReuseLive)];
    free_object(place);
    place = allocate_object();
  };
  for (uintptr_t& object : live) object = allocate_object();
  for (uintptr_t& object : freed) object = allocate_object();
  for (int i = 0; i < 40'000; ++i) replace_one();
  for (uint32_t i = kFreed; i > 1; --i) std::swap(freed[i - 1], freed[choices.Below(i)]);
  for (int i = 0; i < kFreed; ++i) {
    order[freed[i]] = i;
    free_object(freed[i]);
  }
  constexpr int kTarget = kFreed / 2;
  int returned = 0, first = -1, first_after = -1, hundredth = -1, target_after = -1;
  for (int after = 0; after < kNever && (returned < 100 || target_after < 0); ++after) {
    const uintptr_t object = allocate_object();
    int32_t& index = order[object];
    if (index != AddressTable::kNone) {
      ++returned;
      if (returned == 1) first = index, first_after = after;
      if (returned == 100) hundredth = index;
      if (index == kTarget) target_after = after;
      index = AddressTable::kNone;
    }
    uintptr_t& place = live[choices.Below(kReuseLive)];
    free_object(place);
    place = object;
  }
  samples.Add("first-returned", kReuseBytes, first);
  samples.Add("first-returned-after", kReuseBytes, first_after);
  samples.Add("100th-returned", kReuseBytes, hundredth);
  samples.Add("one-returns-after", kReuseBytes, target_after);
  if (reused == 0) Fail("nothing was used again");
  std::sort(distances, distances + reused);
  samples.Add("reuse-minimum", kReuseBytes, distances[0]);
  samples.Add("reuse-median", kReuseBytes, distances[reused / 2]);

  // Pairs of malloc and free with nothing in between, the least work that an attacker can do.
  reused = 0;
  for (int i = 0; i < kNever; ++i) free_object(allocate_object());
  samples.Add("pair-reuse-minimum", kReuseBytes, *std::min_element(distances, distances + reused));
}

// ---- addresses: the same program twice

void Addresses(Samples& samples) {
  Choices choices;
  static uintptr_t live[64];
  uintptr_t first = 0;
  for (int i = 0; i < 480; ++i) {
    uintptr_t& place = live[choices.Below(64)];
    if (place != 0) Free(place);
    const size_t bytes = kRequests[choices.Below(kRequestCount)];
    place = Allocate(bytes);
    if (i == 0) {
      first = place;
      uintptr_t own, other;
      FindBases(first, &own, &other);
      samples.Add("base", 0, static_cast<int64_t>(own));
      samples.Add("offset", bytes, static_cast<int64_t>(place - own));
      continue;
    }
    samples.Add("distance", bytes, static_cast<int64_t>(place - first));
  }
}

// ---- forks

constexpr int kNextAddresses = 32;
constexpr int kForks = 20;

void Fork(Samples& samples) {
  uintptr_t* const of_child = static_cast<uintptr_t*>(
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  if (of_child == MAP_FAILED) Fail("mmap failed");
  for (int round = 0; round < kForks; ++round) {
    // Forks at any fill of a magazine.
    for (int i = 0; i < 13; ++i) Allocate(kReuseBytes);
    const pid_t child = fork();
    if (child < 0) Fail("fork failed");
    if (child == 0) {
      for (int i = 0; i < kNextAddresses; ++i) of_child[i] = Allocate(kReuseBytes);
      _exit(0);
    }
    int status = 0;
    if (waitpid(child, &status, 0) != child || status != 0) Fail("the child failed");
    int equal = 0;
    for (int i = 0; i < kNextAddresses; ++i) equal += Allocate(kReuseBytes) == of_child[i];
    samples.Add("equal-after-fork", kReuseBytes, equal);
  }
}

std::atomic<bool> stop_threads{false};

void* AllocateUntilStopped(void*) {
  Choices choices;
  uintptr_t live[100] = {};
  for (int i = 0; !stop_threads.load(std::memory_order_relaxed); ++i) {
    // Or 16 threads copy, after every fork, all pages of all quarantines.
    if (i % 64 == 0) usleep(5000);
    uintptr_t& place = live[choices.Below(100)];
    if (place != 0) Free(place);
    // Every kind of lock: slots, refills, and now and then a run.
    place = Allocate(choices.Below(50) == 0 ? 100'000 : 16 + choices.Below(2'000));
  }
  for (const uintptr_t object : live) {
    if (object != 0) Free(object);
  }
  return nullptr;
}

}  // namespace

void ForkStorm(int forks) {
  pthread_t threads[16];
  for (pthread_t& thread : threads) {
    if (pthread_create(&thread, nullptr, &AllocateUntilStopped, nullptr) != 0) Fail("no thread");
  }
  for (int i = 0; i < forks; ++i) {
    const pid_t child = fork();
    if (child < 0) Fail("fork failed");
    if (child == 0) {
      alarm(100);
      uintptr_t objects[50];
      for (uintptr_t& object : objects) object = Allocate(56);
      Free(Allocate(100'000));
      for (const uintptr_t object : objects) Free(object);
      _exit(0);
    }
    int status = 0;
    if (waitpid(child, &status, 0) != child) Fail("waitpid failed");
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) Fail("a forked child hung");
    if (status != 0) Fail("a forked child failed");
  }
  stop_threads.store(true, std::memory_order_relaxed);
  for (const pthread_t thread : threads) pthread_join(thread, nullptr);
}

const Pattern patterns[kPatterns] = {
    {"fresh", "distances of the first objects of each size, and bases", &Fresh},
    {"runs", "distances of the first large allocations of each size", &Runs},
    {"aged", "distances at the 10^5th and 10^6th object of a heap that lives long", &Aged},
    {"pairs", "distances of the first allocations, all of 64 bytes", &Pairs},
    {"aged-pairs", "the same in a heap that was used", &AgedPairs},
    {"reuse", "which of 1,000 freed slots returns, and when", &Reuse},
    {"addresses", "480 addresses, to compare whole processes", &Addresses},
    {"fork", "equal addresses among the next 32 of parent and child", &Fork},
    {"none", "nothing; the cost of a process", [](Samples&) {}},
};
