// Calls: each function that libhardened_bounds.so bounds, under one signature.

#ifndef TESTS_BOUNDS_CALLS_H_
#define TESTS_BOUNDS_CALLS_H_

#include <cstddef>
#include <span>

struct Call {
  const char* name;      // of the symbol
  const char* reported;  // as which reports know it
  size_t unit;           // bytes of a character
  // Writes exactly `bytes`, a multiple of unit, to `to`: its string and a NUL, where it writes one.
  // `from` is a string of so many bytes with its NUL.
  void (*write)(void* to, void* from, size_t bytes);
  // Reads exactly `bytes` of `from`, which has no NUL there, and writes no more than that to `to`.
  // Null: the call reads nothing, or stops at a NUL alone.
  void (*read)(void* to, void* from, size_t bytes);
  // Reads `from` up to its NUL. Null: the call knows its size.
  void (*read_string)(void* to, void* from);
};

std::span<const Call> AllCalls();

#endif  // TESTS_BOUNDS_CALLS_H_
