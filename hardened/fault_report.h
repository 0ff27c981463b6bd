// Explains faults on the heap's guards.
//
// A SIGSEGV handler, installed with the first allocation. A fault in the heap's address space is
// reported: what lies there, who allocated and freed it as far as known. Then, and for all other
// faults, the handler that was there before runs; without one the process dies of SIGSEGV at the
// faulting instruction. A program that installs a handler of its own later replaces this one.
//
// Signals: the handler takes no lock and allocates nothing.

#ifndef HARDENED_FAULT_REPORT_H_
#define HARDENED_FAULT_REPORT_H_

#include <cstdint>

#include "hardened/prim/corruption_report.h"

namespace hardened {

void InstallFaultHandler();

// The report about an access to `address` that faulted. Requires: it is memory of the heap.
prim::CorruptionReport ExplainFault(uintptr_t address);

}  // namespace hardened

#endif  // HARDENED_FAULT_REPORT_H_
