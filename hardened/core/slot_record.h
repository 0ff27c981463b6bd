// SlotRecord: the out-of-line truth about one slot, in 16 bits.
//
//   bits 0..2   kind of allocation; 0: not live; 7: freed by another thread, not yet collected
//   bits 3..15  live: slack, the bytes of the slot beyond the request (0..8191)
//               not live: a DeadState
//
// The owner of the slab writes records with plain stores. Any other thread claims a live slot for
// freeing by compare-and-swap to kPendingRecord. When both do it at once, one of the two marks is
// lost, and the collection finds a slot in its batch whose record is not pending: a double free
// that raced is seen there at the latest, and the slot is never handed out twice.
//
// Threads: relaxed; the order of contents is carried by the remote queue (remote_frees.h).

#ifndef HARDENED_CORE_SLOT_RECORD_H_
#define HARDENED_CORE_SLOT_RECORD_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace hardened::core {

enum class AllocationKind : uint8_t {
  kMalloc = 1,
  kAligned = 2,  // memalign and its family
  kNew = 3,
  kNewArray = 4,
  kAlignedNew = 5,
  kAlignedNewArray = 6,
};

using RecordValue = uint16_t;
using SlotRecord = std::atomic<RecordValue>;
static_assert(sizeof(SlotRecord) == 2);

inline constexpr RecordValue kKindMask = 7;
inline constexpr unsigned kSlackShift = 3;
inline constexpr size_t kMaxSlack = 0xffff >> kSlackShift;

// Records of slots that are not live. The two that are zero differ in one bit: one comparison.
inline constexpr RecordValue kUnusedZeroRecord = 0 << kSlackShift;   // never handed out, all zero
inline constexpr RecordValue kFreedZeroRecord = 1 << kSlackShift;    // freed, all zero
inline constexpr RecordValue kUnusedDirtyRecord = 2 << kSlackShift;  // never handed out
inline constexpr RecordValue kFreedRecord = 3 << kSlackShift;
inline constexpr RecordValue kPendingRecord = 7;

constexpr RecordValue LiveRecord(AllocationKind kind, size_t slack) {
  return static_cast<RecordValue>(static_cast<unsigned>(kind) | slack << kSlackShift);
}
constexpr bool IsLive(RecordValue record) {
  const unsigned kind = record & kKindMask;
  return kind != 0 && kind != kPendingRecord;
}
constexpr AllocationKind KindOf(RecordValue record) {
  return static_cast<AllocationKind>(record & kKindMask);
}
constexpr size_t SlackOf(RecordValue record) { return size_t{record} >> kSlackShift; }
constexpr bool NeverHandedOut(RecordValue record) {
  return record == kUnusedZeroRecord || record == kUnusedDirtyRecord;
}
constexpr bool IsKnownZero(RecordValue record) {
  return record == kUnusedZeroRecord || record == kFreedZeroRecord;
}

// A record and the 16 bits beside it as one word: where those are a life (of slots with records of
// 4 bytes, and of runs), a word never comes again for another allocation, or once in 4,096 times.
using LifeWord = uint32_t;

inline LifeWord WordOf(RecordValue record, uint16_t life) {
  const uint16_t parts[2] = {record, life};
  LifeWord word;
  __builtin_memcpy(&word, parts, sizeof(word));
  return word;
}
inline RecordValue RecordIn(LifeWord word) {
  RecordValue record;
  __builtin_memcpy(&record, &word, sizeof(record));
  return record;
}
inline uint16_t LifeIn(LifeWord word) {
  uint16_t parts[2];
  __builtin_memcpy(parts, &word, sizeof(word));
  return parts[1];
}

// Both of a record with a life beside it.
typedef LifeWord LifeWordAccess __attribute__((may_alias));
inline LifeWord LoadWithLife(const SlotRecord& record) {
  return __atomic_load_n(reinterpret_cast<const LifeWordAccess*>(&record), __ATOMIC_RELAXED);
}
// Claims it if it is still what `seen` says, with the same life: not another allocation that came
// in its place. Returns: whether it was.
inline bool ClaimWithLife(SlotRecord& record, LifeWord seen) {
  return __atomic_compare_exchange_n(reinterpret_cast<LifeWordAccess*>(&record), &seen,
                                     WordOf(kPendingRecord, LifeIn(seen)), /*weak=*/false,
                                     __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

}  // namespace hardened::core

#endif  // HARDENED_CORE_SLOT_RECORD_H_
