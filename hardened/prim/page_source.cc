#include "hardened/prim/page_source.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

#include "absl/base/config.h"
#include "hardened/prim/kernel.h"
#include "hardened/prim/sandbox.h"
#include "hardened/prim/system_info.h"

namespace hardened::prim {
namespace {

// Linux 6.13; older headers do not name them.
constexpr int kGuardInstall = 102;
constexpr int kGuardRemove = 103;
constexpr int kDropLocked = 24;  // MADV_DONTNEED_LOCKED, Linux 5.18

// ThreadSanitizer knows few addresses, and takes a wish for others as one for address 0.
#if defined(ABSL_HAVE_THREAD_SANITIZER)
constexpr bool kCanPlace = false;
#else
constexpr bool kCanPlace = true;
#endif

// A quarter of the kernel's default vm.max_map_count may go into guards: the program needs
// mappings of its own, and a process at the limit cannot even start a thread.
constexpr int32_t kDefaultMapLimit = 65530;

constexpr int kNoReplace = 0x100000;  // MAP_FIXED_NOREPLACE, Linux 4.17
constexpr int kReserveFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

int32_t MapLimit() {
  char text[16] = {};
  const size_t got = ReadSmallFile("/proc/sys/vm/max_map_count", text, sizeof(text) - 1);
  int32_t limit = 0;
  for (size_t i = 0; i < got && i < 9 && text[i] >= '0' && text[i] <= '9'; ++i) {
    limit = limit * 10 + (text[i] - '0');
  }
  return limit > 0 ? limit : kDefaultMapLimit;
}

// Makes accessible pages zero that could not be dropped. What is zero is not written to: it may
// have no memory yet.
void ClearByHand(void* start, size_t bytes) {
  constexpr size_t kAtOnce = 512;
  static constexpr char kZero[kAtOnce] = {};
  for (char* at = static_cast<char*>(start); bytes > 0; at += kAtOnce, bytes -= kAtOnce) {
    if (memcmp(at, kZero, kAtOnce) != 0) memset(at, 0, kAtOnce);
  }
}

// Fresh read/write pages in place of what is there.
bool MapAnew(void* start, size_t bytes) {
  return kernel::Map(start, bytes, PROT_READ | PROT_WRITE, kReserveFlags | MAP_FIXED) ==
         reinterpret_cast<long>(start);
}

// Maps pages where nothing is.
Commitment MapFresh(void* start, size_t bytes, int protection) {
  const long got = kernel::Map(start, bytes, protection, kReserveFlags | kNoReplace);
  if (got == reinterpret_cast<long>(start)) return Commitment::kDone;
  if (got == -EEXIST) return Commitment::kTaken;
  if (kernel::IsError(got)) return Commitment::kRefused;
  // Before Linux 4.17 the address was a mere hint.
  kernel::Unmap(reinterpret_cast<void*>(got), bytes);
  return Commitment::kTaken;
}

void Count(std::atomic<uint64_t>& counter) { counter.fetch_add(1, std::memory_order_relaxed); }

}  // namespace

constinit LinuxPageSource linux_page_source;

void* LinuxPageSource::Place(size_t bytes, size_t alignment, uintptr_t hint) {
  const size_t page = PageSize();
  const uintptr_t start = RoundUp(hint, alignment);
  if (!kCanPlace || bytes > SIZE_MAX - start) return nullptr;
  Count(counters_.reserve);
  void* const last = reinterpret_cast<void*>(start + bytes - page);
  if (MapFresh(last, page, PROT_NONE) != Commitment::kDone) return nullptr;
  kernel::Unmap(last, page);
  return reinterpret_cast<void*>(start);
}

void* LinuxPageSource::Reserve(size_t bytes, size_t alignment) {
  const size_t page = PageSize();
  const size_t extra = alignment > page ? alignment - page : 0;
  if (bytes > SIZE_MAX - extra) return nullptr;
  Count(counters_.reserve);
  const long got = kernel::Map(nullptr, bytes + extra, PROT_NONE, kReserveFlags);
  if (kernel::IsError(got)) return nullptr;
  const uintptr_t start = static_cast<uintptr_t>(got);
  const uintptr_t aligned = RoundUp(start, alignment);
  if (aligned > start) kernel::Unmap(reinterpret_cast<void*>(start), aligned - start);
  const size_t tail = extra - (aligned - start);
  if (tail > 0) kernel::Unmap(reinterpret_cast<void*>(aligned + bytes), tail);
  return reinterpret_cast<void*>(aligned);
}

bool LinuxPageSource::MakeReadable(void* start, size_t bytes, PageState before) {
  Count(counters_.commit);
  return before == PageState::kUnmapped ? MapFresh(start, bytes, PROT_READ) == Commitment::kDone
                                        : MakeReadOnly(start, bytes);
}

Commitment LinuxPageSource::Commit(void* start, size_t bytes, PageState before) {
  Count(counters_.commit);
  if (before == PageState::kUnmapped) return MapFresh(start, bytes, PROT_READ | PROT_WRITE);
  const long result = kernel::Protect(start, bytes, PROT_READ | PROT_WRITE);
  if (result == 0) return Commitment::kDone;
  // No memory: nor would mmap() have any, and it may unmap the pages before it says so. Else
  // denied by a seccomp filter.
  return result != -ENOMEM && MapAnew(start, bytes) ? Commitment::kDone : Commitment::kRefused;
}

bool LinuxPageSource::Uncommit(void* start, size_t bytes, PageState after) {
  Count(counters_.release);
  if (after == PageState::kUnmapped) return kernel::Unmap(start, bytes) == 0;
  return kernel::Map(start, bytes, PROT_NONE, kReserveFlags | MAP_FIXED) ==
         reinterpret_cast<long>(start);
}

bool LinuxPageSource::MakeWritable(void* start, size_t bytes) {
  return kernel::Protect(start, bytes, PROT_READ | PROT_WRITE) == 0;
}

bool LinuxPageSource::MakeReadOnly(void* start, size_t bytes) {
  return kernel::Protect(start, bytes, PROT_READ) == 0;
}

void* LinuxPageSource::MakeSecretPages(size_t bytes) {
  const size_t page = PageSize();
  bytes = RoundUp(bytes, page);
  void* reserved = Reserve(bytes + 2 * page, page);
  if (reserved == nullptr) return nullptr;
  void* start = static_cast<char*>(reserved) + page;
  if (Commit(start, bytes, PageState::kReserved) != Commitment::kDone) {
    Release(reserved, bytes + 2 * page);
    return nullptr;
  }
  ExcludeFromDumps(start, bytes);
  return start;
}

void LinuxPageSource::WipeOnFork(void* start, size_t bytes) {
  kernel::Advise(start, bytes, MADV_WIPEONFORK);
}

bool LinuxPageSource::Drop(void* start, size_t bytes) {
  Count(counters_.drop);
  // Refused on locked pages (mlockall) and by seccomp filters: the pages keep their contents.
  return kernel::Advise(start, bytes, MADV_DONTNEED) == 0;
}

// A guard is believed only when an access to it was seen to fault: emulators answer 0 to the
// advice and install nothing. The kernel is made to write to the page, which yields EFAULT.
GuardKind LinuxPageSource::SettleGuardKind() {
  GuardKind kind = GuardKind::kProtect;
  const size_t page = PageSize();
  const long mapped = kernel::Map(nullptr, page, PROT_READ | PROT_WRITE, kReserveFlags);
  if (!kernel::IsError(mapped)) {
    void* const probe = reinterpret_cast<void*>(mapped);
    if (kernel::Advise(probe, page, kGuardInstall) == 0 &&
        kernel::SystemCall(SYS_clock_gettime, CLOCK_MONOTONIC, probe) == -EFAULT &&
        kernel::Advise(probe, page, kGuardRemove) == 0 &&
        kernel::SystemCall(SYS_clock_gettime, CLOCK_MONOTONIC, probe) == 0) {
      kind = GuardKind::kAdvice;
    }
    kernel::Unmap(probe, page);
  }
  if (kind == GuardKind::kProtect) SetProtectLimit();
  guard_kind_.store(kind, std::memory_order_relaxed);
  return kind;
}

void LinuxPageSource::SetProtectLimit() {
  protect_limit_.store(static_cast<uint64_t>(MapLimit() / 4 / 2), std::memory_order_relaxed);
}

bool LinuxPageSource::ProtectGuard(void* start, size_t bytes) {
  if (kernel::Protect(start, bytes, PROT_NONE) != 0) return false;
  if (kernel::Advise(start, bytes, MADV_DONTNEED) == 0 ||
      kernel::Advise(start, bytes, kDropLocked) == 0) {
    return true;
  }
  // Refused on locked pages (mlockall) of older kernels and by seccomp filters. The promise is
  // zero contents after RemoveGuard(). When that is refused, the guard stays for ever.
  if (kernel::Protect(start, bytes, PROT_READ | PROT_WRITE) != 0) return true;
  ClearByHand(start, bytes);
  return kernel::Protect(start, bytes, PROT_NONE) == 0;
}

bool LinuxPageSource::InstallGuard(void* start, size_t bytes, GuardChange change) {
  GuardKind kind = guard_kind();
  if (kind == GuardKind::kUnknown) kind = SettleGuardKind();
  // Counted before it is made: racing threads do not pass the limit.
  if (change == GuardChange::kWhole) Count(counters_.guard);
  if (kind == GuardKind::kAdvice && kernel::Advise(start, bytes, kGuardInstall) == 0) return true;
  // Either no such advice, or forbidden, or refused here (locked pages).
  const bool may_protect = kind == GuardKind::kProtect || CurrentSandbox() == Sandbox::kEntered;
  if (may_protect && LiveGuards() <= protect_limit_.load(std::memory_order_relaxed) &&
      ProtectGuard(start, bytes)) {
    return true;
  }
  if (change == GuardChange::kWhole) counters_.guard.fetch_sub(1, std::memory_order_relaxed);
  Count(counters_.guards_refused);
  return false;
}

bool LinuxPageSource::RemoveGuard(void* start, size_t bytes, GuardChange change) {
  const bool removed = guard_kind() == GuardKind::kProtect
                           ? MakeWritable(start, bytes)
                           : kernel::Advise(start, bytes, kGuardRemove) == 0 ||
                                 // Of either kind then, and forbidden to be removed as it was made.
                                 (CurrentSandbox() == Sandbox::kEntered && MapAnew(start, bytes));
  if (removed && change == GuardChange::kWhole) Count(counters_.unguard);
  return removed;
}

bool LinuxPageSource::MovePages(void* from, void* to, size_t bytes) {
  Count(counters_.move);
  return kernel::Remap(from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to) ==
         reinterpret_cast<long>(to);
}

bool LinuxPageSource::Renew(void* start, size_t bytes) {
  Count(counters_.reserve);
  return MapAnew(start, bytes);
}

void LinuxPageSource::ExcludeFromDumps(void* start, size_t bytes) {
  kernel::Advise(start, bytes, MADV_DONTDUMP);
}

void LinuxPageSource::LookAtLimits() {
  // What was known when it was entered holds.
  if (CurrentSandbox() == Sandbox::kEntered) return;
  char overcommit = overcommit_.load(std::memory_order_relaxed);
  if (overcommit == kNotRead) {
    overcommit = 0;
    ReadSmallFile("/proc/sys/vm/overcommit_memory", &overcommit, 1);
    overcommit_.store(overcommit, std::memory_order_relaxed);
  }
  // 2: what is committed is accounted, whether it is touched or not.
  const bool rationed = overcommit == '2' || ResourceLimit(RLIMIT_AS) != SIZE_MAX ||
                        ResourceLimit(RLIMIT_DATA) != SIZE_MAX;
  rationed_.store(rationed, std::memory_order_relaxed);
}

void LinuxPageSource::PrepareForSandbox() {
  if (guard_kind() == GuardKind::kAdvice) SetProtectLimit();
  LookAtLimits();
}

void LinuxPageSource::Release(void* start, size_t bytes) {
  Count(counters_.release);
  kernel::Unmap(start, bytes);
}

}  // namespace hardened::prim
