// For files that are compiled with exceptions alone.

#ifndef HARDENED_SHIM_NULL_IF_THROWN_H_
#define HARDENED_SHIM_NULL_IF_THROWN_H_

namespace hardened::shim {

// What a nothrow form makes of a form that throws.
template <class Allocate>
void* NullIfThrown(Allocate allocate) noexcept {
  try {
    return allocate();
  } catch (...) {
    return nullptr;
  }
}

}  // namespace hardened::shim

#endif  // HARDENED_SHIM_NULL_IF_THROWN_H_
