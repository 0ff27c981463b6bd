// Looks for definitions in what is loaded, whoever may see them: libraries that were opened
// locally, or bound to their own functions (-Bsymbolic), have operators that no symbol table of
// ours knows.
//
// Threads: any. Allocates nothing; takes the loader's lock, so not with one of ours held.

#ifndef HARDENED_SHIM_LOADED_OBJECTS_H_
#define HARDENED_SHIM_LOADED_OBJECTS_H_

namespace hardened::shim {

// Whether an object other than this one and the C++ runtime defines a form of operator new or
// delete: memory of malloc may then come to delete, and memory of new to free, in correct programs.
bool OthersHaveOperators();

// Where the first object that defines `name` has it; null when none does.
const void* FindDefinition(const char* name);

}  // namespace hardened::shim

#endif  // HARDENED_SHIM_LOADED_OBJECTS_H_
