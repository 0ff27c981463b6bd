#include "hardened/core/remote_frees.h"

#include "hardened/core/heap_state.h"
#include "hardened/core/link.h"

namespace hardened::core {
namespace {

uint64_t PushBatch(CountedList& list, RemoteBatch& batch, uint64_t more) {
  return list.Push(reinterpret_cast<uintptr_t>(&batch), more,
                   [&](uintptr_t next) { batch.next = reinterpret_cast<RemoteBatch*>(next); });
}

}  // namespace

size_t RemoteFrees::Push(RemoteBatch& batch, size_t weight) {
  return PushBatch(batches_, batch, (weight + kUnitBytes - 1) / kUnitBytes) * kUnitBytes;
}

size_t RemoteFrees::PushAlone(uintptr_t slot, size_t weight) {
  const uint64_t units = (weight + kUnitBytes - 1) / kUnitBytes;
  return kUnitBytes * alone_.Push(slot, units, [&](uintptr_t next) {
    const uint64_t link = EncodeLink(heap_constants->link_keys, slot, next);
    __builtin_memcpy(reinterpret_cast<void*>(slot), &link, sizeof(link));
  });
}

bool ReturnedBatches::Return(RemoteBatch& batch) {
  if (list_.number() >= kMany) return false;
  PushBatch(list_, batch, 1);
  return true;
}

}  // namespace hardened::core
