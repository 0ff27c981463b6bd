// measure.h: clocks, process memory, random numbers and arrays for the
// benchmark patterns.
//
// Nothing here calls malloc: what the driver itself allocates would show up in
// the figures of the allocator under test. Arrays come from mmap, populated,
// and /proc is read into a buffer on the stack.
//
// Threads: every object belongs to one thread.

#ifndef TOOLS_BENCHMARKS_MEASURE_H_
#define TOOLS_BENCHMARKS_MEASURE_H_

#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace bench {

[[noreturn]] inline void Die(const char* message) {
  fprintf(stderr, "micro: %s\n", message);
  _exit(1);
}

// Makes the compiler believe that `pointer` and what it points to are used
// elsewhere, so that it cannot remove a malloc/free pair or a store.
inline void Escape(void* pointer) { asm volatile("" : : "r"(pointer) : "memory"); }

inline int64_t Nanoseconds(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// Random: xorshift64*, the same sequence for every allocator.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15 + 1) {}

  // Returns: a number in [0, bound). Requires: bound < 2^32.
  uint32_t Below(uint32_t bound) {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    const uint64_t bits = (state_ * 0x2545F4914F6CDD1D) >> 32;
    return static_cast<uint32_t>((bits * bound) >> 32);
  }

  // Returns: a number in [low, high].
  uint32_t Between(uint32_t low, uint32_t high) { return low + Below(high - low + 1); }

 private:
  uint64_t state_;
};

// Array: `count` zero elements outside the heap; lives until the process ends.
template <typename T>
class Array {
 public:
  explicit Array(size_t count) : count_(count) {
    void* pages = mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (pages == MAP_FAILED) Die("mmap failed");
    data_ = static_cast<T*>(pages);
  }

  T& operator[](size_t index) { return data_[index]; }
  T* begin() { return data_; }
  T* end() { return data_ + count_; }
  size_t size() const { return count_; }

 private:
  T* data_;
  size_t count_;
};

// Calls `use(buffer, length)` for every piece of a file.
template <typename Use>
void ReadFile(const char* path, Use use) {
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) Die("cannot read /proc");
  char buffer[16384];
  for (ssize_t length; (length = read(file, buffer, sizeof(buffer))) > 0;) {
    use(buffer, static_cast<size_t>(length));
  }
  close(file);
}

// Returns: the number behind `key` ("Rss:") in a short /proc file.
inline int64_t ProcNumber(const char* path, const char* key) {
  char text[8192] = {};
  size_t used = 0;
  ReadFile(path, [&](const char* piece, size_t length) {
    const size_t room = sizeof(text) - 1 - used;
    if (length > room) length = room;
    memcpy(text + used, piece, length);
    used += length;
  });
  const char* found = strstr(text, key);
  return found == nullptr ? 0 : strtoll(found + strlen(key), nullptr, 10);
}

// Exact at this moment, unlike VmRSS, which lags by some pages per CPU.
inline int64_t RssKib() { return ProcNumber("/proc/self/smaps_rollup", "Rss:"); }

inline int64_t PeakRssKib() { return ProcNumber("/proc/self/status", "VmHWM:"); }

inline int64_t MapsLines() {
  int64_t lines = 0;
  ReadFile("/proc/self/maps", [&](const char* piece, size_t length) {
    for (size_t i = 0; i < length; ++i) lines += piece[i] == '\n';
  });
  return lines;
}

// Work: what one repetition of a pattern did. The runner compares it between
// allocators: a difference means that they did not run the same program.
struct Work {
  int64_t operations = 0;  // malloc+free pairs, or realloc steps, or threads
  int64_t bytes = 0;       // requested
};

// Stopwatch: repeats a pattern until its CPU time budget is used, and keeps
// the memory figures at the end of the last repetition.
class Stopwatch {
 public:
  explicit Stopwatch(int64_t budget_ns) : budget_ns_(budget_ns) {}

  // Runs `repetition` once untimed and then until the budget is used.
  // Requires: `repetition` returns its Work, the same in every process.
  template <typename Repetition>
  void Repeat(Repetition repetition) {
    repetition();
    while (cpu_ns_ < budget_ns_) {
      const int64_t wall_start = Nanoseconds(CLOCK_MONOTONIC);
      const int64_t cpu_start = Nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
      const Work work = repetition();
      cpu_ns_ += Nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - cpu_start;
      wall_ns_ += Nanoseconds(CLOCK_MONOTONIC) - wall_start;
      if (repetitions_++ == 0) first_ = work;
      operations_ += work.operations;
    }
    peak_rss_kib_ = PeakRssKib();
    maps_ = MapsLines();
  }

  void Print() const {
    const double operations = static_cast<double>(operations_);
    printf(" ops=%lld bytes=%lld repetitions=%lld cpu_ns=%.3f wall_ns=%.3f rss_kib=%lld maps=%lld",
           static_cast<long long>(first_.operations), static_cast<long long>(first_.bytes),
           static_cast<long long>(repetitions_), static_cast<double>(cpu_ns_) / operations,
           static_cast<double>(wall_ns_) / operations, static_cast<long long>(peak_rss_kib_),
           static_cast<long long>(maps_));
  }

 private:
  int64_t budget_ns_;
  int64_t cpu_ns_ = 0;
  int64_t wall_ns_ = 0;
  int64_t repetitions_ = 0;
  int64_t operations_ = 0;
  Work first_;
  int64_t peak_rss_kib_ = 0;
  int64_t maps_ = 0;
};

}  // namespace bench

#endif  // TOOLS_BENCHMARKS_MEASURE_H_
