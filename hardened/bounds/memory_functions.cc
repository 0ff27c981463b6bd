// memcpy, memmove, mempcpy, memset, their wide and their fortified forms: each checked against the
// heap objects it touches, then left to libc.

#include "hardened/bounds/check.h"
#include "hardened/bounds/libc.h"

namespace hardened::bounds {
namespace {

// Saturates: no object has so many bytes.
size_t WideBytes(size_t count) {
  size_t bytes;
  return __builtin_mul_overflow(count, sizeof(wchar_t), &bytes) ? SIZE_MAX : bytes;
}

[[gnu::always_inline]] inline void* Copy(const char* function, void* to, const void* from,
                                         size_t bytes) {
  Check(function, to, bytes, Access::kWrite);
  Check(function, from, bytes, Access::kRead);
  return Move(to, from, bytes);
}
[[gnu::always_inline]] inline wchar_t* CopyWide(const char* function, wchar_t* to,
                                                const wchar_t* from, size_t count) {
  return static_cast<wchar_t*>(Copy(function, to, from, WideBytes(count)));
}

void* Set(void* to, int value, size_t bytes) {
  Check("memset", to, bytes, Access::kWrite);
  return Fill(to, value, bytes);
}
wchar_t* SetWide(wchar_t* to, wchar_t value, size_t count) {
  Check("wmemset", to, WideBytes(count), Access::kWrite);
  return FillWide(to, value, count);
}

// What the fortified forms promise: no more than the compiler knows to be there.
void Fortify(size_t wanted, size_t known) {
  if (wanted > known) __chk_fail();
}

}  // namespace

#define EXPORT [[gnu::visibility("default")]]

extern "C" {

EXPORT void* memcpy(void* to, const void* from, size_t bytes) {
  return Copy("memcpy", to, from, bytes);
}
EXPORT void* memmove(void* to, const void* from, size_t bytes) {
  return Copy("memmove", to, from, bytes);
}
EXPORT void* mempcpy(void* to, const void* from, size_t bytes) {
  return static_cast<char*>(Copy("mempcpy", to, from, bytes)) + bytes;
}
EXPORT void bcopy(const void* from, void* to, size_t bytes) { Copy("bcopy", to, from, bytes); }

EXPORT void* memset(void* to, int value, size_t bytes) { return Set(to, value, bytes); }
EXPORT void bzero(void* to, size_t bytes) {
  Check("bzero", to, bytes, Access::kWrite);
  Fill(to, 0, bytes);
}

EXPORT wchar_t* wmemcpy(wchar_t* to, const wchar_t* from, size_t count) {
  return CopyWide("wmemcpy", to, from, count);
}
EXPORT wchar_t* wmemmove(wchar_t* to, const wchar_t* from, size_t count) {
  return CopyWide("wmemmove", to, from, count);
}
EXPORT wchar_t* wmempcpy(wchar_t* to, const wchar_t* from, size_t count) {
  return CopyWide("wmempcpy", to, from, count) + count;
}
EXPORT wchar_t* wmemset(wchar_t* to, wchar_t value, size_t count) {
  return SetWide(to, value, count);
}

// _FORTIFY_SOURCE. Sizes that the compiler knows count first, as they do in libc.

EXPORT void* __memcpy_chk(void* to, const void* from, size_t bytes, size_t known) {
  Fortify(bytes, known);
  return Copy("memcpy", to, from, bytes);
}
EXPORT void* __memmove_chk(void* to, const void* from, size_t bytes, size_t known) {
  Fortify(bytes, known);
  return Copy("memmove", to, from, bytes);
}
EXPORT void* __mempcpy_chk(void* to, const void* from, size_t bytes, size_t known) {
  Fortify(bytes, known);
  return static_cast<char*>(Copy("mempcpy", to, from, bytes)) + bytes;
}
EXPORT void* __memset_chk(void* to, int value, size_t bytes, size_t known) {
  Fortify(bytes, known);
  return Set(to, value, bytes);
}
EXPORT wchar_t* __wmemcpy_chk(wchar_t* to, const wchar_t* from, size_t count, size_t known) {
  Fortify(count, known);
  return CopyWide("wmemcpy", to, from, count);
}
EXPORT wchar_t* __wmemmove_chk(wchar_t* to, const wchar_t* from, size_t count, size_t known) {
  Fortify(count, known);
  return CopyWide("wmemmove", to, from, count);
}
EXPORT wchar_t* __wmempcpy_chk(wchar_t* to, const wchar_t* from, size_t count, size_t known) {
  Fortify(count, known);
  return CopyWide("wmempcpy", to, from, count) + count;
}
EXPORT wchar_t* __wmemset_chk(wchar_t* to, wchar_t value, size_t count, size_t known) {
  Fortify(count, known);
  return SetWide(to, value, count);
}

}  // extern "C"

}  // namespace hardened::bounds
