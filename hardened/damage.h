// Reports about damaged memory and mismatched calls, with the facts of the slot or run concerned.
// All of them return when the policy lets the program go on (events.h). The caller that is meant by
// default is that of the function which reports: the slow sides of malloc and free are reached by
// jumps, so that it is the program's.
//
// Threads: any; metadata is read without a lock.

#ifndef HARDENED_DAMAGE_H_
#define HARDENED_DAMAGE_H_

#include <cstddef>
#include <cstdint>

#include "hardened/core/slot_record.h"
#include "hardened/entry_point.h"

namespace hardened {

// The canary behind the allocation of `requested` bytes at `start` has changed; `damage` is the
// first changed byte.
[[gnu::cold, gnu::noinline]] void ReportCanary(uintptr_t start, uintptr_t damage, size_t requested,
                                               const char* found_by,
                                               const void* caller = __builtin_return_address(0));

// Free memory in the slot [slot, slot + size) is not zero any more.
[[gnu::cold, gnu::noinline]] void ReportWriteAfterFree(
    const void* slot, size_t size, const char* found_by,
    const void* caller = __builtin_return_address(0));

// The allocation at `pointer`, of `kind`, is ended by `entry`, which does not accept it.
[[gnu::cold, gnu::noinline]] void ReportKindMismatch(
    const void* pointer, core::AllocationKind kind, EntryPoint entry,
    const void* caller = __builtin_return_address(0));

// The allocation at `pointer`, of `requested` bytes, is ended as one of `stated` bytes.
[[gnu::cold, gnu::noinline]] void ReportSizeMismatch(
    const void* pointer, size_t requested, size_t stated, EntryPoint entry,
    const void* caller = __builtin_return_address(0));

// The allocation at `pointer`, of `requested` bytes, is ended as one aligned to `stated`.
[[gnu::cold, gnu::noinline]] void ReportAlignmentMismatch(
    const void* pointer, size_t requested, size_t stated, EntryPoint entry,
    const void* caller = __builtin_return_address(0));

}  // namespace hardened

#endif  // HARDENED_DAMAGE_H_
