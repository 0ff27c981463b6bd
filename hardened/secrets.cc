#include "hardened/secrets.h"

#include <iterator>

#include "hardened/core/heap_state.h"
#include "hardened/prim/page_source.h"
#include "hardened/prim/system_info.h"

namespace hardened {

HARDENED_SEALED_TOGETHER constinit prim::Sealed<SecretsLocation> secrets_location;

bool InitialiseSecrets() {
  void* const page = core::heap_state.secret_page();
  HARDENED_CHECK(sizeof(Secrets) <= prim::PageSize());
  Secrets& secrets = *static_cast<Secrets*>(page);
  prim::RandomStream random;
  core::heap_state.SeedStream(random);
  // Odd and with a high bit set, so that multiplication by it mixes.
  secrets.canary.multiplier = random.Next64() | 1 | uint64_t{1} << 63;
  for (uint64_t& key : secrets.canary.epochs) key = random.Next64();
  secrets.canary.newest = secrets.canary.epochs[0];
  prim::linux_page_source.MakeReadOnly(page, prim::PageSize());
  secrets_location.Writable().at = &secrets;
  secrets_location.Settle();
  return true;
}

void AdvanceEpoch() {
  // The last epoch keeps its key: allocations that live were made with it.
  if (secrets_location->at == nullptr || AllSecrets().epoch == kMaxEpoch) return;
  Secrets& secrets = const_cast<Secrets&>(AllSecrets());
  const size_t bytes = prim::PageSize();
  // Without write access the child goes on with its parent's keys: still secret, no longer fresh.
  if (!prim::linux_page_source.MakeWritable(&secrets, bytes)) return;
  ++secrets.epoch;
  // Every key that this process has not used yet: drawn anew, so that the parent does not know it.
  prim::RandomStream random;
  core::heap_state.SeedStream(random);
  for (size_t epoch = secrets.epoch; epoch < std::size(secrets.canary.epochs); ++epoch) {
    secrets.canary.epochs[epoch] = random.Next64();
  }
  secrets.canary.newest = secrets.canary.epochs[secrets.epoch];
  prim::linux_page_source.MakeReadOnly(&secrets, bytes);
}

}  // namespace hardened
