// Explains faults on the heap's guards.
//
// A SIGSEGV handler that stands where nobody else has one: it is installed with the first
// allocation, and by the interposed sigaction() and its kind (shim/signals.cc) whenever the program
// has set the default action, which is what they show in its place. An action that was there
// before, or comes later, is the kernel's to run; this one is then gone. Nothing about that is kept
// in memory, which a child of vfork or clone() would share: the kernel is asked.
//
// A fault on a guard is explained, once in a process: what lies there, who allocated and freed it
// as far as known. Then this and every other SIGSEGV ends the process as it would without us: a
// fault happens again under the default action, a signal that somebody sent is sent on with its
// facts.
//
// Signals: the handler takes no lock and allocates nothing. SECURITY.md says how much stack it
// uses.

#ifndef HARDENED_FAULT_REPORT_H_
#define HARDENED_FAULT_REPORT_H_

#include <signal.h>

#include <cstdint>

#include "hardened/prim/corruption_report.h"
#include "hardened/prim/signals.h"

namespace hardened {

// Installs the handler where faults are to be explained and the action is the default one.
void InstallFaultHandler();

// Sets the default action where the handler is installed.
void RemoveFaultHandler();

// Whether `action` is that of the handler.
bool IsFaultHandler(const prim::SignalAction& action);

// The action that the handler stands for, or `action` itself.
prim::SignalAction WithoutFaultHandler(const prim::SignalAction& action);

// Explains the fault of a SIGSEGV, if it is one on a guard of the heap that was not explained yet.
// A thread that comes while another one explains waits for it, a second at most.
void ExplainFault(const siginfo_t& info);

}  // namespace hardened

#endif  // HARDENED_FAULT_REPORT_H_
