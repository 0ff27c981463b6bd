// counted: runs one allocation pattern for so many operations, for tools/bench --instructions.
//
//   counted PATTERN OPERATIONS
//
// Together with HARDENED_SEED it does the same on every machine whose kernel has guards as advice
// (Linux 6.13).

#include <string_view>

#include "patterns.h"
#include "threads.h"

// Weak, so that the linker leaves libstdc++ out, which allocates before main.
[[gnu::weak]] void* operator new(size_t bytes);
[[gnu::weak]] void operator delete(void* block, size_t bytes) noexcept;

namespace {

using bench::Array;
using bench::Random;
using bench::Take;

// An operation is a malloc and a free.
template <size_t kSize>
void Pairs(int64_t operations) {
  for (int64_t i = 0; i < operations; ++i) free(Take(kSize));
}

void Batches(int64_t operations) {
  Array<char*> blocks(1000);
  for (int64_t left = operations; left > 0; left -= 1000) {
    for (char*& block : blocks) block = Take(64);
    for (size_t i = blocks.size(); i-- > 0;) free(blocks[i]);
  }
}

void Churn(int64_t operations) {
  Random random(3);
  Array<char*> blocks(1000);
  const auto take = [&] {
    return Take(random.Between(bench::kChurnSizes.low, bench::kChurnSizes.high));
  };
  for (char*& block : blocks) block = take();
  for (int64_t i = 0; i < operations; ++i) {
    char*& block = blocks[random.Below(1000)];
    free(block);
    block = take();
  }
}

void Callocs(int64_t operations) {
  for (int64_t i = 0; i < operations; ++i) {
    void* block = calloc(1, 64);
    bench::Escape(block);
    free(block);
  }
}

// An operation is one step of 64 bytes; at 64 KiB a new block begins.
void ReallocSteps(int64_t operations) {
  char* block = nullptr;
  size_t size = 0;
  for (int64_t i = 0; i < operations; ++i) {
    if (size == 65536) {
      free(block);
      block = nullptr;
      size = 0;
    }
    size += 64;
    block = static_cast<char*>(realloc(block, size));
    if (block == nullptr) bench::Die("realloc returned null");
    bench::Escape(block);
  }
}

void NewAndSizedDelete(int64_t operations) {
  for (int64_t i = 0; i < operations; ++i) {
    void* block = ::operator new(64);
    bench::Escape(block);
    ::operator delete (block, size_t{64});
  }
}

// One thread allocates a batch, then the other frees it; never both at once.
void RemoteFrees(int64_t operations) {
  Array<char*> blocks(1000);
  sem_t turns[2];
  sem_init(&turns[0], 0, 1);
  sem_init(&turns[1], 0, 0);
  bench::InThreads(2, [&](int index) {
    for (int64_t left = operations; left > 0; left -= 1000) {
      bench::Wait(&turns[index]);
      for (char*& block : blocks) {
        if (index == 0) {
          block = Take(64);
        } else {
          free(block);
        }
      }
      sem_post(&turns[1 - index]);
    }
  });
}

constexpr struct {
  std::string_view name;
  void (*run)(int64_t operations);
} kPatterns[] = {
    {"pair/16", Pairs<16>},         {"pair/64", Pairs<64>},        {"pair/1024", Pairs<1024>},
    {"pair/262144", Pairs<262144>}, {"batch/lifo-64", Batches},    {"churn/1000", Churn},
    {"calloc/64", Callocs},         {"realloc/+64", ReallocSteps}, {"new/64", NewAndSizedDelete},
    {"remote/64", RemoteFrees},
};

}  // namespace

int main(int argc, char** argv) {
  const int64_t operations = argc == 3 ? strtoll(argv[2], nullptr, 10) : 0;
  if (operations <= 0) bench::Die("usage: counted PATTERN OPERATIONS");
  for (const auto& pattern : kPatterns) {
    if (pattern.name != argv[1]) continue;
    pattern.run(operations);
    return 0;
  }
  bench::Die("no such pattern");
}
