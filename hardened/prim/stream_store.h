// StreamStore: random streams on pages that the child of any fork finds zero.
//
// Also of clone() and other forks that run no handlers: parent and child never draw the same (see
// RandomStream). Where the kernel cannot wipe, streams are copied like other memory, and the
// handlers of an ordinary fork have to seed them anew.
//
// Pages come in steps that double, each with a page without access on both sides: few mappings
// however many streams there are. No stream is ever given back.
//
// Threads: external.

#ifndef HARDENED_PRIM_STREAM_STORE_H_
#define HARDENED_PRIM_STREAM_STORE_H_

#include <cstddef>

#include "hardened/prim/random_stream.h"

namespace hardened::prim {

class StreamStore {
 public:
  constexpr StreamStore() = default;
  StreamStore(const StreamStore&) = delete;
  StreamStore& operator=(const StreamStore&) = delete;

  // The first step. 481 streams: hardly a process asks for more, which may happen in a sandbox that
  // denies it.
  static constexpr size_t kFirstBytes = 256 << 10;

  // Takes streams from these pages first: as MakeSecretPages() makes them.
  void Adopt(void* pages, size_t bytes);

  // A stream that is not seeded. Null when there is no memory for it.
  RandomStream* Take();

 private:
  char* next_ = nullptr;
  size_t left_ = 0;
  size_t step_ = kFirstBytes;
};

}  // namespace hardened::prim

#endif  // HARDENED_PRIM_STREAM_STORE_H_
