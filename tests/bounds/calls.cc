#include "tests/bounds/calls.h"

#include <string.h>
#include <wchar.h>

#include <cstdint>

// The fortified forms, which no header declares.
extern "C" {
void* __memcpy_chk(void*, const void*, size_t, size_t);
void* __memmove_chk(void*, const void*, size_t, size_t);
void* __mempcpy_chk(void*, const void*, size_t, size_t);
void* __memset_chk(void*, int, size_t, size_t);
char* __strcpy_chk(char*, const char*, size_t);
char* __stpcpy_chk(char*, const char*, size_t);
char* __strncpy_chk(char*, const char*, size_t, size_t);
char* __stpncpy_chk(char*, const char*, size_t, size_t);
char* __strcat_chk(char*, const char*, size_t);
char* __strncat_chk(char*, const char*, size_t, size_t);
wchar_t* __wmemcpy_chk(wchar_t*, const wchar_t*, size_t, size_t);
wchar_t* __wmemmove_chk(wchar_t*, const wchar_t*, size_t, size_t);
wchar_t* __wmempcpy_chk(wchar_t*, const wchar_t*, size_t, size_t);
wchar_t* __wmemset_chk(wchar_t*, wchar_t, size_t, size_t);
wchar_t* __wcscpy_chk(wchar_t*, const wchar_t*, size_t);
wchar_t* __wcpcpy_chk(wchar_t*, const wchar_t*, size_t);
wchar_t* __wcsncpy_chk(wchar_t*, const wchar_t*, size_t, size_t);
wchar_t* __wcpncpy_chk(wchar_t*, const wchar_t*, size_t, size_t);
wchar_t* __wcscat_chk(wchar_t*, const wchar_t*, size_t);
wchar_t* __wcsncat_chk(wchar_t*, const wchar_t*, size_t, size_t);
}

