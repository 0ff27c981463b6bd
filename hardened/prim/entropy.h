// entropy: unpredictable bytes from the kernel, whatever the sandbox.
//
// Threads: safe from any thread; allocates nothing, takes no lock, keeps errno.

#ifndef HARDENED_PRIM_ENTROPY_H_
#define HARDENED_PRIM_ENTROPY_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace hardened::prim {

// Fills `out`. Never fails and never blocks. Asks in this order:
//   1. getrandom(2), without waiting for the pool early in boot;
//   2. /dev/urandom, when it is that device and not a file of this name;
//   3. a mix through ChaCha20 of AT_RANDOM (16 random bytes from the kernel), both clocks, clock
//      jitter, addresses, process and thread id, and a counter. At least as unpredictable as
//      AT_RANDOM, which other parts of the process may know (stack protector, pointer guard).
void FillEntropy(std::span<std::byte> out);

// How many calls of FillEntropy() in this process ended in step 2 or 3.
uint64_t EntropyFallbacks();

}  // namespace hardened::prim

#endif  // HARDENED_PRIM_ENTROPY_H_
