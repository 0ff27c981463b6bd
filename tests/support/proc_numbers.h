// Numbers from files below /proc.
//
// Threads: any. Allocates nothing.

#ifndef TESTS_SUPPORT_PROC_NUMBERS_H_
#define TESTS_SUPPORT_PROC_NUMBERS_H_

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>

// Calls `visit(text, length)` for the pieces of a file, up to 4,095 bytes each with a NUL behind.
// Returns: whether the file could be opened.
template <typename Visit>
bool ReadPieces(const char* path, Visit visit) {
  char piece[4096];
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  for (ssize_t length; (length = read(file, piece, sizeof(piece) - 1)) > 0;) {
    piece[length] = '\0';
    visit(static_cast<const char*>(piece), static_cast<size_t>(length));
  }
  close(file);
  return true;
}

// Mappings of this process; 0 when the kernel does not tell.
inline size_t CountMaps() {
  size_t lines = 0;
  ReadPieces("/proc/self/maps", [&lines](const char* text, size_t length) {
    for (size_t i = 0; i < length; ++i) lines += text[i] == '\n';
  });
  return lines;
}

// The number behind `key` in a file that fits one read; 0 when there is none.
inline uint64_t NumberBehind(const char* path, const char* key) {
  uint64_t number = 0;
  ReadPieces(path, [&](const char* text, size_t) {
    const char* found = strstr(text, key);
    if (found != nullptr) number = strtoull(found + strlen(key), nullptr, 10);
  });
  return number;
}

// The number that a file starts with.
inline uint64_t FirstNumber(const char* path) { return NumberBehind(path, ""); }

#endif  // TESTS_SUPPORT_PROC_NUMBERS_H_
