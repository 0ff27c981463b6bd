// RawWriter: text into a fixed buffer, then to a file descriptor.
//
// For messages from inside malloc and from signal handlers: allocates nothing, takes no lock, uses
// no locale. What does not fit is cut off; truncated() tells.
//
// Threads: external. Signals: safe; Flush() keeps errno.

#ifndef HARDENED_PRIM_RAW_WRITER_H_
#define HARDENED_PRIM_RAW_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace hardened::prim {

class RawWriter {
 public:
  // In bytes.
  static constexpr size_t kInternalCapacity = 2048;

  // Writes into a buffer of its own, kInternalCapacity bytes (on the stack with the object).
  RawWriter() : buffer_(internal_, kInternalCapacity) {}
  // Writes into `buffer`, which must outlive the writer.
  explicit RawWriter(std::span<char> buffer) : buffer_(buffer) {}

  RawWriter(const RawWriter&) = delete;
  RawWriter& operator=(const RawWriter&) = delete;

  RawWriter& Text(std::string_view text);
  RawWriter& Char(char c);
  // Text of somebody else: what is not printable ASCII as \xNN, so that it stays on its line and
  // tells a terminal nothing.
  RawWriter& Escaped(std::string_view text);
  RawWriter& Decimal(uint64_t value);
  // "0x" and lower-case digits without leading zeros; zero is "0x0".
  RawWriter& Hex(uintptr_t value);
  // `text`, then spaces up to `width` characters. Longer text is written whole.
  RawWriter& Padded(std::string_view text, size_t width);

  // The text so far. Valid until the next call that writes.
  std::string_view view() const { return {buffer_.data(), size_}; }
  bool truncated() const { return truncated_; }

  void Clear() {
    size_ = 0;
    truncated_ = false;
  }

  // Writes the text to `fd`, whatever that is, and empties the buffer. Goes on after EINTR and
  // after a partial write; any other error drops the rest. Returns: whether everything was written.
  // errno is left as it was.
  bool Flush(int fd);

 private:
  // Left uninitialised: clearing 2 KiB for every short line buys nothing. Before buffer_, which is
  // initialised with it.
  char internal_[kInternalCapacity];
  std::span<char> buffer_;
  size_t size_ = 0;
  bool truncated_ = false;
};

}  // namespace hardened::prim

#endif  // HARDENED_PRIM_RAW_WRITER_H_
