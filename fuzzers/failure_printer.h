// PrintOnFailure: what a fuzzer did, written to stderr when it dies of a signal.
//
// The handlers are put on top of those of the engine and the sanitizer and pass the signal on.

#ifndef FUZZERS_FAILURE_PRINTER_H_
#define FUZZERS_FAILURE_PRINTER_H_

namespace hardened::fuzzers {

// From the first call on, `print` runs once when the process dies of SIGABRT, SIGSEGV, SIGBUS,
// SIGFPE, SIGILL or SIGTRAP. To be called from LLVMFuzzerTestOneInput: engines install theirs
// before the first input. Later calls have no effect.
void PrintOnFailure(void (*print)());

// In a forked child: the default action for these signals and SIGALRM, which engines use.
void RestoreDefaultActions();

}  // namespace hardened::fuzzers

#endif  // FUZZERS_FAILURE_PRINTER_H_
