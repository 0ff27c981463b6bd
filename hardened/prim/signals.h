// signals: actions, masks and sending, asked of the kernel.
//
// The functions of libc for this have names that other libraries take (libjsig, for one), and one
// of them is what hardened/shim/signals.cc itself takes.
//
// Threads: any. Signals: safe. errno is left as it was.

#ifndef HARDENED_PRIM_SIGNALS_H_
#define HARDENED_PRIM_SIGNALS_H_

#include <signal.h>

#include <cstdint>

namespace hardened::prim {

// Bit n - 1: signal n. As the kernel has it.
using SignalSet = uint64_t;
constexpr SignalSet SetOf(int signal) { return SignalSet{1} << (signal - 1); }

// What the kernel does about a signal. The default: SIG_DFL.
struct SignalAction {
  uintptr_t handler = 0;  // SIG_DFL, SIG_IGN or a function
  unsigned long flags = 0;
  SignalSet mask = 0;  // blocked besides while the handler runs
};

// Returns: 0, or minus the number of an error. Of `flags` SA_RESTORER is not told.
long GetSignalAction(int signal, SignalAction* out);
long SetSignalAction(int signal, const SignalAction& action);

// Blocks `signals` in this thread. Returns: what was blocked before.
SignalSet BlockSignals(SignalSet signals);
void SetBlockedSignals(SignalSet signals);
// Of those blocked, which wait for this thread or the process.
SignalSet PendingSignals();
// Takes one pending signal of the set away without waiting.
void TakePendingSignal(SignalSet signals);

// Sends `signal` to this very thread, with these facts where `info` is not null.
// Returns: whether it was sent.
bool SendToThisThread(int signal, const siginfo_t* info);

}  // namespace hardened::prim

#endif  // HARDENED_PRIM_SIGNALS_H_
