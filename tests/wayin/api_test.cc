// What a program and a library of different versions do to each other: hardened_get_counters writes
// what it was given, hardened_version says who is there.

#include <dlfcn.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "gtest/gtest.h"
#include "hardened/hardened.h"

extern "C" {
[[gnu::weak]] int LinkedGetCounters(hardened_counters* out,
                                    size_t size) __asm__("hardened_get_counters");
[[gnu::weak]] const char* LinkedVersion() __asm__("hardened_version");
}

namespace {

template <typename Function>
Function* Find(Function* linked, const char* name) {
  if (linked != nullptr) return linked;
  return reinterpret_cast<Function*>(dlsym(RTLD_DEFAULT, name));
}

class VersionsTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(get_counters_ != nullptr, std::getenv("API_EXPECTED") != nullptr);
    if (get_counters_ == nullptr) GTEST_SKIP() << "the control runs on libc's malloc";
    // Something to count.
    void* volatile block = std::malloc(100);
    std::free(block);
  }

  // With a size beyond the counters that any version has.
  static constexpr size_t kMore = sizeof(hardened_counters) + 64;
  using Buffer = std::array<unsigned char, kMore + 16>;

  static constexpr unsigned char kUntouched = 0xA5;

  // Returns: the bytes of a buffer of which `size` were offered.
  Buffer Ask(size_t size) {
    alignas(hardened_counters) Buffer buffer;
    buffer.fill(kUntouched);
    EXPECT_EQ(get_counters_(reinterpret_cast<hardened_counters*>(buffer.data()), size), 0);
    return buffer;
  }

  decltype(&LinkedGetCounters) get_counters_ = Find(LinkedGetCounters, "hardened_get_counters");
  decltype(&LinkedVersion) version_ = Find(LinkedVersion, "hardened_version");
};

TEST_F(VersionsTest, NothingIsWrittenBehindAnySize) {
  for (size_t size = 0; size <= kMore; ++size) {
    const Buffer buffer = Ask(size);
    for (size_t i = size; i < buffer.size(); ++i) {
      ASSERT_EQ(buffer[i], kUntouched) << "byte " << i << " of " << size;
    }
  }
}

TEST_F(VersionsTest, ASmallerBufferHasTheFirstCounters) {
  const Buffer full = Ask(sizeof(hardened_counters));
  // Seven numbers, as programs of 0.0 asked for.
  const Buffer seven = Ask(7 * sizeof(uint64_t));
  EXPECT_EQ(std::memcmp(full.data(), seven.data(), 7 * sizeof(uint64_t)), 0);
  uint64_t allocations = 0;
  std::memcpy(&allocations, seven.data(), sizeof(allocations));
  EXPECT_GT(allocations, 0u);
}

TEST_F(VersionsTest, ALargerBufferHasZerosBehindThem) {
  const Buffer buffer = Ask(kMore);
  for (size_t i = sizeof(hardened_counters); i < kMore; ++i) ASSERT_EQ(buffer[i], 0) << i;
}

TEST_F(VersionsTest, NoBufferIsAnError) {
  EXPECT_EQ(get_counters_(nullptr, sizeof(hardened_counters)), -1);
  EXPECT_EQ(get_counters_(nullptr, 0), -1);
}

TEST_F(VersionsTest, TheLibraryIsOfTheVersionOfTheHeader) {
  ASSERT_NE(version_, nullptr);
  EXPECT_STREQ(version_(), HARDENED_VERSION);
}

}  // namespace
