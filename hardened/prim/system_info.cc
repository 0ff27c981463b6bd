#include "hardened/prim/system_info.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <time.h>

#include <atomic>
#include <bit>

#include "hardened/prim/kernel.h"

extern "C" [[gnu::weak, gnu::visibility("default")]] void _vgnU_freeres();

namespace hardened::prim {
namespace {

constinit std::atomic<bool> g_calls_are_time{false};
constinit std::atomic<uint64_t> g_calls{0};

}  // namespace

size_t ReadSmallFile(const char* path, char* out, size_t size) {
  const int fd = static_cast<int>(kernel::Open(AT_FDCWD, path, O_RDONLY | O_CLOEXEC));
  if (fd < 0) return 0;
  const long got = kernel::Read(fd, out, size);
  kernel::Close(fd);
  return got > 0 ? static_cast<size_t>(got) : 0;
}

size_t PageSize() {
  static constinit std::atomic<size_t> cached{0};
  size_t size = cached.load(std::memory_order_relaxed);
  if (size == 0) {
    size = getauxval(AT_PAGESZ);
    if (size == 0) size = 4096;
    cached.store(size, std::memory_order_relaxed);
  }
  return size;
}

size_t ResourceLimit(int resource) {
  struct {
    uint64_t current;
    uint64_t most;
  } limit;
  if (kernel::SystemCall(SYS_prlimit64, 0, resource, nullptr, &limit) != 0) return SIZE_MAX;
  return limit.current;
}

uintptr_t AddressSpaceEnd() {
  // On the stack, which lies at the end.
  return std::bit_ceil(uintptr_t{getauxval(AT_RANDOM)});
}

uint64_t CoarseMilliseconds() {
  if (g_calls_are_time.load(std::memory_order_relaxed)) [[unlikely]] {
    const uint64_t calls = g_calls.load(std::memory_order_relaxed);
    g_calls.store(calls + 1, std::memory_order_relaxed);
    return calls / 1024;
  }
  timespec now;
  if (kernel::ReadClock(CLOCK_MONOTONIC_COARSE, &now) != 0) return 0;
  return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1000000;
}

void CountCallsAsTime() { g_calls_are_time.store(true, std::memory_order_relaxed); }

uint64_t ThreadId() {
  const long id = kernel::SystemCall(SYS_gettid);
  if (!kernel::IsError(id)) return static_cast<uint64_t>(id);
  // The thread's descriptor: nobody else has it as long as the thread lives.
  return reinterpret_cast<uint64_t>(pthread_self());
}

bool UnderValgrind() { return _vgnU_freeres != nullptr; }

}  // namespace hardened::prim
