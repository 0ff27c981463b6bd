#include "hardened/prim/bulk_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "hardened/prim/processor.h"

namespace hardened::prim {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kMost = 64 << 10;
constexpr unsigned char kDirt = 0xa5;

// Pages of which nothing in front and nothing behind may be touched.
class FencedPages {
 public:
  FencedPages() {
    void* all = mmap(nullptr, kMost + 2 * kPage, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED) return;
    start_ = static_cast<unsigned char*>(all) + kPage;
    if (mprotect(start_, kMost, PROT_READ | PROT_WRITE) != 0) start_ = nullptr;
  }
  ~FencedPages() {
    if (start_ != nullptr) munmap(start_ - kPage, kMost + 2 * kPage);
  }
  FencedPages(const FencedPages&) = delete;
  FencedPages& operator=(const FencedPages&) = delete;

  unsigned char* start() const { return start_; }
  unsigned char* end() const { return start_ + kMost; }

 private:
  unsigned char* start_ = nullptr;
};

// With the widest registers that there are, and with those that every processor has.
class BulkMemoryTest : public testing::TestWithParam<bool> {
 protected:
  BulkMemoryTest() { SetWide(GetParam()); }
  ~BulkMemoryTest() override { SetWide(true); }

  void SetUp() override { ASSERT_NE(pages_.start(), nullptr); }

  // Calls `body` with every size, and with places at all distances from a cache line and at both
  // fences.
  template <typename Body>
  void ForPlaces(const Body& body) {
    for (size_t size = kLeastBulk; size <= kMost; size += size < 8192 ? 16 : 16 + 496) {
      for (size_t offset = 0; offset < 64 && offset + size <= kMost; offset += 16) {
        body(pages_.start() + offset, size);
        if (HasFatalFailure()) return;
      }
      body(pages_.end() - size, size);
      if (HasFatalFailure()) return;
    }
  }

  FencedPages pages_;

 private:
  static void SetWide([[maybe_unused]] bool wide) {
#if defined(__x86_64__)
    using processor_internal::Known;
    processor_internal::avx2 = wide ? Known::kNothing : Known::kNo;
#endif
  }
};

bool IsAll(const unsigned char* from, const unsigned char* to, unsigned char value) {
  return std::all_of(from, to, [value](unsigned char byte) { return byte == value; });
}

TEST_P(BulkMemoryTest, ZeroesEveryByteAndNoOther) {
  ForPlaces([&](unsigned char* start, size_t size) {
    std::memset(pages_.start(), kDirt, kMost);
    ZeroBulk(start, size);
    ASSERT_TRUE(IsAll(start, start + size, 0)) << size;
    ASSERT_TRUE(IsAll(pages_.start(), start, kDirt)) << size;
    ASSERT_TRUE(IsAll(start + size, pages_.end(), kDirt)) << size;
  });
}

TEST_P(BulkMemoryTest, ZeroIsZeroWhateverLiesAround) {
  ForPlaces([&](unsigned char* start, size_t size) {
    std::memset(pages_.start(), kDirt, kMost);
    std::memset(start, 0, size);
    ASSERT_TRUE(IsBulkZero(start, size)) << size;
  });
}

// Every byte of what fits a few steps of the loops, and of the rest some, each with one bit.
TEST_P(BulkMemoryTest, OneBitIsSeenWhereverItLies) {
  std::minstd_rand random(1);
  ForPlaces([&](unsigned char* start, size_t size) {
    std::memset(start, 0, size);
    const bool all = size <= 1024;
    for (size_t i = 0; i < (all ? size : 64); ++i) {
      const size_t at = all ? i : i == 0 ? 0 : i == 1 ? size - 1 : random() % size;
      start[at] = static_cast<unsigned char>(1u << random() % 8);
      ASSERT_FALSE(IsBulkZero(start, size)) << size << " at " << at;
      start[at] = 0;
    }
    ASSERT_TRUE(IsBulkZero(start, size)) << size;
  });
}

INSTANTIATE_TEST_SUITE_P(Registers, BulkMemoryTest, testing::Bool(),
                         [](const testing::TestParamInfo<bool>& info) {
                           return std::string(info.param ? "Widest" : "Usual");
                         });

}  // namespace
}  // namespace hardened::prim
