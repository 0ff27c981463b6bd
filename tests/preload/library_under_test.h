// LibraryUnderTest: which allocator serves this program, asked at run time.
//
// One test binary runs statically linked with a level, under LD_PRELOAD of a
// level, and on plain libc as a control. Everything that libc lacks is
// therefore found through a weak reference or, when preloaded, dlsym().
// HARDENED_EXPECTED_LEVEL names the level that must be in charge ("none": libc).
#ifndef TESTS_PRELOAD_LIBRARY_UNDER_TEST_H_
#define TESTS_PRELOAD_LIBRARY_UNDER_TEST_H_

#include <dlfcn.h>

#include <cstddef>
#include <cstdlib>
#include <string_view>

#include "hardened/hardened.h"

// Second names for the symbols, so that no header's own declaration clashes.
extern "C" {
[[gnu::weak]] int LinkedGetCounters(hardened_counters* out,
                                    size_t size) __asm__("hardened_get_counters");
[[gnu::weak]] const char* LinkedLevel() __asm__("hardened_level");
[[gnu::weak]] const char* LinkedPolicy() __asm__("hardened_policy");
[[gnu::weak]] void LinkedFreeSized(void* block, size_t size) __asm__("free_sized");
[[gnu::weak]] void LinkedFreeAlignedSized(void* block, size_t alignment,
                                          size_t size) __asm__("free_aligned_sized");
}

struct LibraryUnderTest {
  int (*get_counters)(hardened_counters* out);
  decltype(&LinkedLevel) level;
  decltype(&LinkedPolicy) policy;
  decltype(&LinkedFreeSized) free_sized;
  decltype(&LinkedFreeAlignedSized) free_aligned_sized;

  // Returns: the entry points, each null when this process has none.
  static LibraryUnderTest Find() {
    return {GetCountersSymbol() == nullptr ? nullptr : GetCounters,
            Symbol(LinkedLevel, "hardened_level"), Symbol(LinkedPolicy, "hardened_policy"),
            Symbol(LinkedFreeSized, "free_sized"),
            Symbol(LinkedFreeAlignedSized, "free_aligned_sized")};
  }

  // Returns: the level that must be in charge; empty when the run names none.
  static std::string_view ExpectedLevel() {
    const char* level = std::getenv("HARDENED_EXPECTED_LEVEL");
    return level == nullptr ? "" : level;
  }

 private:
  static decltype(&LinkedGetCounters) GetCountersSymbol() {
    return Symbol(LinkedGetCounters, "hardened_get_counters");
  }
  static int GetCounters(hardened_counters* out) { return GetCountersSymbol()(out, sizeof(*out)); }

  template <typename Function>
  static Function* Symbol(Function* linked, const char* name) {
    if (linked != nullptr) return linked;
    return reinterpret_cast<Function*>(dlsym(RTLD_DEFAULT, name));
  }
};

#endif  // TESTS_PRELOAD_LIBRARY_UNDER_TEST_H_
