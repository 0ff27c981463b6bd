// behaviour_test: the bounded functions do what libc's do: contents, return values, errno, overlap,
// before main, in every thread. Runs with both libraries, with one, and on libc as a control.

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

extern "C" {
void* __memcpy_chk(void*, const void*, size_t, size_t);
char* __strcat_chk(char*, const char*, size_t);
char* __strncat_chk(char*, const char*, size_t, size_t);
char* __strcpy_chk(char*, const char*, size_t);
wchar_t* __wcsncpy_chk(wchar_t*, const wchar_t*, size_t, size_t);
}

namespace {

// Before the constructors of every library: nothing is looked up by then.
char early[4] = "abc";
char* early_block;
void CopyInPreinit(int, char**, char**) {
  early_block = static_cast<char*>(malloc(300));
  memset(early_block, 'e', 300);
  memcpy(early_block, early, 3);
  strcpy(early_block + 290, "end");
}
[[gnu::section(".preinit_array"), gnu::used]] void (*preinit)(int, char**, char**) = CopyInPreinit;

TEST(BehaviourTest, CopiesBeforeMainAreDone) {
  EXPECT_EQ(std::string(early_block, 4), "abce");
  EXPECT_STREQ(early_block + 290, "end");
}

template <class Char>
struct Functions;
template <>
struct Functions<char> {
  static constexpr auto copy = &memcpy;
  static constexpr auto move = &memmove;
  static constexpr auto copy_to_end = &mempcpy;
  static constexpr auto fill = &memset;
  static constexpr auto string_copy = &strcpy;
  static constexpr auto string_copy_to_end = &stpcpy;
  static constexpr auto copy_padded = &strncpy;
  static constexpr auto copy_padded_to_end = &stpncpy;
  static constexpr auto append = &strcat;
  static constexpr auto append_most = &strncat;
};
template <>
struct Functions<wchar_t> {
  static constexpr auto copy = &wmemcpy;
  static constexpr auto move = &wmemmove;
  static constexpr auto copy_to_end = &wmempcpy;
  static constexpr auto fill = &wmemset;
  static constexpr auto string_copy = &wcscpy;
  static constexpr auto string_copy_to_end = &wcpcpy;
  static constexpr auto copy_padded = &wcsncpy;
  static constexpr auto copy_padded_to_end = &wcpncpy;
  static constexpr auto append = &wcscat;
  static constexpr auto append_most = &wcsncat;
};

// Two heap blocks of exactly `size` characters, and what they should hold.
template <class Char>
class BehaviourTest : public testing::Test {
 protected:
  using F = Functions<Char>;
  using Text = std::vector<Char>;

  static constexpr size_t kSize = 200;

  void SetUp() override {
    to_ = static_cast<Char*>(malloc(kSize * sizeof(Char)));
    from_ = static_cast<Char*>(malloc(kSize * sizeof(Char)));
    expected_.resize(kSize);
  }
  void TearDown() override {
    free(to_);
    free(from_);
  }

  // `from` becomes a string of `length`, `to` one of `before`; both full of other things behind.
  void Prepare(size_t length, size_t before = 0) {
    for (size_t i = 0; i < kSize; ++i) {
      from_[i] = static_cast<Char>(i % 90 + 33);
      to_[i] = expected_[i] = static_cast<Char>(i % 80 + 40);
    }
    if (length < kSize) from_[length] = 0;
    to_[before] = expected_[before] = 0;
    errno = 4711;
  }
  void Expect(size_t at, size_t count) {
    for (size_t i = 0; i < count; ++i) expected_[at + i] = from_[i];
  }
  void ExpectNothingElse() {
    for (size_t i = 0; i < kSize; ++i) ASSERT_EQ(to_[i], expected_[i]) << i;
    EXPECT_EQ(errno, 4711);
  }

