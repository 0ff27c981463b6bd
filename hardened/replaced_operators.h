// Whether the program replaced forms of operator new and delete, or the malloc below them: what the
// slow side of free must know about it.
//
// Threads: any.

#ifndef HARDENED_REPLACED_OPERATORS_H_
#define HARDENED_REPLACED_OPERATORS_H_

#include <atomic>
#include <cstdint>

#include "hardened/entry_point.h"

namespace hardened {

enum class Operators : uint8_t {
  kUndecided,
  kOurs,      // all that the forms of a family call is ours: they go to the heap at once
  kReplaced,  // every default form calls what the standard says, by its public name
};

// Of the forms without alignment. While it is not kOurs, no live allocation is of their kinds:
// what they are given then always comes to the slow side of free.
[[gnu::visibility("hidden")]] extern std::atomic<Operators> plain_operators;

// A socket for the shim: does what the form of operator delete `entry` does by default when the
// program replaced forms. Weak: without the shim nobody did.
// Returns: false when the heap is to end `pointer`.
bool EndByDefault(void* pointer, EntryPoint entry);

// Another: whether memory of malloc may come to delete, and memory of new to free, in a correct
// program, because somebody's operators are none of ours. Asked before a mismatch is reported.
// Weak: without the shim they never may.
bool MallocAndNewMayMix();

}  // namespace hardened

#endif  // HARDENED_REPLACED_OPERATORS_H_
