// The first allocation registers the fork handlers; a program that never allocates before it forks
// gets them from this constructor.

#include "hardened/fork.h"

namespace hardened::shim {
namespace {

[[gnu::constructor]] void RegisterForkHandlers() { EnsureForkHandlers(); }

}  // namespace
}  // namespace hardened::shim
