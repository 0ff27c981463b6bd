// Sealed: a value that is written at start-up and then made read-only by the kernel.
//
// Those of the library lie in one section (HARDENED_SEALED_TOGETHER), so that two system calls are
// enough for all of them: each is settled when it is known, and when all are, SealSettled().
//
// The value owns whole pages, so that nothing else is protected with it, and is
// constant-initialised in static storage. The pages it does not touch cost address space only. A
// process must not unmap the library that holds one (link with -z nodelete): a sealed mapping
// cannot go.
//
// Threads: writing, settling and sealing from one thread, before others read; reading from any.

#ifndef HARDENED_PRIM_SEALED_H_
#define HARDENED_PRIM_SEALED_H_

#include <cstddef>
#include <cstdint>

#include "hardened/prim/check.h"

namespace hardened::prim {

enum class SealResult : uint8_t {
  kUnprotected,  // the kernel refused or the page size is unknown to us: writable all along
  kReadOnly,     // mprotect; the kernel has no mseal(2) (Linux 6.10), or a filter may kill for it
  kSealed,       // read-only, and not even mprotect can undo it
};

// Protects `size` bytes from `start`, both multiples of kSealAlignment. Keeps errno.
SealResult SealPages(void* start, size_t size);

// Of a definition: a Sealed value that SealSettled() protects. The section holds nothing else.
#define HARDENED_SEALED_TOGETHER [[gnu::section("hardened_sealed")]]

// Protects the values of the section. Requires: all of them are settled that are ever written.
SealResult SealSettled();

// The largest page size that the platform's loader aligns static data to.
#if defined(__x86_64__)
inline constexpr size_t kSealAlignment = 4096;
#else
inline constexpr size_t kSealAlignment = 65536;
#endif

// Only for variables of static storage duration, declared constinit. T needs a constexpr default
// constructor; all zero keeps it in .bss.
template <typename T>
class alignas(kSealAlignment) Sealed {
 public:
  constexpr Sealed() = default;
  Sealed(const Sealed&) = delete;
  Sealed& operator=(const Sealed&) = delete;

  // Requires: neither Settle() nor Seal() was called.
  T& Writable() {
    HARDENED_CHECK(!settled_);
    return value_;
  }

  const T& operator*() const { return value_; }
  const T* operator->() const { return &value_; }
  // Whether the value is final.
  bool settled() const { return settled_; }

  // The value is final. Requires: not called before.
  void Settle() {
    HARDENED_CHECK(!settled_);
    settled_ = true;
  }
  // Settles the value and makes it read-only by itself.
  SealResult Seal() {
    Settle();
    return SealPages(this, sizeof(*this));
  }

 private:
  T value_{};
  // Lies on the pages it speaks of: an attacker cannot clear it either.
  bool settled_ = false;
};

}  // namespace hardened::prim

#endif  // HARDENED_PRIM_SEALED_H_
