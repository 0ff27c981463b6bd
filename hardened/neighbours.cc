#include "hardened/neighbours.h"

#include "hardened/damage.h"

namespace hardened {
namespace {

constexpr unsigned kRecordShift = kNeighbourRecordShift;
constexpr SlotCanary::Words kWords = kNeighbourWords;

__attribute__((no_sanitize("thread"))) void CheckFreeEnd(core::RecordValue record,
                                                         uintptr_t nearest, size_t bytes,
                                                         uintptr_t slot, size_t slot_size,
                                                         const char* found_by) {
  if (!core::IsKnownZero(record) || IsZero(reinterpret_cast<const void*>(nearest), bytes)) return;
  ReportWriteAfterFree(reinterpret_cast<const void*>(slot), slot_size, found_by);
}

}  // namespace

// These look at memory that other threads may write at the same time, and believe what they saw
// only when the record says that nobody did. ThreadSanitizer cannot know that.
__attribute__((no_sanitize("thread"))) void CheckLiveCanary(const core::SliceDescriptor& slice,
                                                            uint32_t index, uintptr_t address,
                                                            size_t slot_size,
                                                            const char* found_by) {
  core::SlotRecord& record = slice.RecordAt(index, kRecordShift);
  // Pairs with the release store of a realloc in place.
  const core::RecordValue before = record.load(std::memory_order_acquire);
  if (!core::IsLive(before)) return;
  const uint16_t life = (&record)[1].load(std::memory_order_relaxed);
  const uint64_t value = SlotCanary::Value(address, life);
  const size_t slack = core::SlackOf(before);
  if (SlotCanary::Intact(kWords, address, slot_size, slack, value)) return;
  // Before another look, which finds out whether what is wrong was read while it changed.
  if (SlotCanary::IntactByAnyKey(kWords, address, slot_size, slack, life)) return;
  const uintptr_t damage = SlotCanary::FirstDamage(kWords, address, slot_size, slack, value);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (record.load(std::memory_order_acquire) != before ||
      (&record)[1].load(std::memory_order_relaxed) != life ||
      SlotCanary::Intact(kWords, address, slot_size, slack, value)) {
    return;
  }
  ReportCanary(address, damage, slot_size - slack, found_by);
}

__attribute__((no_sanitize("thread"))) void CheckFreeSlot(const core::SliceDescriptor& slice,
                                                          uint32_t index, uintptr_t address,
                                                          size_t slot_size, const char* found_by) {
  core::SlotRecord& record = slice.RecordAt(index, kRecordShift);
  const void* slot = reinterpret_cast<const void*>(address);
  // Slots that were never handed out are left alone: a look would give them memory.
  if (record.load(std::memory_order_acquire) != core::kFreedZeroRecord) return;
  const uint16_t life = (&record)[1].load(std::memory_order_relaxed);
  if (IsZero(slot, slot_size)) return;
  // Where there is a sweep the record says so after the wipe only, and not any more before malloc
  // writes to the slot, which also gives it another life.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (record.load(std::memory_order_acquire) != core::kFreedZeroRecord ||
      (&record)[1].load(std::memory_order_relaxed) != life) {
    return;
  }
  ReportWriteAfterFree(slot, slot_size, found_by);
}

void CheckNeighbours(const core::SliceDescriptor& slice, uint32_t index, uintptr_t address,
                     size_t slot_size, const char* found_by) {
  const size_t bytes = slot_size < kNearest ? slot_size : kNearest;
  if (index > 0) {
    const uintptr_t left = address - slot_size;
    CheckLiveCanary(slice, index - 1, left, slot_size, found_by);
    // Pairs with the release store of who files a slot for its owner.
    CheckFreeEnd(slice.RecordAt(index - 1, kRecordShift).load(std::memory_order_acquire),
                 address - bytes, bytes, left, slot_size, found_by);
  }
  if (index + 1 < slice.slot_count) {
    const uintptr_t right = address + slot_size;
    CheckFreeEnd(slice.RecordAt(index + 1, kRecordShift).load(std::memory_order_acquire), right,
                 bytes, right, slot_size, found_by);
  }
}

}  // namespace hardened
