#include "hardened/prim/entropy.h"

#include <fcntl.h>
#include <linux/random.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "hardened/prim/kernel.h"
#include "hardened/prim/random_stream.h"

namespace hardened::prim {
namespace {

// A signal storm must not keep us here for ever.
constexpr int kMaxInterrupts = 1000;

constinit std::atomic<uint64_t> g_fallbacks{0};
constinit std::atomic<uint64_t> g_mix_counter{0};

// Calls read_some(rest) until `out` is full; it returns what the kernel does for read(2).
template <typename ReadSome>
bool FillWith(std::span<std::byte> out, ReadSome read_some) {
  int interrupts = 0;
  while (!out.empty()) {
    const long result = read_some(out);
    if (result > 0) {
      out = out.subspan(static_cast<size_t>(result));
    } else if (result != -EINTR || ++interrupts > kMaxInterrupts) {
      return false;
    }
  }
  return true;
}

bool FillFromKernel(std::span<std::byte> out) {
  return FillWith(out, [](std::span<std::byte> rest) {
    return kernel::SystemCall(SYS_getrandom, rest.data(), rest.size(), GRND_NONBLOCK);
  });
}

// In a chroot the name may be missing or somebody else's file.
bool IsUrandom(int fd) {
  struct stat status;
  return kernel::Stat(fd, &status) == 0 && S_ISCHR(status.st_mode) && major(status.st_rdev) == 1 &&
         minor(status.st_rdev) == 9;
}

bool FillFromDevice(std::span<std::byte> out) {
  const int fd =
      static_cast<int>(kernel::Open(AT_FDCWD, "/dev/urandom", O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (fd < 0) return false;
  const bool filled = IsUrandom(fd) && FillWith(out, [fd](std::span<std::byte> rest) {
                        return kernel::Read(fd, rest.data(), rest.size());
                      });
  kernel::Close(fd);
  return filled;
}

uint64_t Nanoseconds(clockid_t clock) {
  timespec time = {};
  kernel::ReadClock(clock, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

void FillFromMix(std::span<std::byte> out) {
  struct {
    std::byte kernel_random[16];
    uint64_t realtime;
    uint64_t monotonic;
    uint64_t counter;
    uint64_t process;
    uint64_t thread;
    uintptr_t stack;
    uintptr_t code;
    uintptr_t libc;
    uint64_t jitter[32];
  } pool = {};
  const auto* const at_random = reinterpret_cast<const std::byte*>(getauxval(AT_RANDOM));
  if (at_random != nullptr) memcpy(pool.kernel_random, at_random, sizeof(pool.kernel_random));
  pool.realtime = Nanoseconds(CLOCK_REALTIME);
  pool.monotonic = Nanoseconds(CLOCK_MONOTONIC);
  pool.counter = g_mix_counter.fetch_add(1, std::memory_order_relaxed);
  pool.process = static_cast<uint64_t>(kernel::SystemCall(SYS_getpid));
  pool.thread = static_cast<uint64_t>(kernel::SystemCall(SYS_gettid));
  pool.stack = reinterpret_cast<uintptr_t>(&pool);
  pool.code = reinterpret_cast<uintptr_t>(&FillFromMix);
  pool.libc = reinterpret_cast<uintptr_t>(&getauxval);
  for (uint64_t& sample : pool.jitter) {
    kernel::SystemCall(SYS_getppid);  // a round trip whose length varies
    sample = Nanoseconds(CLOCK_MONOTONIC);
  }

  RandomStream mixer;
  constexpr std::byte kZeroKey[RandomStream::kKeyBytes] = {};
  mixer.Seed(kZeroKey, 0);
  mixer.Rekey(std::as_bytes(std::span(&pool, 1)));
  for (std::byte& byte : out) byte = static_cast<std::byte>(mixer.Next16());
  explicit_bzero(&mixer, sizeof(mixer));
  explicit_bzero(&pool, sizeof(pool));
}

}  // namespace

void FillEntropy(std::span<std::byte> out) {
  if (FillFromKernel(out)) return;
  g_fallbacks.fetch_add(1, std::memory_order_relaxed);
  if (!FillFromDevice(out)) FillFromMix(out);
}

uint64_t EntropyFallbacks() { return g_fallbacks.load(std::memory_order_relaxed); }

}  // namespace hardened::prim
