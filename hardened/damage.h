// Reports about damaged memory and mismatched calls, with the facts of the slot or run concerned.
//
// Threads: any; metadata is read without a lock.

#ifndef HARDENED_DAMAGE_H_
#define HARDENED_DAMAGE_H_

#include <cstddef>
#include <cstdint>

#include "hardened/core/slot_record.h"
#include "hardened/entry_point.h"
#include "hardened/features.h"

namespace hardened {

// The canary behind the allocation of `requested` bytes at `start` has changed; `damage` is the
// first changed byte.
[[noreturn, gnu::cold, gnu::noinline]] void ReportCanary(uintptr_t start, uintptr_t damage,
                                                         size_t requested, const char* found_by);

// Free memory in the slot [slot, slot + size) is not zero any more.
[[noreturn, gnu::cold, gnu::noinline]] void ReportWriteAfterFree(const void* slot, size_t size,
                                                                 const char* found_by);

// The allocation at `pointer`, of `kind`, is ended by `entry`, which does not accept it. Returns
// when `action` lets the program go on.
[[gnu::cold, gnu::noinline]] void HandleKindMismatch(const void* pointer, core::AllocationKind kind,
                                                     EntryPoint entry, MismatchAction action);

// The allocation at `pointer`, of `requested` bytes, is ended as one of `stated` bytes.
[[gnu::cold, gnu::noinline]] void HandleSizeMismatch(const void* pointer, size_t requested,
                                                     size_t stated, EntryPoint entry,
                                                     MismatchAction action);

// Mismatches of both kinds in this process, reported or not.
uint64_t MismatchCount();

}  // namespace hardened

#endif  // HARDENED_DAMAGE_H_
