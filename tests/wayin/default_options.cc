// Chooses its own default and prints what holds.
#include <dlfcn.h>

#include <cstdio>

#include "hardened/hardened.h"

// Linked; else it is found when the program runs.
#pragma weak hardened_policy

namespace {

// In C++ a constant is of one file only; the macro makes it visible.
HARDENED_DEFAULT_OPTIONS("level=strict:quarantine=2M");

}  // namespace

int main() {
  using Policy = decltype(&hardened_policy);
  Policy policy = hardened_policy;
  if (policy == nullptr) policy = reinterpret_cast<Policy>(dlsym(RTLD_DEFAULT, "hardened_policy"));
  std::puts(policy != nullptr ? policy() : "none");
}
