// strcpy, strcat and their family, wide and fortified forms: how many bytes a call takes is found
// out first, without leaving the objects that hold its strings, then exactly so many are moved.

#include "hardened/bounds/check.h"
#include "hardened/bounds/libc.h"

namespace hardened::bounds {
namespace {

inline constexpr size_t kUnlimited = SIZE_MAX;  // characters; also: the compiler knows no size

// The length of `text`, at most `most`. A string that has no NUL before its object ends is
// reported.
template <class Char>
size_t Length(const char* function, const Char* text, size_t most) {
  const size_t room = Room(text);
  if (room == SIZE_MAX || room / sizeof(Char) >= most) {
    return most == kUnlimited ? LengthOf(text) : LengthOf(text, most);
  }
  const size_t limit = room / sizeof(Char);
  const size_t length = LengthOf(text, limit);
  if (__builtin_expect(length < limit, 1)) return length;
  Report(function, text, (limit + 1) * sizeof(Char), Access::kRead);
  return most == kUnlimited ? LengthOf(text) : LengthOf(text, most);
}

// Writes `length` characters of `from` and a NUL to `to`.
// Returns: the place of the NUL.
template <class Char>
Char* CopyString(const char* function, Char* to, const Char* from, size_t length) {
  const size_t bytes = length * sizeof(Char);
  Check(function, to, bytes + sizeof(Char), Access::kWrite);
  Move(to, from, bytes);
  to[length] = 0;
  return to + length;
}

// strcpy. Where the compiler knows the room behind `to`, in characters, it is `known`.
template <class Char>
Char* Copy(const char* function, Char* to, const Char* from, size_t known = kUnlimited) {
  const size_t length = Length(function, from, kUnlimited);
  if (length >= known) __chk_fail();
  return CopyString(function, to, from, length);
}

void FillWith0(char* to, size_t count) { Fill(to, 0, count); }
void FillWith0(wchar_t* to, size_t count) { FillWide(to, 0, count); }

// strncpy: always `count` characters.
// Returns: the place of the first NUL, else of the end.
template <class Char>
Char* CopyPadded(const char* function, Char* to, const Char* from, size_t count,
                 size_t known = kUnlimited) {
  if (count > known) __chk_fail();
  const size_t length = Length(function, from, count);
  size_t bytes;
  if (__builtin_mul_overflow(count, sizeof(Char), &bytes)) bytes = SIZE_MAX;
  Check(function, to, bytes, Access::kWrite);
  Move(to, from, length * sizeof(Char));
  FillWith0(to + length, count - length);
  return to + length;
}

// strncat; strcat with kUnlimited.
template <class Char>
Char* Append(const char* function, Char* to, const Char* from, size_t most,
             size_t known = kUnlimited) {
  const size_t before = Length(function, to, kUnlimited);
  const size_t length = Length(function, from, most);
  if (before >= known || length >= known - before) __chk_fail();
  CopyString(function, to + before, from, length);
  return to;
}

}  // namespace

#define EXPORT [[gnu::visibility("default")]]

extern "C" {

EXPORT char* strcpy(char* to, const char* from) {
  Copy("strcpy", to, from);
  return to;
}
EXPORT char* stpcpy(char* to, const char* from) { return Copy("stpcpy", to, from); }
EXPORT char* strncpy(char* to, const char* from, size_t count) {
  CopyPadded("strncpy", to, from, count);
  return to;
}
EXPORT char* stpncpy(char* to, const char* from, size_t count) {
  return CopyPadded("stpncpy", to, from, count);
}
EXPORT char* strcat(char* to, const char* from) { return Append("strcat", to, from, kUnlimited); }
EXPORT char* strncat(char* to, const char* from, size_t most) {
  return Append("strncat", to, from, most);
}

EXPORT wchar_t* wcscpy(wchar_t* to, const wchar_t* from) {
  Copy("wcscpy", to, from);
  return to;
}
EXPORT wchar_t* wcpcpy(wchar_t* to, const wchar_t* from) { return Copy("wcpcpy", to, from); }
EXPORT wchar_t* wcsncpy(wchar_t* to, const wchar_t* from, size_t count) {
  CopyPadded("wcsncpy", to, from, count);
  return to;
}
EXPORT wchar_t* wcpncpy(wchar_t* to, const wchar_t* from, size_t count) {
  return CopyPadded("wcpncpy", to, from, count);
}
EXPORT wchar_t* wcscat(wchar_t* to, const wchar_t* from) {
  return Append("wcscat", to, from, kUnlimited);
}
EXPORT wchar_t* wcsncat(wchar_t* to, const wchar_t* from, size_t most) {
  return Append("wcsncat", to, from, most);
}

// _FORTIFY_SOURCE.

EXPORT char* __strcpy_chk(char* to, const char* from, size_t known) {
  Copy("strcpy", to, from, known);
  return to;
}
EXPORT char* __stpcpy_chk(char* to, const char* from, size_t known) {
  return Copy("stpcpy", to, from, known);
}
EXPORT char* __strncpy_chk(char* to, const char* from, size_t count, size_t known) {
  CopyPadded("strncpy", to, from, count, known);
  return to;
}
EXPORT char* __stpncpy_chk(char* to, const char* from, size_t count, size_t known) {
  return CopyPadded("stpncpy", to, from, count, known);
}
EXPORT char* __strcat_chk(char* to, const char* from, size_t known) {
  return Append("strcat", to, from, kUnlimited, known);
}
EXPORT char* __strncat_chk(char* to, const char* from, size_t most, size_t known) {
  return Append("strncat", to, from, most, known);
}
EXPORT wchar_t* __wcscpy_chk(wchar_t* to, const wchar_t* from, size_t known) {
  Copy("wcscpy", to, from, known);
  return to;
}
EXPORT wchar_t* __wcpcpy_chk(wchar_t* to, const wchar_t* from, size_t known) {
  return Copy("wcpcpy", to, from, known);
}
EXPORT wchar_t* __wcsncpy_chk(wchar_t* to, const wchar_t* from, size_t count, size_t known) {
  CopyPadded("wcsncpy", to, from, count, known);
  return to;
}
EXPORT wchar_t* __wcpncpy_chk(wchar_t* to, const wchar_t* from, size_t count, size_t known) {
  return CopyPadded("wcpncpy", to, from, count, known);
}
EXPORT wchar_t* __wcscat_chk(wchar_t* to, const wchar_t* from, size_t known) {
  return Append("wcscat", to, from, kUnlimited, known);
}
EXPORT wchar_t* __wcsncat_chk(wchar_t* to, const wchar_t* from, size_t most, size_t known) {
  return Append("wcsncat", to, from, most, known);
}

}  // extern "C"

}  // namespace hardened::bounds
