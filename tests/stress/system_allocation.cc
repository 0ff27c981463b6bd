// SystemAllocationTable: the entry points this process is linked with.
#include <malloc.h>
#include <stdlib.h>

#include <new>

#include "tests/preload/library_under_test.h"
#include "tests/stress/shadow_stress.h"

AllocationTable SystemAllocationTable() {
  const LibraryUnderTest library = LibraryUnderTest::Find();
  return {
      .malloc = malloc,
      .calloc = calloc,
      .realloc = realloc,
      .aligned_alloc = aligned_alloc,
      .free = free,
      .malloc_usable_size = malloc_usable_size,
      .reallocarray = reallocarray,
      .memalign = memalign,
      .posix_memalign = posix_memalign,
      .valloc = valloc,
      .pvalloc = pvalloc,
      .free_sized = library.free_sized,
      .free_aligned_sized = library.free_aligned_sized,
      .operator_new = [](size_t size) { return ::operator new(size, std::nothrow); },
      .operator_new_aligned =
          [](size_t size, size_t alignment) {
            return ::operator new(size, std::align_val_t{alignment}, std::nothrow);
          },
      .operator_delete = [](void* block) { ::operator delete(block); },
      .operator_delete_sized = [](void* block, size_t size) { ::operator delete(block, size); },
      .operator_delete_aligned =
          [](void* block, size_t size, size_t alignment) {
            ::operator delete(block, size, std::align_val_t{alignment});
          },
      .get_counters = library.get_counters,
  };
}