namespace {

template <class Char>
Char* Text(void* place) {
  return static_cast<Char*>(place);
}
// The compiler knows no size.
constexpr size_t kUnknown = SIZE_MAX;

#define AS(Char) [[maybe_unused]] auto *to = Text<Char>(t), *from = Text<Char>(f)

// Of blocks: `n` characters are read and written.
#define COPIES(Char, symbol, name, ...)                             \
  {                                                                 \
#symbol, name, sizeof(Char),                                      \
   [](void* t, void* f, size_t bytes) {                              \
     AS(Char);                                                       \
     const size_t n = bytes / sizeof(Char);                          \
     __VA_ARGS__;                                                    \
   },                                                                \
   [](void* t, void* f, size_t bytes) {                              \
     AS(Char);                                                       \
     const size_t n = bytes / sizeof(Char);                          \
     __VA_ARGS__;                                                    \
   },                                                                \
   nullptr \
  }
#define FILLS(Char, symbol, name, ...)                              \
  {                                                                 \
#symbol, name, sizeof(Char),                                      \
   [](void* t, void* f, size_t bytes) {                              \
     AS(Char);                                                       \
     const size_t n = bytes / sizeof(Char);                          \
     __VA_ARGS__;                                                    \
   },                                                                \
   nullptr, nullptr \
  }
// Of strings: up to the NUL of `from`.
#define COPIES_STRING(Char, symbol, name, ...)                      \
  {                                                                 \
#symbol, name, sizeof(Char),                                      \
   [](void* t, void* f, size_t) {                                    \
     AS(Char);                                                       \
     __VA_ARGS__;                                                    \
   },                                                                \
   nullptr,                                                          \
   [](void* t, void* f) {                                            \
     AS(Char);                                                       \
     __VA_ARGS__;                                                    \
   } \
  }
// strncat: a NUL behind the `n` characters it takes at most.
#define APPENDS(Char, symbol, name, ...)                            \
  {                                                                 \
#symbol, name, sizeof(Char),                                      \
   [](void* t, void* f, size_t bytes) {                              \
     AS(Char);                                                       \
     const size_t n = bytes / sizeof(Char) - 1;                      \
     from[n] = 'x';                                                  \
     *to = 0;                                                        \
     __VA_ARGS__;                                                    \
   },                                                                \
   [](void* t, void* f, size_t bytes) {                              \
     AS(Char);                                                       \
     const size_t n = bytes / sizeof(Char);                          \
     *to = 0;                                                        \
     __VA_ARGS__;                                                    \
   },                                                                \
   nullptr \
  }

constexpr Call kCalls[] = {
    COPIES(char, memcpy, "memcpy", memcpy(to, from, n)),
    COPIES(char, memmove, "memmove", memmove(to, from, n)),
    COPIES(char, mempcpy, "mempcpy", mempcpy(to, from, n)),
    COPIES(char, bcopy, "bcopy", bcopy(from, to, n)),
    FILLS(char, memset, "memset", memset(to, 'x', n)),
    FILLS(char, bzero, "bzero", bzero(to, n)),
    COPIES(wchar_t, wmemcpy, "wmemcpy", wmemcpy(to, from, n)),
    COPIES(wchar_t, wmemmove, "wmemmove", wmemmove(to, from, n)),
    COPIES(wchar_t, wmempcpy, "wmempcpy", wmempcpy(to, from, n)),
    FILLS(wchar_t, wmemset, "wmemset", wmemset(to, 'x', n)),

    COPIES_STRING(char, strcpy, "strcpy", strcpy(to, from)),
    COPIES_STRING(char, stpcpy, "stpcpy", stpcpy(to, from)),
    COPIES(char, strncpy, "strncpy", strncpy(to, from, n)),
    COPIES(char, stpncpy, "stpncpy", stpncpy(to, from, n)),
    COPIES_STRING(char, strcat, "strcat", *to = 0; strcat(to, from)),
    APPENDS(char, strncat, "strncat", strncat(to, from, n)),
    COPIES_STRING(wchar_t, wcscpy, "wcscpy", wcscpy(to, from)),
    COPIES_STRING(wchar_t, wcpcpy, "wcpcpy", wcpcpy(to, from)),
    COPIES(wchar_t, wcsncpy, "wcsncpy", wcsncpy(to, from, n)),
    COPIES(wchar_t, wcpncpy, "wcpncpy", wcpncpy(to, from, n)),
    COPIES_STRING(wchar_t, wcscat, "wcscat", *to = 0; wcscat(to, from)),
    APPENDS(wchar_t, wcsncat, "wcsncat", wcsncat(to, from, n)),

    COPIES(char, __memcpy_chk, "memcpy", __memcpy_chk(to, from, n, kUnknown)),
    COPIES(char, __memmove_chk, "memmove", __memmove_chk(to, from, n, kUnknown)),
    COPIES(char, __mempcpy_chk, "mempcpy", __mempcpy_chk(to, from, n, kUnknown)),
    FILLS(char, __memset_chk, "memset", __memset_chk(to, 'x', n, kUnknown)),
    COPIES(wchar_t, __wmemcpy_chk, "wmemcpy", __wmemcpy_chk(to, from, n, kUnknown)),
    COPIES(wchar_t, __wmemmove_chk, "wmemmove", __wmemmove_chk(to, from, n, kUnknown)),
    COPIES(wchar_t, __wmempcpy_chk, "wmempcpy", __wmempcpy_chk(to, from, n, kUnknown)),
    FILLS(wchar_t, __wmemset_chk, "wmemset", __wmemset_chk(to, 'x', n, kUnknown)),

    COPIES_STRING(char, __strcpy_chk, "strcpy", __strcpy_chk(to, from, kUnknown)),
    COPIES_STRING(char, __stpcpy_chk, "stpcpy", __stpcpy_chk(to, from, kUnknown)),
    COPIES(char, __strncpy_chk, "strncpy", __strncpy_chk(to, from, n, kUnknown)),
    COPIES(char, __stpncpy_chk, "stpncpy", __stpncpy_chk(to, from, n, kUnknown)),
    COPIES_STRING(char, __strcat_chk, "strcat", *to = 0; __strcat_chk(to, from, kUnknown)),
    APPENDS(char, __strncat_chk, "strncat", __strncat_chk(to, from, n, kUnknown)),
    COPIES_STRING(wchar_t, __wcscpy_chk, "wcscpy", __wcscpy_chk(to, from, kUnknown)),
    COPIES_STRING(wchar_t, __wcpcpy_chk, "wcpcpy", __wcpcpy_chk(to, from, kUnknown)),
    COPIES(wchar_t, __wcsncpy_chk, "wcsncpy", __wcsncpy_chk(to, from, n, kUnknown)),
    COPIES(wchar_t, __wcpncpy_chk, "wcpncpy", __wcpncpy_chk(to, from, n, kUnknown)),
    COPIES_STRING(wchar_t, __wcscat_chk, "wcscat", *to = 0; __wcscat_chk(to, from, kUnknown)),
    APPENDS(wchar_t, __wcsncat_chk, "wcsncat", __wcsncat_chk(to, from, n, kUnknown)),
};

}  // namespace

std::span<const Call> AllCalls() { return kCalls; }
