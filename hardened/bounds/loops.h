// What memmove and memset do, as plain loops: for the time before libc's can be called.

#ifndef HARDENED_BOUNDS_LOOPS_H_
#define HARDENED_BOUNDS_LOOPS_H_

#include <cstddef>
#include <cstdint>

namespace hardened::bounds {

// Keeps the compiler from making a call of memmove or memset of the loop around it.
inline void StayALoop() { asm volatile(""); }

inline void* MoveByLoop(void* to, const void* from, size_t bytes) {
  char* target = static_cast<char*>(to);
  const char* source = static_cast<const char*>(from);
  // Forwards, unless that would write over what is still to be read.
  if (reinterpret_cast<uintptr_t>(to) - reinterpret_cast<uintptr_t>(from) >= bytes) {
    for (size_t i = 0; i < bytes; ++i) {
      target[i] = source[i];
      StayALoop();
    }
  } else {
    for (size_t i = bytes; i > 0; --i) {
      target[i - 1] = source[i - 1];
      StayALoop();
    }
  }
  return to;
}

template <class Char>
Char* FillByLoop(Char* to, Char value, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    to[i] = value;
    StayALoop();
  }
  return to;
}

}  // namespace hardened::bounds

#endif  // HARDENED_BOUNDS_LOOPS_H_
