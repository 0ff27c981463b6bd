// Chooses its own default and prints what holds.
#include <dlfcn.h>

#include <cstdio>

#include "hardened/hardened.h"

namespace {

// As C++ has it, a constant of one file; the macro makes it visible.
HARDENED_DEFAULT_OPTIONS("level=strict:quarantine=2M");

}  // namespace

int main() {
  const auto policy =
      reinterpret_cast<decltype(&hardened_policy)>(dlsym(RTLD_DEFAULT, "hardened_policy"));
  std::puts(policy != nullptr ? policy() : "none");
}
