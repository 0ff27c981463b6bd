// new_delete_test: every form of operator new and operator delete.
#include <cstdint>
#include <cstdlib>
#include <new>
#include <ostream>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/preload/library_under_test.h"
#include "tests/preload/pattern.h"

namespace {

constexpr size_t kSizes[] = {0, 1, 16, 17, 100, 1000, 4096, 5000, 20000, 100000, 1 << 20, 4 << 20};
constexpr size_t kTooLarge = size_t{PTRDIFF_MAX} + 1;

using Align = std::align_val_t;
using New = void* (*)(size_t size, Align alignment);
using Delete = void (*)(void* block, size_t size, Align alignment);

struct Form {
  const char* name;
  New allocate;
  Delete release;
  bool takes_alignment;
  bool throws;
};
void PrintTo(const Form& row, std::ostream* out) { *out << row.name; }
constexpr Form kForms[] = {
    {"New", [](size_t n, Align) { return ::operator new(n); },
     [](void* p, size_t, Align) { ::operator delete(p); }, false, true},
    {"NewArray", [](size_t n, Align) { return ::operator new[](n); },
     [](void* p, size_t, Align) { ::operator delete[](p); }, false, true},
    {"NewSizedDelete", [](size_t n, Align) { return ::operator new(n); },
     [](void* p, size_t n, Align) { ::operator delete(p, n); }, false, true},
    {"NewArraySizedDelete", [](size_t n, Align) { return ::operator new[](n); },
     [](void* p, size_t n, Align) { ::operator delete[](p, n); }, false, true},
    {"NewNothrow", [](size_t n, Align) { return ::operator new(n, std::nothrow); },
     [](void* p, size_t, Align) { ::operator delete(p, std::nothrow); }, false, false},
    {"NewArrayNothrow", [](size_t n, Align) { return ::operator new[](n, std::nothrow); },
     [](void* p, size_t, Align) { ::operator delete[](p, std::nothrow); }, false, false},
    {"NewAligned", [](size_t n, Align a) { return ::operator new(n, a); },
     [](void* p, size_t, Align a) { ::operator delete(p, a); }, true, true},
    {"NewArrayAligned", [](size_t n, Align a) { return ::operator new[](n, a); },
     [](void* p, size_t, Align a) { ::operator delete[](p, a); }, true, true},
    {"NewAlignedSizedDelete", [](size_t n, Align a) { return ::operator new(n, a); },
     [](void* p, size_t n, Align a) { ::operator delete(p, n, a); }, true, true},
    {"NewArrayAlignedSizedDelete", [](size_t n, Align a) { return ::operator new[](n, a); },
     [](void* p, size_t n, Align a) { ::operator delete[](p, n, a); }, true, true},
    {"NewAlignedNothrow", [](size_t n, Align a) { return ::operator new(n, a, std::nothrow); },
     [](void* p, size_t, Align a) { ::operator delete(p, a, std::nothrow); }, true, false},
    {"NewArrayAlignedNothrow",
     [](size_t n, Align a) { return ::operator new[](n, a, std::nothrow); },
     [](void* p, size_t, Align a) { ::operator delete[](p, a, std::nothrow); }, true, false},
};

int handler_calls = 0;

class NewDeleteTest : public testing::TestWithParam<Form> {
 protected:
  void SetUp() override { handler_calls = 0; }
  void TearDown() override { std::set_new_handler(nullptr); }
  void* Allocate(size_t size, size_t alignment = 64) {
    return Opaque(GetParam().allocate(Opaque(size), Align{alignment}));
  }
};

TEST_P(NewDeleteTest, GivesWholeWritableBlocks) {
  for (size_t alignment = 16; alignment <= (GetParam().takes_alignment ? 1 << 20 : 16);
       alignment *= 2) {
    for (size_t size : kSizes) {
      void* blocks[3];
      for (size_t i = 0; i < 3; ++i) {
        blocks[i] = Allocate(size, alignment);
        ASSERT_NE(blocks[i], nullptr);
        ASSERT_EQ(reinterpret_cast<uintptr_t>(blocks[i]) % alignment, 0u);
        FillPattern(blocks[i], size, i);
      }
      ASSERT_NE(blocks[0], blocks[1]);
      for (size_t i = 0; i < 3; ++i) {
        ASSERT_TRUE(HasPattern(blocks[i], size, i)) << size;
        GetParam().release(blocks[i], size, Align{alignment});
      }
    }
  }
}

TEST_P(NewDeleteTest, DeleteOfNullDoesNothing) { GetParam().release(nullptr, 8, Align{64}); }

TEST_P(NewDeleteTest, ATooLargeSizeThrowsBadAllocOrReturnsNull) {
  for (size_t size : {kTooLarge - 1, kTooLarge, SIZE_MAX - 4096, SIZE_MAX}) {
    // libstdc++ 12 rounds the size up to the alignment, wraps, and allocates 0 bytes.
    const bool libstdcxx = LibraryUnderTest::ExpectedLevel() == "none";
    if (libstdcxx && GetParam().takes_alignment && size == SIZE_MAX) continue;
    if (GetParam().throws) {
      EXPECT_THROW(Allocate(size), std::bad_alloc);
    } else {
      EXPECT_EQ(Allocate(size), nullptr);
    }
  }
}

TEST_P(NewDeleteTest, TheNewHandlerIsCalledUntilItIsRemoved) {
  std::set_new_handler([] {
    if (++handler_calls == 3) std::set_new_handler(nullptr);
  });
  if (GetParam().throws) {
    EXPECT_THROW(Allocate(kTooLarge), std::bad_alloc);
  } else {
    EXPECT_EQ(Allocate(kTooLarge), nullptr);
  }
  EXPECT_EQ(handler_calls, 3);
}

struct HandlerGaveUp : std::bad_alloc {};

TEST_P(NewDeleteTest, WhatTheNewHandlerThrowsReachesTheCallerOrBecomesNull) {
  std::set_new_handler([] { throw HandlerGaveUp(); });
  if (GetParam().throws) {
    EXPECT_THROW(Allocate(kTooLarge), HandlerGaveUp);
  } else {
    EXPECT_EQ(Allocate(kTooLarge), nullptr);
  }
}

INSTANTIATE_TEST_SUITE_P(, NewDeleteTest, testing::ValuesIn(kForms),
                         [](const auto& row) { return std::string(row.param.name); });

TEST(NewExpressionTest, AnOveralignedTypeGetsItsAlignment) {
  struct alignas(256) Wide {
    char bytes[300];
  };
  std::vector<Wide*> all;
  for (int i = 0; i < 100; ++i) all.push_back(new Wide());
  for (Wide* wide : all) EXPECT_EQ(reinterpret_cast<uintptr_t>(wide) % 256, 0u);
  for (Wide* wide : all) delete wide;
}

TEST(NewExpressionTest, AThrowingConstructorGivesItsMemoryBack) {
  struct Thrower {
    Thrower() { throw 7; }
    char bytes[100];
  };
  for (int i = 0; i < 1000; ++i) EXPECT_THROW(delete new Thrower, int);
}

TEST(NewExpressionTest, TheHeapGoesOnAfterBadAlloc) {
  for (int i = 0; i < 100; ++i) {
    EXPECT_THROW(Opaque(::operator new(Opaque(kTooLarge))), std::bad_alloc);
    void* block = ::operator new(Opaque(size_t{1000}));
    FillPattern(block, 1000, 1);
    ASSERT_TRUE(HasPattern(block, 1000, 1));
    ::operator delete(block);
  }
}

}  // namespace
