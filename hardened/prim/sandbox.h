// sandbox: which system calls may still be made.
//
// A filter of system calls (seccomp) may kill for one that it does not know, or that its author did
// not expect of a malloc. So each call of this library is asked for here (kernel.cc):
//
//   no filter              any call
//   inherited by execve()  calls that Linux had in 2018
//   entered since          mmap, munmap, mprotect, madvise(MADV_DONTNEED), futex and write
//   strict mode            write alone, in the threads that entered it
//
// What is denied here fails as if the kernel had refused it. An inherited filter is found by one
// call at the first use. Later ones are noticed as they are installed (shim/sandbox.cc): to ask
// the kernel may itself be forbidden by then.
//
// Threads, signals: any. A filter counts for the whole process, whichever thread it is for.

#ifndef HARDENED_PRIM_SANDBOX_H_
#define HARDENED_PRIM_SANDBOX_H_

#include <atomic>
#include <cstdint>

namespace hardened::prim {

enum class Sandbox : uint8_t { kUnknown, kNone, kInherited, kEntered };

// What may be called in this process. Never kUnknown.
Sandbox CurrentSandbox();

// This process is about to install a filter. Waits, for some milliseconds at most, until other
// threads have left calls that it may forbid.
void EnterSandbox();

// The process ends: what the report of it asks for is no worse than silence.
void LeaveSandbox();

// This thread is about to enter strict mode, or could not. Returns: what was said before.
bool SetStrictThread(bool strict);
// Whether this thread may make no system call.
bool IsStrictThread();

// The permission to make one system call, for as long as it is made.
class CallPermit {
 public:
  // `advice` is the third argument.
  CallPermit(long number, long advice);
  ~CallPermit() {
    if (counted_) calls_in_flight_.fetch_sub(1, std::memory_order_release);
  }
  CallPermit(const CallPermit&) = delete;
  CallPermit& operator=(const CallPermit&) = delete;

  explicit operator bool() const { return granted_; }

 private:
  friend void EnterSandbox();

  // Calls that a filter may forbid.
  static std::atomic<uint32_t> calls_in_flight_;

  bool granted_;
  bool counted_ = false;
};

}  // namespace hardened::prim

#endif  // HARDENED_PRIM_SANDBOX_H_
