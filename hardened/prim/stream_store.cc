#include "hardened/prim/stream_store.h"

#include <atomic>
#include <new>

#include "hardened/prim/page_source.h"

namespace hardened::prim {

RandomStream* StreamStore::Take() {
  if (left_ < sizeof(RandomStream)) {
    void* pages = linux_page_source.MakeSecretPages(step_);
    if (pages == nullptr) return nullptr;
    linux_page_source.WipeOnFork(pages, step_);
    next_ = static_cast<char*>(pages);
    std::atomic_signal_fence(std::memory_order_release);
    left_ = step_;
    step_ *= 2;
  }
  // In this order: where a fork comes between, its child wastes a stream or uses one twice, but
  // stays within the pages.
  left_ -= sizeof(RandomStream);
  std::atomic_signal_fence(std::memory_order_release);
  RandomStream* stream = ::new (next_) RandomStream;
  next_ += sizeof(RandomStream);
  return stream;
}

}  // namespace hardened::prim
