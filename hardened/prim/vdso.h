// vdso: the clock that the kernel maps into every process.
//
// libc's clock_gettime() is a name that a preloaded library may have taken, and finding libc's own
// takes dlsym(). So the symbol table of the vDSO is read here: vdso(7), and the ELF specification
// (program headers, dynamic section, DT_HASH or DT_GNU_HASH).
//
// Threads, signals: safe from any.

#ifndef HARDENED_PRIM_VDSO_H_
#define HARDENED_PRIM_VDSO_H_

#include <time.h>

namespace hardened::prim {

using ClockFunction = int(clockid_t, timespec*);

// The vDSO's clock_gettime: returns 0 or minus the number of an error. Null where there is none,
// such as under valgrind.
ClockFunction* VdsoClock();

// The function of that name in the ELF image at `image`, as it lies in memory. Null when it has
// none or is not understood.
void* FindInImage(const void* image, const char* name);

}  // namespace hardened::prim

#endif  // HARDENED_PRIM_VDSO_H_
