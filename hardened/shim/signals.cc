// sigaction, signal and their family: for SIGSEGV the program sees and gets what it would have
// without the handler that explains faults (fault_report.h). Whoever reads the action sees the
// default where that handler is installed; whoever sets one gets exactly that in the kernel;
// whoever sets the default gets it with the handler in its place.
//
// All else goes on to the next definition, which may be that of another preloaded library. Weak: a
// program that is linked with this library may have a function of its own by such a name.
//
// Not here: siginterrupt() and sigignore(), which are right as they are, and sigvec(), which only
// programs from before 2014 can ask for. Those see the handler itself.
//
// Threads: any. Signals: safe, also in a child of vfork: nothing is kept in memory.

#include "hardened/prim/signals.h"

#include <dlfcn.h>
#include <errno.h>
#include <signal.h>

#include <atomic>

#include "hardened/fault_report.h"
#include "hardened/shim/active_heap.h"
#include "hardened/shim/signals.h"

namespace hardened::shim {
namespace {

using prim::SignalAction;
using prim::SignalSet;

using Handler = void (*)(int);
using ActionSetter = int(int, const struct sigaction*, struct sigaction*);
using HandlerSetter = Handler(int, Handler);

// ---- the next definitions

template <typename Function>
class NextDefinition {
 public:
  // `otherwise` serves where there is none: programs without shared libraries.
  constexpr NextDefinition(const char* name, Function* otherwise)
      : name_(name), otherwise_(otherwise) {}

  Function* Get() {
    Function* function = function_.load(std::memory_order_relaxed);
    return function != nullptr ? function : Find();
  }
  [[gnu::noinline]] Function* Find() {
    Function* function = reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name_));
    if (function == nullptr) function = otherwise_;
    function_.store(function, std::memory_order_relaxed);
    return function;
  }

 private:
  const char* name_;
  Function* otherwise_;
  std::atomic<Function*> function_{nullptr};
};

SignalSet FirstWord(const sigset_t& set) {
  SignalSet word;
  __builtin_memcpy(&word, &set, sizeof(word));
  return word;
}

SignalAction FromLibc(const struct sigaction& action) {
  return {.handler = reinterpret_cast<uintptr_t>(action.sa_handler),
          .flags = static_cast<unsigned long>(action.sa_flags),
          .mask = FirstWord(action.sa_mask)};
}

void ToLibc(const SignalAction& action, struct sigaction* out) {
  *out = {};
  out->sa_handler = reinterpret_cast<Handler>(action.handler);
  out->sa_flags = static_cast<int>(action.flags);
  __builtin_memcpy(&out->sa_mask, &action.mask, sizeof(action.mask));
}

// Returns: -1 with errno, or 0.
int OrErrno(long result) {
  if (result == 0) return 0;
  errno = static_cast<int>(-result);
  return -1;
}

int SetActionOfKernel(int signal, const struct sigaction* action, struct sigaction* old) {
  SignalAction before;
  // Libc's own.
  if (signal == 32 || signal == 33) return OrErrno(-EINVAL);
  long result = prim::GetSignalAction(signal, &before);
  if (result == 0 && action != nullptr) {
    result = prim::SetSignalAction(signal, FromLibc(*action));
  }
  if (result == 0 && old != nullptr) ToLibc(before, old);
  return OrErrno(result);
}

Handler SetHandlerOfKernel(int signal, Handler handler, unsigned long flags) {
  struct sigaction action;
  struct sigaction old;
  ToLibc({.handler = reinterpret_cast<uintptr_t>(handler), .flags = flags}, &action);
  return SetActionOfKernel(signal, &action, &old) == 0 ? old.sa_handler : SIG_ERR;
}

Handler SignalOfBsd(int signal, Handler handler) {
  return SetHandlerOfKernel(signal, handler, SA_RESTART);
}
Handler SignalOfSystemV(int signal, Handler handler) {
  return SetHandlerOfKernel(signal, handler, SA_RESETHAND | SA_NODEFER);
}
// Obsolete, and it may also block the signal: without a next definition it is refused.
Handler NoSigset(int, Handler) {
  errno = ENOSYS;
  return SIG_ERR;
}

