#include "hardened/prim/stack_trace.h"

#include <pthread.h>

#include <atomic>
#include <cerrno>

#include "hardened/prim/kernel.h"

// Set by glibc's loader: the end of the main thread's frames. Absent in musl.
extern "C" [[gnu::weak]] void* __libc_stack_end;

namespace hardened::prim {
namespace {

// Both x86-64 and AArch64 keep {caller's frame, return address} at the frame pointer.
struct Frame {
  uintptr_t caller;
  uintptr_t return_address;
};

// Larger frames exist, but a stray frame pointer is likelier.
constexpr uintptr_t kMaxFrameBytes = uintptr_t{1} << 20;
constexpr uintptr_t kMaxStackBytes = uintptr_t{64} << 20;
// The smallest page: a probe then speaks for the rest of it whatever the real size is.
constexpr uintptr_t kProbeBytes = 4096;
// Below lies no code.
constexpr uintptr_t kFirstCodeAddress = 4096;

#if defined(__aarch64__)
// Return addresses may be signed in the bits above the address space.
constexpr uintptr_t kAddressMask = (uintptr_t{1} << 48) - 1;
#else
constexpr uintptr_t kAddressMask = ~uintptr_t{0};
#endif

enum class Probe : uint8_t { kReadable, kUnreadable, kNoAnswer };

// rt_sigprocmask() reads the new mask before it looks at `how`, so an impossible `how` gives EFAULT
// or EINVAL and changes nothing. The trick is Abseil's (debugging/internal/address_is_readable.cc);
// no sandbox can do without this call.
Probe ProbeWord(uintptr_t address) {
  constexpr int kImpossibleHow = ~0;
  constexpr size_t kKernelMaskBytes = 8;
  switch (
      kernel::SystemCall(SYS_rt_sigprocmask, kImpossibleHow, address, nullptr, kKernelMaskBytes)) {
    case -EINVAL:
      return Probe::kReadable;
    case -EFAULT:
      return Probe::kUnreadable;
    default:
      return Probe::kNoAnswer;
  }
}

enum class Reliability : uint8_t { kUnknown, kNo, kYes };
constinit std::atomic<Reliability> g_probes_reliable{Reliability::kUnknown};

// An emulator may look at `how` first and call everything readable: ask about something known.
// Racing threads agree.
bool ProbesAreReliable() {
  Reliability known = g_probes_reliable.load(std::memory_order_relaxed);
  if (known == Reliability::kUnknown) {
    // The first page is not mapped in a user process (vm.mmap_min_addr). Not 0: that means "no
    // mask".
    constexpr uintptr_t kNotMapped = 64;
    known = ProbeWord(kNotMapped) == Probe::kUnreadable ? Reliability::kYes : Reliability::kNo;
    g_probes_reliable.store(known, std::memory_order_relaxed);
  }
  return known == Reliability::kYes;
}

// The first address that no frame of the stack around `frame` reaches, if it can be told: a
// thread's descriptor (pthread_self()) lies above its stack in glibc and musl, the main thread's
// frames end at
// __libc_stack_end. On another stack (sigaltstack, coroutines) the bound may be too far away; the
// probes remain.
uintptr_t StackLimit(uintptr_t frame) {
  const auto descriptor = reinterpret_cast<uintptr_t>(pthread_self());
  uintptr_t limit = frame + kMaxStackBytes;
  if (descriptor > frame && descriptor < limit) limit = descriptor;
  if (&__libc_stack_end != nullptr) {
    const auto main_end = reinterpret_cast<uintptr_t>(__libc_stack_end);
    if (main_end > frame && main_end < limit) limit = main_end;
  }
  return limit;
}

// Reads stack words that are nobody's objects: sanitizers have no say in them.
__attribute__((no_sanitize("address"))) __attribute__((no_sanitize("thread"))) Frame ReadFrame(
    uintptr_t frame) {
  const auto* const words = reinterpret_cast<const volatile uintptr_t*>(frame);
  return {.caller = words[0], .return_address = words[1]};
}

}  // namespace

bool IsReadableWord(uintptr_t address) {
  return ProbesAreReliable() && ProbeWord(address) == Probe::kReadable;
}

size_t CaptureStack(std::span<uintptr_t> frames) {
  auto frame = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
  const uintptr_t limit = StackLimit(frame);
  // This function's own frame needs no probe.
  uintptr_t readable_page = frame / kProbeBytes;
  size_t count = 0;
  while (count < frames.size()) {
    const Frame content = ReadFrame(frame);
    const uintptr_t return_address = content.return_address & kAddressMask;
    if (return_address < kFirstCodeAddress) break;
    frames[count++] = return_address;

    const uintptr_t next = content.caller;
    if (next % sizeof(Frame) != 0 || next <= frame || next - frame > kMaxFrameBytes ||
        next > limit - sizeof(Frame)) {
      break;
    }
    // An aligned frame lies on one page.
    if (next / kProbeBytes != readable_page) {
      if (!IsReadableWord(next)) break;
      readable_page = next / kProbeBytes;
    }
    frame = next;
  }
  return count;
}

}  // namespace hardened::prim
