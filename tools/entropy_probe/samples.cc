#include "tools/entropy_probe/samples.h"

#include <stdio.h>
#include <unistd.h>

void Samples::Add(const char* name, size_t bytes, int64_t value) {
  if (count_ == kMost) _exit(3);  // the pattern measures more than one write takes
  columns_[count_] = {name, bytes};
  values_[count_] = value;
  ++count_;
}

bool Samples::Write(bool names) const {
  if (!names) {
    const size_t bytes = sizeof(int64_t) * static_cast<size_t>(count_);
    return write(STDOUT_FILENO, values_, bytes) == static_cast<ssize_t>(bytes);
  }
  for (int i = 0; i < count_; ++i) {
    char line[80];
    const int length =
        snprintf(line, sizeof(line), "%s/%zu\n", columns_[i].name, columns_[i].bytes);
    if (write(STDOUT_FILENO, line, static_cast<size_t>(length)) != length) return false;
  }
  return true;
}
