#include "hardened/prim/signals.h"

#include <time.h>

#include "hardened/prim/kernel.h"

#if defined(__x86_64__)
// The way back from a handler, which the kernel leaves to user space on this machine. Unwinders and
// debuggers know it by these very bytes and by this name; the nop keeps them from taking the
// function in front for the caller.
asm(R"(
  .text
  .balign 16
  nop
  .type __restore_rt, @function
__restore_rt:
  movq $15, %rax
  syscall
  .size __restore_rt, . - __restore_rt
)");
extern "C" [[gnu::visibility("hidden")]] void __restore_rt();
#endif

namespace hardened::prim {
namespace {

// The program asks, or the process ends.
using kernel::SystemCallUnasked;

struct KernelAction {
  uintptr_t handler;
  unsigned long flags;
#if defined(__x86_64__) || defined(__aarch64__)
  uintptr_t restorer;
#endif
  SignalSet mask;
};

constexpr unsigned long kRestorer = 0x04000000;  // SA_RESTORER

}  // namespace

long GetSignalAction(int signal, SignalAction* out) {
  KernelAction found = {};
  const long result =
      SystemCallUnasked(SYS_rt_sigaction, signal, nullptr, &found, sizeof(SignalSet));
  if (result != 0) return result;
  *out = {.handler = found.handler, .flags = found.flags & ~kRestorer, .mask = found.mask};
  return 0;
}

long SetSignalAction(int signal, const SignalAction& action) {
  KernelAction wanted = {};
  wanted.handler = action.handler;
  wanted.flags = action.flags;
  wanted.mask = action.mask;
#if defined(__x86_64__)
  // Neither SIG_DFL nor SIG_IGN: a function.
  if (action.handler > 1) {
    wanted.flags |= kRestorer;
    wanted.restorer = reinterpret_cast<uintptr_t>(&__restore_rt);
  }
#endif
  return SystemCallUnasked(SYS_rt_sigaction, signal, &wanted, nullptr, sizeof(SignalSet));
}

SignalSet BlockSignals(SignalSet signals) {
  SignalSet before = 0;
  SystemCallUnasked(SYS_rt_sigprocmask, SIG_BLOCK, &signals, &before, sizeof(signals));
  return before;
}

void SetBlockedSignals(SignalSet signals) {
  SystemCallUnasked(SYS_rt_sigprocmask, SIG_SETMASK, &signals, nullptr, sizeof(signals));
}

SignalSet PendingSignals() {
  SignalSet pending = 0;
  SystemCallUnasked(SYS_rt_sigpending, &pending, sizeof(pending));
  return pending;
}

void TakePendingSignal(SignalSet signals) {
  const timespec at_once = {};
  SystemCallUnasked(SYS_rt_sigtimedwait, &signals, nullptr, &at_once, sizeof(signals));
}

bool SendToThisThread(int signal, const siginfo_t* info) {
  const long process = SystemCallUnasked(SYS_getpid);
  const long thread = SystemCallUnasked(SYS_gettid);
  if (info != nullptr &&
      SystemCallUnasked(SYS_rt_tgsigqueueinfo, process, thread, signal, info) == 0) {
    return true;
  }
  return SystemCallUnasked(SYS_tgkill, process, thread, signal) == 0;
}

}  // namespace hardened::prim
