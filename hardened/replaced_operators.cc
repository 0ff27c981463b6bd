#include "hardened/replaced_operators.h"

namespace hardened {

constinit std::atomic<Operators> plain_operators{Operators::kUndecided};

[[gnu::weak]] bool EndByDefault(void* /*pointer*/, EntryPoint /*entry*/) { return false; }

[[gnu::weak]] bool MallocAndNewMayMix() { return false; }

}  // namespace hardened
