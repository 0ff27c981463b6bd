// shadow_stress: the stress as a plain program, for long runs and preloading.
//
//   shadow_stress [SEED [THREADS [LIVES [OPERATIONS [LARGEST_SIZE]]]]]
#include <cstdio>
#include <cstdlib>

#include "tests/stress/shadow_stress.h"

int main(int argc, char** argv) {
  StressOptions options;
  auto number = [&](int index, uint64_t otherwise) {
    return argc > index ? std::strtoull(argv[index], nullptr, 0) : otherwise;
  };
  options.seed = number(1, options.seed);
  options.threads = static_cast<unsigned>(number(2, options.threads));
  options.lives = static_cast<unsigned>(number(3, options.lives));
  options.operations = number(4, options.operations);
  options.largest = number(5, options.largest);
  if (options.threads == 0 || options.lives == 0 || options.largest == 0) {
    std::fprintf(stderr, "threads, lives and largest size must be at least 1\n");
    return 2;
  }
  const AllocationTable table = SystemAllocationTable();
  const std::string failure = RunShadowStress(table, options);
  std::printf("seed %llu, %u threads x %u lives x %llu operations, counters %s: %s\n",
              static_cast<unsigned long long>(options.seed), options.threads, options.lives,
              static_cast<unsigned long long>(options.operations),
              table.get_counters != nullptr ? "checked" : "absent",
              failure.empty() ? "good" : failure.c_str());
  return failure.empty() ? 0 : 1;
}
