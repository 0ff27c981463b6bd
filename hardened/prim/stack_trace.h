// stack_trace: return addresses of the calling thread, by frame pointers.
//
// Only frames compiled with -fno-omit-frame-pointer are seen; others are skipped or end the walk.
// The frame pointer of foreign code may be any number, so nothing is read before three checks:
// each frame lies above the one before, within a bound and within the stack where its end is known,
// aligned, and on a page that the kernel can read.
//
// Threads: any. Signals: safe, on an alternate stack too. Allocates nothing, keeps errno.

#ifndef HARDENED_PRIM_STACK_TRACE_H_
#define HARDENED_PRIM_STACK_TRACE_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace hardened::prim {

// Fills `frames` with return addresses, innermost (the caller's position) first.
// Returns: how many. Never faults. About 100 ns for each page of stack walked.
[[gnu::noinline]] size_t CaptureStack(std::span<uintptr_t> frames);

// Whether the word at `address` can be read, asked of the kernel. False where the kernel (or an
// emulator) does not answer reliably. Keeps errno.
bool IsReadableWord(uintptr_t address);

}  // namespace hardened::prim

#endif  // HARDENED_PRIM_STACK_TRACE_H_
