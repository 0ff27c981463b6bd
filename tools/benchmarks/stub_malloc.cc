// stub_malloc: the floor. As little work as an allocator can do.
//
// Power-of-two classes, one thread-local free list per class, nothing checked,
// nothing returned to the system, no metadata: the class of a block is read
// off its address, because each class owns 16 GiB of one reserved range.
//
// Threads: a block goes to the free list of the thread that frees it.

#include <sys/mman.h>

#include <atomic>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace {

constexpr int kSmallestShift = 4;
constexpr int kClasses = 27;  // 16 bytes .. 1 GiB
constexpr int kClassSpanShift = 34;
constexpr uintptr_t kClassSpan = uintptr_t{1} << kClassSpanShift;
constexpr size_t kChunk = 65536;

struct FreeBlock {
  FreeBlock* next;
};

struct Magazine {
  FreeBlock* free;
  uintptr_t bump;
  uintptr_t end;
};

thread_local Magazine magazines[kClasses];
std::atomic<uintptr_t> range_start{0};
std::atomic<uintptr_t> used[kClasses];

int ClassOf(size_t size) {
  return size <= 16 ? 0 : static_cast<int>(std::bit_width(size - 1)) - kSmallestShift;
}

size_t SizeOf(int size_class) { return size_t{1} << (size_class + kSmallestShift); }

int ClassAt(void* block) {
  const uintptr_t offset =
      reinterpret_cast<uintptr_t>(block) - range_start.load(std::memory_order_relaxed);
  return static_cast<int>(offset >> kClassSpanShift);
}

// Returns: the start of the reserved range, aligned to kClassSpan; 0: no room.
uintptr_t Range() {
  uintptr_t start = range_start.load(std::memory_order_acquire);
  if (start != 0) return start;
  constexpr size_t kLength = (kClasses + 1) * kClassSpan;
  void* pages = mmap(nullptr, kLength, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (pages == MAP_FAILED) return 0;
  const uintptr_t aligned =
      (reinterpret_cast<uintptr_t>(pages) + kClassSpan - 1) & ~(kClassSpan - 1);
  if (range_start.compare_exchange_strong(start, aligned)) return aligned;
  munmap(pages, kLength);
  return start;
}

[[gnu::noinline]] void* Bump(Magazine& magazine, int size_class) {
  const size_t size = SizeOf(size_class);
  if (magazine.bump == magazine.end) {
    const uintptr_t start = Range();
    const size_t chunk = size > kChunk ? size : kChunk;
    const uintptr_t offset = used[size_class].fetch_add(chunk, std::memory_order_relaxed);
    if (start == 0 || offset + chunk > kClassSpan) return nullptr;
    magazine.bump = start + static_cast<uintptr_t>(size_class) * kClassSpan + offset;
    magazine.end = magazine.bump + chunk;
  }
  void* block = reinterpret_cast<void*>(magazine.bump);
  magazine.bump += size;
  return block;
}

}  // namespace

extern "C" {

void* malloc(size_t size) {
  const int size_class = ClassOf(size);
  if (size_class >= kClasses) [[unlikely]] {
    errno = ENOMEM;
    return nullptr;
  }
  Magazine& magazine = magazines[size_class];
  FreeBlock* block = magazine.free;
  if (block == nullptr) [[unlikely]]
    return Bump(magazine, size_class);
  magazine.free = block->next;
  return block;
}

void free(void* pointer) {
  if (pointer == nullptr) return;
  Magazine& magazine = magazines[ClassAt(pointer)];
  FreeBlock* block = static_cast<FreeBlock*>(pointer);
  block->next = magazine.free;
  magazine.free = block;
}

void* calloc(size_t count, size_t size) {
  size_t total;
  if (__builtin_mul_overflow(count, size, &total)) {
    errno = ENOMEM;
    return nullptr;
  }
  void* block = malloc(total);
  return block == nullptr ? nullptr : memset(block, 0, total);
}

size_t malloc_usable_size(void* pointer) {
  return pointer == nullptr ? 0 : SizeOf(ClassAt(pointer));
}

void* realloc(void* pointer, size_t size) {
  if (pointer == nullptr) return malloc(size);
  const size_t old_size = malloc_usable_size(pointer);
  if (size <= old_size) return pointer;
  void* block = malloc(size);
  if (block == nullptr) return nullptr;
  memcpy(block, pointer, old_size);
  free(pointer);
  return block;
}

// Every block is aligned to its power-of-two size.
void* aligned_alloc(size_t alignment, size_t size) {
  return malloc(size > alignment ? size : alignment);
}

void* memalign(size_t alignment, size_t size) { return aligned_alloc(alignment, size); }

int posix_memalign(void** result, size_t alignment, size_t size) {
  *result = aligned_alloc(alignment, size);
  return *result == nullptr ? ENOMEM : 0;
}

}  // extern "C"
