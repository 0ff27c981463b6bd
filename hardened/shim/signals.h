// The interposed sigaction() and its family.

#ifndef HARDENED_SHIM_SIGNALS_H_
#define HARDENED_SHIM_SIGNALS_H_

namespace hardened::shim {

// Finds the definitions behind ours, while the dynamic linker may be asked: sigaction() is to be
// safe in signal handlers.
void FindSignalFunctions();

}  // namespace hardened::shim

#endif  // HARDENED_SHIM_SIGNALS_H_
