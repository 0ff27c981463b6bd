// racy_look: for functions that look at what other threads may be writing.
//
// HARDENED_RACY_LOOK stands in front of one that is defined in a header, for fast paths. What it
// returns is a hint: who gets it looks again with more care before it acts. ThreadSanitizer cannot
// know that, and has to find a function of its own that it leaves alone.

#ifndef HARDENED_PRIM_RACY_LOOK_H_
#define HARDENED_PRIM_RACY_LOOK_H_

#include "absl/base/attributes.h"
#include "absl/base/config.h"

#if defined(ABSL_HAVE_THREAD_SANITIZER)
#define HARDENED_RACY_LOOK __attribute__((noinline, no_sanitize("thread"))) inline
#else
#define HARDENED_RACY_LOOK ABSL_ATTRIBUTE_ALWAYS_INLINE inline
#endif

#endif  // HARDENED_PRIM_RACY_LOOK_H_
