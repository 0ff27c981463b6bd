#include "hardened/prim/environment.h"

#include <sys/auxv.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "hardened/prim/kernel.h"

// Set by glibc's loader before anything runs; the address of argc. Absent in musl.
extern "C" [[gnu::weak]] void* __libc_stack_end;

namespace hardened::prim {
namespace {

// No ARG_MAX comes near; the strings lie above the pointers, on the initial stack.
constexpr uintptr_t kMaxBlockBytes = uintptr_t{1} << 30;

char LowerCase(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool EqualsIgnoringCase(std::string_view text, std::string_view lower) {
  if (text.size() != lower.size()) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (LowerCase(text[i]) != lower[i]) return false;
  }
  return true;
}

// The power of two of a size suffix; -1 if `c` is none.
int SuffixShift(char c) {
  switch (LowerCase(c)) {
    case 'k':
      return 10;
    case 'm':
      return 20;
    case 'g':
      return 30;
    default:
      return -1;
  }
}

}  // namespace

std::string_view FindEnvironment(std::string_view name, const char* const* envp) {
  if (envp == nullptr || name.empty()) return {};
  for (; *envp != nullptr; ++envp) {
    std::string_view entry = *envp;
    if (entry.size() > name.size() && entry[name.size()] == '=' && entry.starts_with(name)) {
      entry.remove_prefix(name.size() + 1);
      return entry;
    }
  }
  return {};
}

const char* const* EnvironmentFromStackBlock(const void* block) {
  const auto base = reinterpret_cast<uintptr_t>(block);
  if (base == 0 || base % alignof(void*) != 0) return nullptr;
  const auto* const words = static_cast<const uintptr_t*>(block);
  const uintptr_t argument_count = words[0];
  if (argument_count > kMaxBlockBytes / sizeof(void*)) return nullptr;
  const uintptr_t* word = words + 1;
  // Wraps to a huge distance below `base`.
  const auto is_string = [base](uintptr_t value) { return value - base < kMaxBlockBytes; };
  for (uintptr_t i = 0; i < argument_count; ++i, ++word) {
    if (!is_string(*word)) return nullptr;
  }
  if (*word++ != 0) return nullptr;
  const uintptr_t* const environment = word;
  for (; *word != 0; ++word) {
    if (!is_string(*word)) return nullptr;
  }
  return reinterpret_cast<const char* const*>(environment);
}

const char* const* ProcessEnvironment() {
  if (environ != nullptr) return environ;
  if (&__libc_stack_end == nullptr) return nullptr;
  return EnvironmentFromStackBlock(__libc_stack_end);
}

bool RunsWithRaisedPrivileges() {
  const int saved_errno = errno;
  errno = 0;
  bool raised = getauxval(AT_SECURE) != 0;
  // No such entry: decide as the kernel would.
  if (!raised && errno != 0) {
    raised = kernel::SystemCall(SYS_getuid) != kernel::SystemCall(SYS_geteuid) ||
             kernel::SystemCall(SYS_getgid) != kernel::SystemCall(SYS_getegid);
  }
  errno = saved_errno;
  return raised;
}

bool ParseUnsigned(std::string_view text, uint64_t* value) {
  int shift = 0;
  if (!text.empty() && SuffixShift(text.back()) >= 0) {
    shift = SuffixShift(text.back());
    text.remove_suffix(1);
  }
  if (text.empty()) return false;
  uint64_t result = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
    if (__builtin_mul_overflow(result, uint64_t{10}, &result) ||
        __builtin_add_overflow(result, static_cast<uint64_t>(c - '0'), &result)) {
      return false;
    }
  }
  if (__builtin_mul_overflow(result, uint64_t{1} << shift, &result)) return false;
  *value = result;
  return true;
}

bool ParseBoolean(std::string_view text, bool* value) {
  for (const std::string_view word : {"1", "on", "true", "yes"}) {
    if (EqualsIgnoringCase(text, word)) {
      *value = true;
      return true;
    }
  }
  for (const std::string_view word : {"0", "off", "false", "no"}) {
    if (EqualsIgnoringCase(text, word)) {
      *value = false;
      return true;
    }
  }
  return false;
}

}  // namespace hardened::prim
