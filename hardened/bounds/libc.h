// What is left to libc: moving and filling memory, and the length of strings.
//
// memmove, memset and wmemset are the next definitions behind this library's own. They are looked
// up at the first call after this library was relocated; before that, and while dlsym itself calls
// them, plain loops do the work. memmove does for memcpy as well: glibc has one function for both,
// and programs older than its memcpy@GLIBC_2.14 were promised that overlaps are allowed.
//
// string.h is not included: with _FORTIFY_SOURCE it defines what this library defines.
//
// Threads: any.

#ifndef HARDENED_BOUNDS_LIBC_H_
#define HARDENED_BOUNDS_LIBC_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

extern "C" {
size_t strlen(const char* text);
size_t strnlen(const char* text, size_t most);
size_t wcslen(const wchar_t* text);
size_t wcsnlen(const wchar_t* text, size_t most);
[[noreturn]] void __chk_fail();
}

namespace hardened::bounds {

using MoveFunction = void*(void*, const void*, size_t);
using FillFunction = void*(void*, int, size_t);
using FillWideFunction = wchar_t*(wchar_t*, wchar_t, size_t);

// Null until they are looked up. Hidden: they must be readable before relocation.
struct NextFunctions {
  std::atomic<MoveFunction*> move;
  std::atomic<FillFunction*> fill;
  std::atomic<FillWideFunction*> fill_wide;
};
[[gnu::visibility("hidden")]] extern NextFunctions next_functions;

// Look them up if that is possible, and do the work.
void* MoveFirst(void* to, const void* from, size_t bytes);
void* FillFirst(void* to, int value, size_t bytes);
wchar_t* FillWideFirst(wchar_t* to, wchar_t value, size_t count);

inline void* Move(void* to, const void* from, size_t bytes) {
  MoveFunction* next = next_functions.move.load(std::memory_order_relaxed);
  return __builtin_expect(next != nullptr, 1) ? next(to, from, bytes) : MoveFirst(to, from, bytes);
}
inline void* Fill(void* to, int value, size_t bytes) {
  FillFunction* next = next_functions.fill.load(std::memory_order_relaxed);
  return __builtin_expect(next != nullptr, 1) ? next(to, value, bytes)
                                              : FillFirst(to, value, bytes);
}
inline wchar_t* FillWide(wchar_t* to, wchar_t value, size_t count) {
  FillWideFunction* next = next_functions.fill_wide.load(std::memory_order_relaxed);
  return __builtin_expect(next != nullptr, 1) ? next(to, value, count)
                                              : FillWideFirst(to, value, count);
}

inline size_t LengthOf(const char* text) { return strlen(text); }
inline size_t LengthOf(const wchar_t* text) { return wcslen(text); }
inline size_t LengthOf(const char* text, size_t most) { return strnlen(text, most); }
inline size_t LengthOf(const wchar_t* text, size_t most) { return wcsnlen(text, most); }

}  // namespace hardened::bounds

#endif  // HARDENED_BOUNDS_LIBC_H_
