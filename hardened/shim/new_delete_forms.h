// Every replaceable form of operator new and delete. Included once in a library, by a file that
// says with HARDENED_FORM how they are defined.

#ifndef HARDENED_SHIM_NEW_DELETE_FORMS_H_
#define HARDENED_SHIM_NEW_DELETE_FORMS_H_

#include <cstddef>
#include <new>

#include "hardened/shim/active_heap.h"
#include "hardened/shim/new_delete_default.h"
#include "hardened/shim/null_if_thrown.h"

namespace shim = hardened::shim;
using hardened::EntryPoint;
using hardened::core::AllocationKind;
using shim::ActiveHeap;

constexpr AllocationKind kOne = AllocationKind::kNew;
constexpr AllocationKind kArray = AllocationKind::kNewArray;
constexpr AllocationKind kAlignedOne = AllocationKind::kAlignedNew;
constexpr AllocationKind kAlignedArray = AllocationKind::kAlignedNewArray;

// ---- without alignment

HARDENED_FORM void* operator new(size_t bytes) { return shim::New<ActiveHeap>(kOne, bytes); }
HARDENED_FORM void* operator new[](size_t bytes) { return shim::New<ActiveHeap>(kArray, bytes); }
HARDENED_FORM void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  if (shim::PlainAreOurs()) return shim::NewOfNothrow(kOne, bytes);
  return shim::NullIfThrown([=] { return ::operator new(bytes); });
}
HARDENED_FORM void* operator new[](size_t bytes, const std::nothrow_t&) noexcept {
  if (shim::PlainAreOurs()) return shim::NewOfNothrow(kArray, bytes);
  return shim::NullIfThrown([=] { return ::operator new[](bytes); });
}

HARDENED_FORM void operator delete(void* p) noexcept { ActiveHeap::Free(p, EntryPoint::kDelete); }
HARDENED_FORM void operator delete[](void* p) noexcept {
  ActiveHeap::Free(p, EntryPoint::kDeleteArray);
}
HARDENED_FORM void operator delete(void* p, size_t bytes) noexcept {
  ActiveHeap::FreeSized(p, bytes, EntryPoint::kSizedDelete);
}
HARDENED_FORM void operator delete[](void* p, size_t bytes) noexcept {
  ActiveHeap::FreeSized(p, bytes, EntryPoint::kSizedDeleteArray);
}
HARDENED_FORM void operator delete(void* p, const std::nothrow_t&) noexcept {
  ::operator delete(p);
}
HARDENED_FORM void operator delete[](void* p, const std::nothrow_t&) noexcept {
  ::operator delete[](p);
}

// ---- with alignment

HARDENED_FORM void* operator new(size_t bytes, std::align_val_t alignment) {
  return shim::NewOf(kAlignedOne, bytes, static_cast<size_t>(alignment));
}
HARDENED_FORM void* operator new[](size_t bytes, std::align_val_t alignment) {
  if (!shim::AlignedAreOurs()) return ::operator new(bytes, alignment);
  return shim::NewOf(kAlignedArray, bytes, static_cast<size_t>(alignment));
}
HARDENED_FORM void* operator new(size_t bytes, std::align_val_t alignment,
                                 const std::nothrow_t&) noexcept {
  if (shim::AlignedAreOurs()) {
    return shim::NewOfNothrow(kAlignedOne, bytes, static_cast<size_t>(alignment));
  }
  return shim::NullIfThrown([=] { return ::operator new(bytes, alignment); });
}
HARDENED_FORM void* operator new[](size_t bytes, std::align_val_t alignment,
                                   const std::nothrow_t&) noexcept {
  if (shim::AlignedAreOurs()) {
    return shim::NewOfNothrow(kAlignedArray, bytes, static_cast<size_t>(alignment));
  }
  return shim::NullIfThrown([=] { return ::operator new[](bytes, alignment); });
}

inline void EndAligned(void* p, std::align_val_t alignment, EntryPoint entry) noexcept {
  ActiveHeap::CheckStatedAlignment(p, static_cast<size_t>(alignment), entry);
  ActiveHeap::Free(p, entry);
}
inline void EndAligned(void* p, size_t bytes, std::align_val_t alignment,
                       EntryPoint entry) noexcept {
  ActiveHeap::CheckStatedAlignment(p, static_cast<size_t>(alignment), entry);
  ActiveHeap::FreeSized(p, bytes, entry);
}

HARDENED_FORM void operator delete(void* p, std::align_val_t alignment) noexcept {
  if (!shim::AlignedAreOurs()) return free(p);
  EndAligned(p, alignment, EntryPoint::kAlignedDelete);
}
HARDENED_FORM void operator delete[](void* p, std::align_val_t alignment) noexcept {
  if (!shim::AlignedAreOurs()) return ::operator delete(p, alignment);
  EndAligned(p, alignment, EntryPoint::kAlignedDeleteArray);
}
HARDENED_FORM void operator delete(void* p, size_t bytes, std::align_val_t alignment) noexcept {
  if (!shim::AlignedAreOurs()) return ::operator delete(p, alignment);
  EndAligned(p, bytes, alignment, EntryPoint::kAlignedDelete);
}
HARDENED_FORM void operator delete[](void* p, size_t bytes, std::align_val_t alignment) noexcept {
  if (!shim::AlignedAreOurs()) return ::operator delete[](p, alignment);
  EndAligned(p, bytes, alignment, EntryPoint::kAlignedDeleteArray);
}
HARDENED_FORM void operator delete(void* p, std::align_val_t alignment,
                                   const std::nothrow_t&) noexcept {
  ::operator delete(p, alignment);
}
HARDENED_FORM void operator delete[](void* p, std::align_val_t alignment,
                                     const std::nothrow_t&) noexcept {
  ::operator delete[](p, alignment);
}

// ---- their second names, by which new_delete_default.cc knows them

// Not every compiler knows the warnings that the others have about it.
#pragma GCC diagnostic ignored "-Wpragmas"
#pragma GCC diagnostic ignored "-Wunknown-warning-option"
#pragma GCC diagnostic ignored "-Wattribute-alias"
#pragma GCC diagnostic ignored "-Wmissing-attributes"
#define HARDENED_OWN(name) \
  extern "C" [[gnu::alias(#name)]] void Own##name() __asm__("hardened_own" #name);
HARDENED_PLAIN_FORMS(HARDENED_OWN)
HARDENED_ALIGNED_FORMS(HARDENED_OWN)
#undef HARDENED_OWN

#endif  // HARDENED_SHIM_NEW_DELETE_FORMS_H_
