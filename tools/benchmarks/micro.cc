// micro: runs one allocation pattern and prints what it cost.
//
//   micro --list                    the names, one a line
//   micro PATTERN [MILLISECONDS]    run it for that much CPU time
//
// The allocator is whatever is preloaded. Output: one line of key=value
// pairs; `malloc` says which file really served the calls, and `level` what
// the library says of itself where it is one of ours.

#include <dlfcn.h>

#include <string_view>

#include "patterns.h"

namespace {

using bench::FreeOrder;
using bench::Stopwatch;

struct Pattern {
  const char* name;
  void (*run)(Stopwatch& watch);
};

// A pattern that prints its own figures: it runs once, whatever its budget.
struct Probe {
  const char* name;
  void (*run)();
};

template <size_t kSize>
void PairOf(Stopwatch& watch) {
  bench::Pair(watch, kSize);
}

template <int kThreads>
void ScaleTo(Stopwatch& watch) {
  bench::Scale(watch, kThreads);
}

constexpr size_t kMiB = 1 << 20;

constexpr Pattern kPatterns[] = {
    {"control", bench::Control},
    {"pair/16", PairOf<16>},
    {"pair/64", PairOf<64>},
    {"pair/256", PairOf<256>},
    {"pair/1024", PairOf<1024>},
    {"pair/4096", PairOf<4096>},
    {"pair/8192", PairOf<8192>},
    {"pair/16384", PairOf<16384>},
    {"pair/65536", PairOf<65536>},
    {"pair/262144", PairOf<262144>},
    {"pair/1048576", PairOf<1048576>},
    {"batch/lifo-64", [](Stopwatch& w) { bench::Batch(w, 1000, {64, 64}, FreeOrder::kLastFirst); }},
    {"batch/fifo-64",
     [](Stopwatch& w) { bench::Batch(w, 1000, {64, 64}, FreeOrder::kFirstFirst); }},
    {"batch/random-64", [](Stopwatch& w) { bench::Batch(w, 10000, {64, 64}, FreeOrder::kRandom); }},
    {"batch/random-mixed",
     [](Stopwatch& w) { bench::Batch(w, 10000, {16, 1024}, FreeOrder::kRandom); }},
    {"churn/1000", [](Stopwatch& w) { bench::Churn(w, 1000); }},
    {"churn/100000", [](Stopwatch& w) { bench::Churn(w, 100'000); }},
    {"mixed/1-4096", [](Stopwatch& w) { bench::Mixed(w, {1, 4096}); }},
    {"calloc/64", [](Stopwatch& w) { bench::Calloc(w, 64); }},
    {"calloc/4096", [](Stopwatch& w) { bench::Calloc(w, 4096); }},
    {"aligned/64@64", [](Stopwatch& w) { bench::Aligned(w, 64, 64); }},
    {"realloc/+64", bench::ReallocBySteps},
    {"realloc/x1.5", bench::ReallocByFactor},
    {"realloc/string", bench::StringGrowth},
    {"realloc/large", bench::LargeGrowth},
    {"growth/vector", bench::VectorGrowth},
    {"large/touched", bench::LargeTouched},
    {"large/replaced", bench::LargeReplaced},
    {"json/6MB", bench::Json},
    {"threads/producer-consumer", bench::ProducerConsumer},
    {"threads/handover", bench::Handover},
    {"threads/local-churn", bench::LocalChurn},
    {"threads/short-lived", bench::ThreadChurn},
    {"threads/slot-server", bench::SlotServer},
    {"threads/deep-queue", bench::DeepQueue},
    {"threads/ring", bench::Ring},
    {"threads/pipe", bench::Pipe},
    {"threads/transfers", bench::Transfers},
    {"threads/active-sharing", bench::ActiveFalseSharing},
    {"threads/passive-sharing", bench::PassiveFalseSharing},
    {"scale/1", ScaleTo<1>},
    {"scale/2", ScaleTo<2>},
    {"scale/4", ScaleTo<4>},
    {"scale/8", ScaleTo<8>},
    {"scale/16", ScaleTo<16>},
    {"scale/64", ScaleTo<64>},
};

constexpr Probe kProbes[] = {
    {"latency/mixed", bench::Latency},
    {"footprint/100000x16", [] { bench::Footprint(100'000, {16, 16}); }},
    {"footprint/100000x64", [] { bench::Footprint(100'000, {64, 64}); }},
    {"footprint/100000xmixed", [] { bench::Footprint(100'000, bench::kChurnSizes); }},
    {"footprint/1000000x16", [] { bench::Footprint(1'000'000, {16, 16}); }},
    {"footprint/1000000x64", [] { bench::Footprint(1'000'000, {64, 64}); }},
    {"footprint/1000000xmixed", [] { bench::Footprint(1'000'000, bench::kChurnSizes); }},
    {"fragmentation/166MB", [] { bench::Fragmentation(166'000'000); }},
    {"burst/256MiB", [] { bench::Burst(256 * kMiB); }},
    {"burst/2048MiB", [] { bench::Burst(2048 * kMiB); }},
    {"heap/cache", [] { bench::Heap(kMiB / 2, 400, 2); }},
    {"heap/10MB", [] { bench::Heap(10'000'000, 2, 5); }},
    {"heap/100MB", [] { bench::Heap(100'000'000, 2, 5); }},
};

// Returns: the file that defines the malloc in use.
const char* MallocFile() {
  Dl_info info;
  void* function = dlsym(RTLD_DEFAULT, "malloc");
  return dladdr(function, &info) != 0 ? info.dli_fname : "unknown";
}

// Returns: the level of the library in charge; null when it is not ours.
const char* Level() {
  void* function = dlsym(RTLD_DEFAULT, "hardened_level");
  return function == nullptr ? nullptr : reinterpret_cast<const char* (*)()>(function)();
}

// Returns: false when there is no such pattern.
bool Run(std::string_view name, int64_t budget_ns) {
  for (const Pattern& pattern : kPatterns) {
    if (name != pattern.name) continue;
    Stopwatch watch(budget_ns);
    pattern.run(watch);
    watch.Print();
    return true;
  }
  for (const Probe& probe : kProbes) {
    if (name != probe.name) continue;
    probe.run();
    return true;
  }
  return false;
}

void List() {
  for (const Pattern& pattern : kPatterns) puts(pattern.name);
  for (const Probe& probe : kProbes) puts(probe.name);
}

}  // namespace

int main(int argc, char** argv) {
  static char output_buffer[4096];  // else stdio takes one from the heap
  setvbuf(stdout, output_buffer, _IOFBF, sizeof(output_buffer));
  if (argc == 2 && std::string_view(argv[1]) == "--list") {
    List();
    return 0;
  }
  const long milliseconds = argc == 3 ? strtol(argv[2], nullptr, 10) : 40;
  if (argc < 2 || argc > 3 || milliseconds <= 0) {
    bench::Die("usage: micro --list | micro PATTERN [MILLISECONDS]");
  }
  printf("pattern=%s", argv[1]);
  if (!Run(argv[1], milliseconds * 1'000'000)) bench::Die("no such pattern");
  if (const char* level = Level(); level != nullptr) printf(" level=%s", level);
  printf(" malloc=%s\n", MallocFile());
  return 0;
}
