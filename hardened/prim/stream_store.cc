#include "hardened/prim/stream_store.h"

#include <new>

#include "hardened/prim/page_source.h"

namespace hardened::prim {

RandomStream* StreamStore::Take() {
  if (left_ < sizeof(RandomStream)) {
    void* pages = linux_page_source.MakeSecretPages(step_);
    if (pages == nullptr) return nullptr;
    linux_page_source.WipeOnFork(pages, step_);
    next_ = static_cast<char*>(pages);
    left_ = step_;
    step_ *= 2;
  }
  RandomStream* stream = ::new (next_) RandomStream;
  next_ += sizeof(RandomStream);
  left_ -= sizeof(RandomStream);
  return stream;
}

}  // namespace hardened::prim
