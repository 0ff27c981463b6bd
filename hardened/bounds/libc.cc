#include "hardened/bounds/libc.h"

#include <dlfcn.h>

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

// Keeps the compiler from making a call of memmove or memset of the loop around it.
void StayALoop() { asm volatile(""); }

}  // namespace

void* MoveFirst(void* to, const void* from, size_t bytes) {
  LookUp();
  MoveFunction* next = next_functions.move.load(std::memory_order_relaxed);
  if (next != nullptr) return next(to, from, bytes);
  char* target = static_cast<char*>(to);
  const char* source = static_cast<const char*>(from);
  if (reinterpret_cast<uintptr_t>(to) - reinterpret_cast<uintptr_t>(from) >= bytes) {
    for (size_t i = 0; i < bytes; ++i) {
      target[i] = source[i];
      StayALoop();
    }
  } else {
    for (size_t i = bytes; i > 0; --i) {
      target[i - 1] = source[i - 1];
      StayALoop();
    }
  }
  return to;
}

void* FillFirst(void* to, int value, size_t bytes) {
  LookUp();
  FillFunction* next = next_functions.fill.load(std::memory_order_relaxed);
  if (next != nullptr) return next(to, value, bytes);
  for (size_t i = 0; i < bytes; ++i) {
    static_cast<char*>(to)[i] = static_cast<char>(value);
    StayALoop();
  }
  return to;
}

wchar_t* FillWideFirst(wchar_t* to, wchar_t value, size_t count) {
  LookUp();
  FillWideFunction* next = next_functions.fill_wide.load(std::memory_order_relaxed);
  if (next != nullptr) return next(to, value, count);
  for (size_t i = 0; i < count; ++i) {
    to[i] = value;
    StayALoop();
  }
  return to;
}

}  // namespace hardened::bounds
