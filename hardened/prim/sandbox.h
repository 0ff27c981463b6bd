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
//
// A thread may be between its permit and its call while another one installs a filter for both, so
// calls are counted, and EnterSandbox() waits for them. Nobody else is there while libc says that
// there is one thread, and nothing is counted.

#ifndef HARDENED_PRIM_SANDBOX_H_
#define HARDENED_PRIM_SANDBOX_H_

#include <sys/mman.h>
#include <sys/syscall.h>

#include <atomic>
#include <cstdint>

// Of libc, since glibc 2.32: false from the first second thread on.
extern "C" {
[[gnu::weak]] extern char __libc_single_threaded;
}

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

namespace internal {

extern std::atomic<Sandbox> sandbox;
extern constinit thread_local bool strict_thread [[gnu::tls_model("initial-exec")]];

// Of every filter under which a malloc can live. `advice` is the third argument.
constexpr bool IsPlainCall(long number, long advice) {
  switch (number) {
    case SYS_mmap:
    case SYS_munmap:
    case SYS_mprotect:
    case SYS_futex:
    case SYS_write:
      return true;
    case SYS_madvise:
      return advice == MADV_DONTNEED;
    default:
      return false;
  }
}

// Whether nobody else could install a filter in the middle of a call.
inline bool IsOnlyThread() { return &__libc_single_threaded != nullptr && __libc_single_threaded; }

}  // namespace internal

// The permission to make one system call, for as long as it is made. Costs two atomic operations
// for a call that a filter may forbid, of a process with threads.
class CallPermit {
 public:
  // `advice` is the third argument.
  CallPermit(long number, long advice) {
    if (internal::strict_thread) [[unlikely]] {
      if (number != SYS_write) answer_ = Answer::kNo;
    } else if (!internal::IsPlainCall(number, advice) &&
               (!internal::IsOnlyThread() ||
                internal::sandbox.load(std::memory_order_relaxed) != Sandbox::kNone)) {
      answer_ = Ask(number, advice);
    }
  }
  ~CallPermit() {
    if (answer_ == Answer::kCounted) calls_in_flight_.fetch_sub(1, std::memory_order_release);
  }
  CallPermit(const CallPermit&) = delete;
  CallPermit& operator=(const CallPermit&) = delete;

  explicit operator bool() const { return answer_ != Answer::kNo; }

 private:
  friend void EnterSandbox();

  enum class Answer : uint8_t { kNo, kYes, kCounted };
  static Answer Ask(long number, long advice);

  // Calls that a filter may forbid.
  static std::atomic<uint32_t> calls_in_flight_;

  Answer answer_ = Answer::kYes;
};

}  // namespace hardened::prim

#endif  // HARDENED_PRIM_SANDBOX_H_
