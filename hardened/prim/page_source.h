// PageSource: where pages come from. The only interface between the allocator and the OS's memory.
//
// Four states of a page: reserved (no access), committed (read/write), guarded (any access faults;
// part of a committed range) and released. Contents are zero after Reserve+Commit, after Drop and
// after RemoveGuard. Sizes and addresses are multiples of PageSize() unless stated.
//
// Threads: all functions may be called from any thread; none of them allocates or takes a lock.
// Failure: functions that return bool or a pointer report it and leave the range as it was.

#ifndef HARDENED_PRIM_PAGE_SOURCE_H_
#define HARDENED_PRIM_PAGE_SOURCE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace hardened::prim {

// Whether a call makes or ends a guard, or moves one end of a guard that stays.
enum class GuardChange : uint8_t { kWhole, kPart };

class PageSource {
 public:
  // `bytes` of address space without access, aligned to `alignment` (a power of two), near `hint`
  // when that is free. Null when the address space or a limit does not allow it.
  virtual void* Reserve(size_t /*bytes*/, size_t /*alignment*/, uintptr_t /*hint*/) {
    return nullptr;
  }
  // Makes reserved pages readable as zero without committing memory to them.
  virtual bool MakeReadable(void* /*start*/, size_t /*bytes*/) { return false; }
  // Makes reserved or readable pages read/write that were never written to.
  virtual bool Commit(void* /*start*/, size_t /*bytes*/) { return false; }
  // Gives the memory of committed pages back; they stay committed and read as zero. Guards stay.
  virtual bool Drop(void* /*start*/, size_t /*bytes*/) { return false; }
  // Any access to these committed pages faults, and their memory is given back. False when no guard
  // can be had: the range then stays accessible, with or without its contents.
  virtual bool InstallGuard(void* /*start*/, size_t /*bytes*/, GuardChange /*change*/) {
    return false;
  }
  // Undoes InstallGuard; the range may contain unguarded pages, which keep their contents.
  virtual bool RemoveGuard(void* /*start*/, size_t /*bytes*/, GuardChange /*change*/) {
    return false;
  }
  // Moves the contents of committed pages to other committed pages of the same size without
  // copying; the old pages read as zero afterwards. After a failure the target may be gone: it must
  // be made again with Renew() before anything touches it.
  virtual bool MovePages(void* /*from*/, void* /*to*/, size_t /*bytes*/) { return false; }
  // After MovePages: makes the pages fresh again (zero, committed) so that the kernel can merge
  // their mapping with its neighbours.
  virtual bool Renew(void* /*start*/, size_t /*bytes*/) { return false; }
  // Keeps the range out of core dumps. Best effort.
  virtual void ExcludeFromDumps(void* /*start*/, size_t /*bytes*/) {}
  // Returns reserved address space.
  virtual void Release(void* /*start*/, size_t /*bytes*/) {}

 protected:
  constexpr PageSource() = default;
  ~PageSource() = default;
};

// How guards are made on this system, settled by one experiment at the first guard.
enum class GuardKind : uint8_t {
  kUnknown,
  kAdvice,   // MADV_GUARD_INSTALL: no mapping is split
  kProtect,  // mprotect within a budget of mappings
};

// Counters of system calls, for deterministic tests. Relaxed; exact when other threads are quiet.
struct PageSourceCounters {
  std::atomic<uint64_t> reserve{0}, commit{0}, drop{0}, guard{0}, unguard{0}, move{0}, release{0};
  std::atomic<uint64_t> guards_refused{0};
};

class LinuxPageSource final : public PageSource {
 public:
  constexpr LinuxPageSource() = default;

  void* Reserve(size_t bytes, size_t alignment, uintptr_t hint) override;
  bool MakeReadable(void* start, size_t bytes) override;
  bool Commit(void* start, size_t bytes) override;
  bool Drop(void* start, size_t bytes) override;
  bool InstallGuard(void* start, size_t bytes, GuardChange change) override;
  bool RemoveGuard(void* start, size_t bytes, GuardChange change) override;
  bool MovePages(void* from, void* to, size_t bytes) override;
  bool Renew(void* start, size_t bytes) override;
  void ExcludeFromDumps(void* start, size_t bytes) override;
  void Release(void* start, size_t bytes) override;

  // Makes readable pages read/write; they keep their contents.
  bool MakeWritable(void* start, size_t bytes);
  // Fresh committed pages between two pages without access, kept out of core dumps. Null when there
  // are none. Takes any size, and rounds it up.
  void* MakeSecretPages(size_t bytes);
  // The child of any fork finds these committed pages zero. Best effort: Linux 4.14, and some
  // emulators only say so.
  void WipeOnFork(void* start, size_t bytes);
  // Finds out which guards this system has; before a sandbox is entered that kills for trying.
  void SettleGuards() {
    if (guard_kind() == GuardKind::kUnknown) SettleGuardKind();
  }
  GuardKind guard_kind() const { return guard_kind_.load(std::memory_order_relaxed); }
  const PageSourceCounters& counters() const { return counters_; }

 private:
  GuardKind SettleGuardKind();

  std::atomic<GuardKind> guard_kind_{GuardKind::kUnknown};
  // Guards by mprotect that may still be installed; each splits a mapping in two.
  std::atomic<int32_t> protect_budget_{0};
  PageSourceCounters counters_;
};

// The page source of this process.
extern LinuxPageSource linux_page_source;

}  // namespace hardened::prim

#endif  // HARDENED_PRIM_PAGE_SOURCE_H_
