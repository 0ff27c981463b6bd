// EntryPoint: the call by which a program uses a pointer, and which allocations it may end.

#ifndef HARDENED_ENTRY_POINT_H_
#define HARDENED_ENTRY_POINT_H_

#include <cstdint>

#include "hardened/core/slot_record.h"

namespace hardened {

enum class EntryPoint : uint8_t {
  kFree,
  kFreeSized,
  kFreeAlignedSized,
  kDelete,
  kDeleteArray,
  kSizedDelete,
  kSizedDeleteArray,
  kAlignedDelete,
  kAlignedDeleteArray,
  kRealloc,
  kUsableSize,
};

struct EntryPointFacts {
  const char* name;
  uint8_t accepts;  // bit k: allocations of kind k
  bool frees;       // a dead pointer is a double free; else it is a stale pointer
};

constexpr uint8_t KindBit(core::AllocationKind kind) {
  return static_cast<uint8_t>(1u << static_cast<unsigned>(kind));
}

constexpr EntryPointFacts FactsOf(EntryPoint entry) {
  using core::AllocationKind;
  constexpr uint8_t kMalloc = KindBit(AllocationKind::kMalloc);
  constexpr uint8_t kAligned = KindBit(AllocationKind::kAligned);
  constexpr uint8_t kAny = 0x7e;
  switch (entry) {
    case EntryPoint::kFree:
      return {"free", kMalloc | kAligned, true};
    case EntryPoint::kFreeSized:
      return {"free_sized", kMalloc, true};
    case EntryPoint::kFreeAlignedSized:
      return {"free_aligned_sized", kAligned, true};
    case EntryPoint::kDelete:
    case EntryPoint::kSizedDelete:
      return {"operator delete", KindBit(AllocationKind::kNew), true};
    case EntryPoint::kDeleteArray:
    case EntryPoint::kSizedDeleteArray:
      return {"operator delete[]", KindBit(AllocationKind::kNewArray), true};
    case EntryPoint::kAlignedDelete:
      return {"operator delete", KindBit(AllocationKind::kAlignedNew), true};
    case EntryPoint::kAlignedDeleteArray:
      return {"operator delete[]", KindBit(AllocationKind::kAlignedNewArray), true};
    case EntryPoint::kRealloc:
      return {"realloc", kMalloc | kAligned, false};
    case EntryPoint::kUsableSize:
      return {"malloc_usable_size", kAny, false};
  }
  return {"", 0, false};
}

// The forms of operator delete without alignment.
constexpr bool IsPlainDelete(EntryPoint entry) {
  return entry >= EntryPoint::kDelete && entry <= EntryPoint::kSizedDeleteArray;
}

// Whether an allocation of malloc and its like is ended by delete, or one of new by free.
constexpr bool MixesMallocAndNew(core::AllocationKind kind, EntryPoint entry) {
  const bool made_by_new =
      kind != core::AllocationKind::kMalloc && kind != core::AllocationKind::kAligned;
  return made_by_new != (entry >= EntryPoint::kDelete && entry <= EntryPoint::kAlignedDeleteArray);
}

// What the program called to make an allocation of this kind.
constexpr const char* MakerOf(core::AllocationKind kind) {
  using core::AllocationKind;
  switch (kind) {
    case AllocationKind::kMalloc:
      return "malloc";
    case AllocationKind::kAligned:
      return "aligned_alloc";
    case AllocationKind::kNew:
      return "operator new";
    case AllocationKind::kNewArray:
      return "operator new[]";
    case AllocationKind::kAlignedNew:
      return "aligned operator new";
    case AllocationKind::kAlignedNewArray:
      return "aligned operator new[]";
  }
  return "";
}

}  // namespace hardened

#endif  // HARDENED_ENTRY_POINT_H_