constinit NextDefinition<ActionSetter> next_sigaction("sigaction", &SetActionOfKernel);
constinit NextDefinition<ActionSetter> next_libc_sigaction("__sigaction", &SetActionOfKernel);
constinit NextDefinition<HandlerSetter> next_signal("signal", &SignalOfBsd);
constinit NextDefinition<HandlerSetter> next_bsd_signal("bsd_signal", &SignalOfBsd);
constinit NextDefinition<HandlerSetter> next_ssignal("ssignal", &SignalOfBsd);
constinit NextDefinition<HandlerSetter> next_sysv_signal("sysv_signal", &SignalOfSystemV);
constinit NextDefinition<HandlerSetter> next_libc_sysv_signal("__sysv_signal", &SignalOfSystemV);
constinit NextDefinition<HandlerSetter> next_sigset("sigset", &NoSigset);

// ---- SIGSEGV

int SetAction(NextDefinition<ActionSetter>& setter, int signal, const struct sigaction* action,
              struct sigaction* old) {
  ActionSetter* const next = setter.Get();
  if (signal != SIGSEGV) return next(signal, action, old);
  if (action != nullptr) {
    // Those behind see the default, too: some keep what they saw, to call it later.
    RemoveFaultHandler();
    const int result = next(signal, action, old);
    InstallFaultHandler();
    return result;
  }
  const int result = next(signal, nullptr, old);
  if (result == 0 && old != nullptr) {
    const SignalAction seen = FromLibc(*old);
    if (IsFaultHandler(seen)) ToLibc(WithoutFaultHandler(seen), old);
  }
  return result;
}

Handler SetHandler(NextDefinition<HandlerSetter>& setter, int signal, Handler handler) {
  HandlerSetter* const next = setter.Get();
  if (signal != SIGSEGV) return next(signal, handler);
  RemoveFaultHandler();
  const Handler before = next(signal, handler);
  InstallFaultHandler();
  return before;
}

}  // namespace

void FindSignalFunctions() {
  for (auto* setter : {&next_sigaction, &next_libc_sigaction}) setter->Find();
  for (auto* setter : {&next_signal, &next_bsd_signal, &next_ssignal, &next_sysv_signal,
                       &next_libc_sysv_signal, &next_sigset}) {
    setter->Find();
  }
}

extern "C" {

[[gnu::weak]] HARDENED_EXPORT int sigaction(int signal, const struct sigaction* action,
                                            struct sigaction* old) {
  return SetAction(next_sigaction, signal, action, old);
}

[[gnu::weak]] HARDENED_EXPORT int __sigaction(int signal, const struct sigaction* action,
                                              struct sigaction* old) {
  return SetAction(next_libc_sigaction, signal, action, old);
}

[[gnu::weak]] HARDENED_EXPORT Handler signal(int signal, Handler handler) {
  return SetHandler(next_signal, signal, handler);
}

[[gnu::weak]] HARDENED_EXPORT Handler bsd_signal(int signal, Handler handler) {
  return SetHandler(next_bsd_signal, signal, handler);
}

[[gnu::weak]] HARDENED_EXPORT Handler ssignal(int signal, Handler handler) {
  return SetHandler(next_ssignal, signal, handler);
}

[[gnu::weak]] HARDENED_EXPORT Handler sysv_signal(int signal, Handler handler) {
  return SetHandler(next_sysv_signal, signal, handler);
}

[[gnu::weak]] HARDENED_EXPORT Handler __sysv_signal(int signal, Handler handler) {
  return SetHandler(next_libc_sysv_signal, signal, handler);
}

[[gnu::weak]] HARDENED_EXPORT Handler sigset(int signal, Handler handler) {
  return SetHandler(next_sigset, signal, handler);
}

}  // extern "C"

}  // namespace hardened::shim
