// ShadowStress: random allocation from many threads against a shadow model.
//
// Every block is filled from a seed of its own and verified before each free
// and after each realloc, so a block that overlaps another live one, moves
// without its contents or is handed out twice cannot pass. With one thread an
// interval map checks in addition that live blocks are disjoint. Threads pass
// live blocks to each other through mailboxes and end with live blocks, which
// others free. At the end everything is freed and the counters must be back.
//
// The allocator comes through a table, so that one which does not replace
// malloc (under a sanitizer that does) can be driven as well.
#ifndef TESTS_STRESS_SHADOW_STRESS_H_
#define TESTS_STRESS_SHADOW_STRESS_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "hardened/hardened.h"

// The entry points under test. The second group may be null: not exercised.
struct AllocationTable {
  void* (*malloc)(size_t size);
  void* (*calloc)(size_t count, size_t size);
  void* (*realloc)(void* block, size_t size);
  void* (*aligned_alloc)(size_t alignment, size_t size);
  void (*free)(void* block);
  size_t (*malloc_usable_size)(void* block);

  void* (*reallocarray)(void* block, size_t count, size_t size) = nullptr;
  void* (*memalign)(size_t alignment, size_t size) = nullptr;
  int (*posix_memalign)(void** block, size_t alignment, size_t size) = nullptr;
  void* (*valloc)(size_t size) = nullptr;
  void* (*pvalloc)(size_t size) = nullptr;
  void (*free_sized)(void* block, size_t size) = nullptr;
  void (*free_aligned_sized)(void* block, size_t alignment, size_t size) = nullptr;
  void* (*operator_new)(size_t size) = nullptr;
  void* (*operator_new_aligned)(size_t size, size_t alignment) = nullptr;
  void (*operator_delete)(void* block) = nullptr;
  void (*operator_delete_sized)(void* block, size_t size) = nullptr;
  void (*operator_delete_aligned)(void* block, size_t size, size_t alignment) = nullptr;
  int (*get_counters)(hardened_counters* out) = nullptr;
};

// Returns: the malloc, operator new and counters this process is linked with.
AllocationTable SystemAllocationTable();

struct StressOptions {
  uint64_t seed = 1;
  unsigned threads = 8;                 // 1 turns the interval map on
  unsigned lives = 4;                   // threads one after another in each of `threads` places
  uint64_t operations = 10000;          // of each thread
  size_t live_limit = size_t{400} << 20;  // bytes, all threads
  size_t largest = size_t{8} << 20;
};

// Returns: the first thing that went wrong, or an empty string.
std::string RunShadowStress(const AllocationTable& table, const StressOptions& options);

#endif  // TESTS_STRESS_SHADOW_STRESS_H_
