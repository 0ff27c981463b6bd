// What of this process is in memory.
//
// Read from the page tables: /proc/self/statm and status show counters that each processor brings
// up to date when it likes, tens of MiB too late on a large machine.
//
// Threads: any. Allocates nothing.

#ifndef TESTS_SUPPORT_RESIDENT_H_
#define TESTS_SUPPORT_RESIDENT_H_

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cstddef>

// The number behind `field` ("Rss:"), in KiB; 0 when the kernel does not tell.
inline size_t MemoryFieldKib(const char* field) {
  char text[1024] = {};
  const int file = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  const ssize_t length = read(file, text, sizeof(text) - 1);
  close(file);
  const char* found = length <= 0 ? nullptr : strstr(text, field);
  return found == nullptr || found[-1] != '\n' ? 0 : strtoul(found + strlen(field), nullptr, 10);
}
inline size_t ResidentKib() { return MemoryFieldKib("Rss:"); }
// Without files and what else others hold anyway.
inline size_t AnonymousKib() { return MemoryFieldKib("Anonymous:"); }

#endif  // TESTS_SUPPORT_RESIDENT_H_
