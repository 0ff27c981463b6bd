// PageSource: where pages come from. The only interface between the allocator and the OS's memory.
//
// A page is unmapped or reserved (no access, see PageState), readable, committed (read/write) or
// guarded (any access faults; part of a committed range). Contents are zero after Commit, after
// Drop and after RemoveGuard. Sizes and addresses are multiples of PageSize() unless stated.
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

// What pages are before they are committed.
enum class PageState : uint8_t {
  kUnmapped,  // nothing is there: neither the kernel nor a limit counts them
  kReserved,  // mapped without access
  kReadable,  // zero
};

enum class Commitment : uint8_t {
  kDone,
  kRefused,  // by the kernel or a limit
  kTaken,    // somebody else mapped something in the unmapped range
};

class PageSource {
 public:
  // A place at or behind `hint`, aligned to `alignment` (a power of two), for `bytes` of unmapped
  // pages. Nobody is told: what the kernel places by itself must lie elsewhere.
  // Returns: null where something is mapped at its end, or where there is no address space.
  virtual void* Place(size_t /*bytes*/, size_t /*alignment*/, uintptr_t /*hint*/) {
    return nullptr;
  }
  // `bytes` of reserved pages where the kernel likes. Null when the address space or a limit does
  // not allow it.
  virtual void* Reserve(size_t /*bytes*/, size_t /*alignment*/) { return nullptr; }
  // Makes unmapped or reserved pages readable as zero without committing memory to them.
  virtual bool MakeReadable(void* /*start*/, size_t /*bytes*/, PageState /*before*/) {
    return false;
  }
  // Makes pages read/write that were never written to.
  virtual Commitment Commit(void* /*start*/, size_t /*bytes*/, PageState /*before*/) {
    return Commitment::kRefused;
  }
  // Undoes Commit(); guards go as well. `after` is what the pages were: not kReadable.
  virtual bool Uncommit(void* /*start*/, size_t /*bytes*/, PageState /*after*/) { return false; }
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
  // Finds out what rationed() tells. Some system calls.
  virtual void LookAtLimits() {}
  // Whether what is committed counts against a limit: then memory that is free should be
  // uncommitted, not dropped.
  virtual bool rationed() const { return false; }
  // Unmaps the range, whatever it is.
  virtual void Release(void* /*start*/, size_t /*bytes*/) {}

 protected:
  constexpr PageSource() = default;
  ~PageSource() = default;
};

// How guards are made on this system, settled by one experiment at the first guard.
enum class GuardKind : uint8_t {
  kUnknown,
  kAdvice,   // MADV_GUARD_INSTALL: no mapping is split
  kProtect,  // mprotect within a budget of mappings; so in a sandbox that was entered
};

// Counters of system calls, for deterministic tests. Relaxed; exact when other threads are quiet.
// guard and unguard: whole guards made and removed.
struct PageSourceCounters {
  std::atomic<uint64_t> reserve{0}, commit{0}, drop{0}, guard{0}, unguard{0}, move{0}, release{0};
  std::atomic<uint64_t> guards_refused{0};
};

class LinuxPageSource final : public PageSource {
  static constexpr char kNotRead = 1;

 public:
  constexpr LinuxPageSource() = default;

  void* Place(size_t bytes, size_t alignment, uintptr_t hint) override;
  void* Reserve(size_t bytes, size_t alignment) override;
  bool MakeReadable(void* start, size_t bytes, PageState before) override;
  Commitment Commit(void* start, size_t bytes, PageState before) override;
  bool Uncommit(void* start, size_t bytes, PageState after) override;
  bool Drop(void* start, size_t bytes) override;
  bool InstallGuard(void* start, size_t bytes, GuardChange change) override;
  bool RemoveGuard(void* start, size_t bytes, GuardChange change) override;
  bool MovePages(void* from, void* to, size_t bytes) override;
  bool Renew(void* start, size_t bytes) override;
  void ExcludeFromDumps(void* start, size_t bytes) override;
  void Release(void* start, size_t bytes) override;

  // Takes and gives back the right to write to pages; they keep their contents.
  bool MakeWritable(void* start, size_t bytes);
  bool MakeReadOnly(void* start, size_t bytes);
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
  // Memory is rationed by RLIMIT_AS and RLIMIT_DATA, which may change at any time, and where
  // vm.overcommit_memory is 2.
  void LookAtLimits() override;
  bool rationed() const override { return rationed_.load(std::memory_order_relaxed); }
  // Asks what cannot be asked any more once a filter of system calls is installed.
  void PrepareForSandbox();
  GuardKind guard_kind() const { return guard_kind_.load(std::memory_order_relaxed); }
  const PageSourceCounters& counters() const { return counters_; }

 private:
  GuardKind SettleGuardKind();
  void SetProtectLimit();
  uint64_t LiveGuards() const {
    return counters_.guard.load(std::memory_order_relaxed) -
           counters_.unguard.load(std::memory_order_relaxed);
  }
  bool ProtectGuard(void* start, size_t bytes);

  std::atomic<GuardKind> guard_kind_{GuardKind::kUnknown};
  std::atomic<bool> rationed_{false};
  std::atomic<char> overcommit_{kNotRead};  // the first letter of the file
  // With so many live guards no further one is made by mprotect; each splits a mapping in two.
  std::atomic<uint64_t> protect_limit_{0};
  PageSourceCounters counters_;
};

// The page source of this process.
extern LinuxPageSource linux_page_source;

}  // namespace hardened::prim

#endif  // HARDENED_PRIM_PAGE_SOURCE_H_
