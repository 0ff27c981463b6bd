#include "hardened/prim/raw_writer.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "hardened/prim/kernel.h"

namespace hardened::prim {

RawWriter& RawWriter::Text(std::string_view text) {
  const size_t taken = std::min(text.size(), buffer_.size() - size_);
  if (taken != 0) memcpy(buffer_.data() + size_, text.data(), taken);
  size_ += taken;
  if (taken < text.size()) truncated_ = true;
  return *this;
}

RawWriter& RawWriter::Char(char c) { return Text({&c, 1}); }

RawWriter& RawWriter::Escaped(std::string_view text) {
  for (const char c : text) {
    if (c >= ' ' && c <= '~') {
      Char(c);
    } else {
      const auto byte = static_cast<unsigned char>(c);
      Text("\\x").Char("0123456789abcdef"[byte >> 4]).Char("0123456789abcdef"[byte & 15]);
    }
  }
  return *this;
}

RawWriter& RawWriter::Decimal(uint64_t value) {
  char digits[20];  // of 2^64 - 1
  char* const end = digits + sizeof(digits);
  char* first = end;
  do {
    *--first = static_cast<char>('0' + value % 10);
    value /= 10;
  } while (value != 0);
  return Text({first, static_cast<size_t>(end - first)});
}

RawWriter& RawWriter::Hex(uintptr_t value) {
  char digits[2 * sizeof(value)];
  char* const end = digits + sizeof(digits);
  char* first = end;
  do {
    *--first = "0123456789abcdef"[value & 15];
    value >>= 4;
  } while (value != 0);
  return Text("0x").Text({first, static_cast<size_t>(end - first)});
}

RawWriter& RawWriter::Padded(std::string_view text, size_t width) {
  Text(text);
  for (size_t i = text.size(); i < width && !truncated_; ++i) Char(' ');
  return *this;
}

bool RawWriter::Flush(int fd) {
  size_t written = 0;
  while (written < size_) {
    const long result = kernel::Write(fd, buffer_.data() + written, size_ - written);
    if (result > 0) {
      written += static_cast<size_t>(result);
    } else if (result != -EINTR) {
      break;
    }
  }
  const bool complete = written == size_;
  size_ = 0;
  truncated_ = false;
  return complete;
}

}  // namespace hardened::prim
