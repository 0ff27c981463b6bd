// text: parts of a text. std::string_view::substr() can throw, and so needs the C++ runtime.

#ifndef POLICIES_TEXT_H_
#define POLICIES_TEXT_H_

#include <cstddef>
#include <string_view>

namespace hardened::policies {

// The bytes from `start` up to `end`.
// Requires: start <= end <= text.size().
inline std::string_view Part(std::string_view text, size_t start, size_t end) {
  return {text.data() + start, end - start};
}

// All bytes from `start` on.
// Requires: start <= text.size().
inline std::string_view PartFrom(std::string_view text, size_t start) {
  return Part(text, start, text.size());
}

}  // namespace hardened::policies

#endif  // POLICIES_TEXT_H_
