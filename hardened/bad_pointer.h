// What is wrong with a pointer that free, realloc or usable_size was given and that is not a live
// allocation: the facts, found by looking at the metadata only.

#ifndef HARDENED_BAD_POINTER_H_
#define HARDENED_BAD_POINTER_H_

#include <cstdint>

#include "hardened/core/run.h"
#include "hardened/prim/corruption_report.h"

namespace hardened {

// Whether the entry point was about to end the life of the allocation or only to use it.
enum class PointerUse : uint8_t { kFree, kUse };

// What is known about `address`: its slot or run, sizes, owner. The kind says what is wrong with it
// as a pointer to a live allocation, and means nothing when nothing is.
prim::CorruptionReport DescribeAddress(uintptr_t address, const char* found_by);

// The run in whose span `address` lies, guards included; null when there is none.
const core::Run* FindRun(uintptr_t address);

// The report about `address`, which `found_by` was given. Reads metadata, never the heap; takes no
// lock. Requires: no live allocation starts at `address`.
prim::CorruptionReport ExplainBadPointer(uintptr_t address, PointerUse use, const char* found_by);

// Reports it. Returns when the policy lets the program go on (events.h). The caller that is meant
// by default is that of the function which reports.
[[gnu::cold, gnu::noinline]] void ReportBadPointer(
    const void* pointer, PointerUse use, const char* found_by,
    const void* caller = __builtin_return_address(0));

}  // namespace hardened

#endif  // HARDENED_BAD_POINTER_H_
