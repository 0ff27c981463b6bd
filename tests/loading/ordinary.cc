// ordinary: a correct program that allocates in every way, in threads and a forked child. It tells
// which level it has.
#include <dlfcn.h>
#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace {

struct alignas(64) Wide {
  char bytes[64];
};

void AllocateMuch(int seed) {
  for (int i = 0; i < 100; ++i) {
    std::unique_ptr<Wide> wide(new Wide);
    free(memalign(64, 10 * seed + i));
    delete[] new char[100 + i];
  }
}

}  // namespace

int main() {
  alarm(120);
  std::map<int, std::string> texts;
  for (int i = 0; i < 1000; ++i) texts[i] = std::string(i % 100, 'x');
  std::vector<int> numbers(100000);
  std::stable_sort(numbers.begin(), numbers.end());
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back(AllocateMuch, i);
  for (std::thread& thread : threads) thread.join();
  void* block = nullptr;
  if (posix_memalign(&block, 64, 100) != 0) return 1;
  block = realloc(block, 1000);
  block = reallocarray(block, 10, 1000);
  if (malloc_usable_size(block) < 10000) return 2;
  free(block);
  free(valloc(10));
  free(aligned_alloc(64, 64));
  free(calloc(3, 4));
  free(strdup("x"));
  const pid_t child = fork();
  if (child == 0) {
    std::vector<int> some(1000);
    _exit(some.size() != 1000);
  }
  int status = -1;
  waitpid(child, &status, 0);
  if (status != 0) return 3;
  malloc_trim(0);
  const auto level = reinterpret_cast<const char* (*)()>(dlsym(RTLD_DEFAULT, "hardened_level"));
  std::printf("ok %s\n", level != nullptr ? level() : "none");
  return 0;
}
