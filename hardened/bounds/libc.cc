#include "hardened/bounds/libc.h"

#include <dlfcn.h>

#include "hardened/bounds/loops.h"

// Null before this library is relocated.
#pragma weak dlsym

namespace hardened::bounds {

constinit NextFunctions next_functions{};

namespace {

constinit std::atomic<bool> looking_up{false};

template <class Function>
void Find(std::atomic<Function*>& next, const char* name) {
  next.store(reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name)), std::memory_order_relaxed);
}

// Who comes second, also from within dlsym, does without.
void LookUp() {
  if (dlsym == nullptr || looking_up.exchange(true, std::memory_order_relaxed)) return;
  Find(next_functions.move, "memmove");
  Find(next_functions.fill, "memset");
  Find(next_functions.fill_wide, "wmemset");
}

[[gnu::constructor]] void LookUpAtStart() { LookUp(); }

}  // namespace

void* MoveFirst(void* to, const void* from, size_t bytes) {
  LookUp();
  MoveFunction* next = next_functions.move.load(std::memory_order_relaxed);
  return next != nullptr ? next(to, from, bytes) : MoveByLoop(to, from, bytes);
}

void* FillFirst(void* to, int value, size_t bytes) {
  LookUp();
  FillFunction* next = next_functions.fill.load(std::memory_order_relaxed);
  if (next != nullptr) return next(to, value, bytes);
  return FillByLoop(static_cast<char*>(to), static_cast<char>(value), bytes);
}

wchar_t* FillWideFirst(wchar_t* to, wchar_t value, size_t count) {
  LookUp();
  FillWideFunction* next = next_functions.fill_wide.load(std::memory_order_relaxed);
  return next != nullptr ? next(to, value, count) : FillByLoop(to, value, count);
}

}  // namespace hardened::bounds