  Char* to_;
  Char* from_;
  Text expected_;
};
using Characters = testing::Types<char, wchar_t>;
TYPED_TEST_SUITE(BehaviourTest, Characters);

TYPED_TEST(BehaviourTest, BlocksAreCopiedAndFilled) {
  using F = Functions<TypeParam>;
  TypeParam* to = this->to_;
  TypeParam* from = this->from_;
  for (size_t at = 0; at < 17; ++at) {
    for (size_t count = 0; at + count <= this->kSize; ++count) {
      this->Prepare(this->kSize);
      this->Expect(at, count);
      ASSERT_EQ(F::copy(to + at, from, count), to + at);
      ASSERT_NO_FATAL_FAILURE(this->ExpectNothingElse());
      this->Prepare(this->kSize);
      this->Expect(at, count);
      ASSERT_EQ(F::copy_to_end(to + at, from, count), to + at + count);
      ASSERT_NO_FATAL_FAILURE(this->ExpectNothingElse());
      this->Prepare(this->kSize);
      for (size_t i = 0; i < count; ++i) this->expected_[at + i] = TypeParam{'!'};
      ASSERT_EQ(F::fill(to + at, '!', count), to + at);
      ASSERT_NO_FATAL_FAILURE(this->ExpectNothingElse());
    }
  }
}

TYPED_TEST(BehaviourTest, OverlappingBlocksAreMoved) {
  using F = Functions<TypeParam>;
  TypeParam* block = this->to_;
  for (const size_t count : {0, 1, 7, 16, 33, 100}) {
    for (size_t from = 0; from < 70; from += 3) {
      for (size_t to = 0; to < 70; to += 3) {
        this->Prepare(0);
        const std::vector<TypeParam> before = this->expected_;
        for (size_t i = 0; i < count; ++i) this->expected_[to + i] = before[from + i];
        ASSERT_EQ(F::move(block + to, block + from, count), block + to);
        ASSERT_NO_FATAL_FAILURE(this->ExpectNothingElse());
      }
    }
  }
}

TYPED_TEST(BehaviourTest, StringsAreCopied) {
  using F = Functions<TypeParam>;
  TypeParam* to = this->to_;
  TypeParam* from = this->from_;
  for (size_t length = 0; length < this->kSize; ++length) {
    this->Prepare(length);
    this->Expect(0, length + 1);
    ASSERT_EQ(F::string_copy(to, from), to);
    ASSERT_NO_FATAL_FAILURE(this->ExpectNothingElse());
    this->Prepare(length);
    this->Expect(0, length + 1);
    ASSERT_EQ(F::string_copy_to_end(to, from), to + length);
    ASSERT_NO_FATAL_FAILURE(this->ExpectNothingElse());
  }
}

TYPED_TEST(BehaviourTest, StringsArePaddedOrCut) {
  using F = Functions<TypeParam>;
  TypeParam* to = this->to_;
  TypeParam* from = this->from_;
  for (const size_t length : {0, 1, 15, 16, 100, 199, 200}) {
    for (size_t count = 0; count <= this->kSize; ++count) {
      const size_t copied = length < count ? length : count;
      for (const bool to_end : {false, true}) {
        this->Prepare(length);
        this->Expect(0, copied);
        for (size_t i = copied; i < count; ++i) this->expected_[i] = 0;
        if (to_end) {
          ASSERT_EQ(F::copy_padded_to_end(to, from, count), to + copied);
        } else {
          ASSERT_EQ(F::copy_padded(to, from, count), to);
        }
        ASSERT_NO_FATAL_FAILURE(this->ExpectNothingElse());
      }
    }
  }
}

TYPED_TEST(BehaviourTest, StringsAreAppended) {
  using F = Functions<TypeParam>;
  TypeParam* to = this->to_;
  TypeParam* from = this->from_;
  for (const size_t before : {0, 1, 50, 150}) {
    for (size_t length = 0; before + length < this->kSize; ++length) {
      this->Prepare(length, before);
      this->Expect(before, length + 1);
      ASSERT_EQ(F::append(to, from), to);
      ASSERT_NO_FATAL_FAILURE(this->ExpectNothingElse());
      for (const size_t most : {size_t{0}, length / 2, length, length + 1, SIZE_MAX}) {
        const size_t taken = length < most ? length : most;
        this->Prepare(length, before);
        this->Expect(before, taken);
        this->expected_[before + taken] = 0;
        ASSERT_EQ(F::append_most(to, from, most), to);
        ASSERT_NO_FATAL_FAILURE(this->ExpectNothingElse());
      }
    }
  }
}

TEST(BehaviourTest, OldFunctionsWork) {
  char text[] = "0123456789";
  bcopy(text, text + 2, 8);
  EXPECT_STREQ(text, "0101234567");
  bzero(text + 3, 2);
  EXPECT_EQ(std::string(text, 10), std::string("010\0\0"
                                               "34567",
                                               10));
}

TEST(BehaviourTest, NothingIsCopiedFromAndToNowhere) {
  void* volatile nowhere = nullptr;
  EXPECT_EQ(memcpy(nowhere, nowhere, 0), nullptr);
  EXPECT_EQ(memmove(nowhere, nowhere, 0), nullptr);
  EXPECT_EQ(memset(nowhere, 1, (0)), nullptr);
  char* block = static_cast<char*>(malloc(16));
  EXPECT_EQ(memcpy(block + 16, block, 0), block + 16);  // one past the end is a valid pointer
  EXPECT_EQ(strncpy(block + 16, "x", 0), block + 16);
  free(block);
}

TEST(BehaviourTest, ManyThreadsCopyTheirBlocks) {
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t, &wrong] {
      for (size_t i = 1; i < 20'000; ++i) {
        const size_t size = i * 7919 % (i % 50 == 0 ? 200'000 : 3000) + 1;
        char* from = static_cast<char*>(malloc(size));
        char* to = static_cast<char*>(malloc(size));
        memset(from, t + 1, size);
        memcpy(to, from, size);
        if (to[size - 1] != t + 1) ++wrong;
        free(from);
        free(to);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(BehaviourDeathTest, FortifiedFormsStopWhereTheCompilerKnowsTheSize) {
  constexpr char kLibcSays[] = "buffer overflow detected";
  char text[16] = "0123456";
  wchar_t wide[4];
  EXPECT_DEATH(__memcpy_chk(text, "12345678", 8, 7), kLibcSays);
  EXPECT_DEATH(__strcpy_chk(text, "1234567", 7), kLibcSays);
  EXPECT_DEATH(__strcat_chk(text, "1", 8), kLibcSays);
  EXPECT_DEATH(__strncat_chk(text, "12", 1, 8), kLibcSays);
  EXPECT_DEATH(__wcsncpy_chk(wide, L"1", 4, 3), kLibcSays);
  __memcpy_chk(text, "12345678", 8, 8);
  EXPECT_EQ(std::string(text, 8), "12345678");
  text[3] = 0;
  __strcat_chk(text, "45", 6);
  EXPECT_STREQ(text, "12345");
}

}  // namespace
