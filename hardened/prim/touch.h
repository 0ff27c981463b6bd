// touch: makes the kernel give memory to a page before it is read.
//
// Reading a page that was never written maps the kernel's zero page; the write after that faults
// once more and flushes the translations of all threads. One instruction that reads and writes
// faults once, for writing.
//
// Threads: a byte that no other thread may write.

#ifndef HARDENED_PRIM_TOUCH_H_
#define HARDENED_PRIM_TOUCH_H_

#include "absl/base/attributes.h"

namespace hardened::prim {

ABSL_ATTRIBUTE_ALWAYS_INLINE inline void TouchForWriting(unsigned char* byte) {
#if defined(__x86_64__)
  asm volatile("orb $0, %0" : "+m"(*byte));
#else
  __atomic_fetch_or(byte, 0, __ATOMIC_RELAXED);
#endif
}

}  // namespace hardened::prim

#endif  // HARDENED_PRIM_TOUCH_H_
