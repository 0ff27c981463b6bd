// What the forms of operator new and delete do by default, as [new.delete] says: every form calls
// another one, and the last ones malloc and free, by their public names. Programs that replaced one
// of them count on it.
//
// Where nothing was replaced the forms go to the heap at once, which nobody can tell apart.
//
// Threads: any.

#ifndef HARDENED_SHIM_DEFAULT_OPERATORS_H_
#define HARDENED_SHIM_DEFAULT_OPERATORS_H_

#include <cstddef>

#include "hardened/replaced_operators.h"

namespace hardened::shim {

// Whether all that the forms without alignment call is ours. Never kUndecided: the first call
// decides for good.
Operators PlainOperators();

// operator new and new[] where it is not: they ask the new handler and throw.
void* NewByDefault(size_t bytes);
void* NewArrayByDefault(size_t bytes);

}  // namespace hardened::shim

#endif  // HARDENED_SHIM_DEFAULT_OPERATORS_H_
