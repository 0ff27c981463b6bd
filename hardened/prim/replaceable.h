// Replaceable: an object with a lock that the child of a fork replaces by an empty one when
// somebody was changing it.
//
// Not emptied in place: what was changing it may be the forking thread itself, below a signal
// handler, and goes on in the child with the object that it knows.
//
// Threads: those of T, whose lock() guards all but what T says.

#ifndef HARDENED_PRIM_REPLACEABLE_H_
#define HARDENED_PRIM_REPLACEABLE_H_

#include <atomic>
#include <cstdint>
#include <new>

#include "hardened/prim/lock.h"

namespace hardened::prim {

template <typename T>
class Replaceable {
 public:
  constexpr Replaceable() = default;
  Replaceable(const Replaceable&) = delete;
  Replaceable& operator=(const Replaceable&) = delete;

  T& operator*() { return objects_[current_.load(std::memory_order_relaxed)]; }
  T* operator->() { return &**this; }

  // Around a fork (hardened/fork.h).
  void FreezeForFork() { (**this).lock().Freeze(); }
  void ThawAfterFork() { (**this).lock().Thaw(); }
  void MendInChild() {
    if ((**this).lock().ForkReset()) return;
    // A second time in a row of children the first one is free again.
    const uint8_t next = current_.load(std::memory_order_relaxed) ^ 1;
    ::new (&objects_[next]) T;
    current_.store(next, std::memory_order_relaxed);
  }

 private:
  T objects_[2] = {};
  std::atomic<uint8_t> current_{0};
};

}  // namespace hardened::prim

#endif  // HARDENED_PRIM_REPLACEABLE_H_
