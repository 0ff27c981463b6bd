#include "hardened/prim/raw_writer.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <thread>

#include "gtest/gtest.h"

namespace hardened::prim {
namespace {

TEST(RawWriterTest, NumbersAreWrittenInFull) {
  RawWriter out;
  out.Decimal(0).Char(' ').Decimal(UINT64_MAX).Char(' ').Hex(0).Char(' ').Hex(0x7f3a5c0012c0);
  EXPECT_EQ(out.view(), "0 18446744073709551615 0x0 0x7f3a5c0012c0");
}

TEST(RawWriterTest, HexWritesTheLargestAddress) {
  RawWriter out;
  out.Hex(UINTPTR_MAX);
  EXPECT_EQ(out.view(), "0x" + std::string(2 * sizeof(uintptr_t), 'f'));
}

TEST(RawWriterTest, PaddedFillsShortTextAndKeepsLongText) {
  RawWriter out;
  out.Padded("ab", 4).Padded("abcdef", 4).Char('|');
  EXPECT_EQ(out.view(), "ab  abcdef|");
}

TEST(RawWriterTest, EscapedLeavesPrintableAsciiAlone) {
  for (int byte = 0; byte < 256; ++byte) {
    RawWriter out;
    const char c = static_cast<char>(byte);
    out.Escaped({&c, 1});
    if (byte >= 0x20 && byte < 0x7f) {
      EXPECT_EQ(out.view(), std::string(1, c));
    } else {
      char text[8];
      snprintf(text, sizeof(text), "\\x%02x", byte);
      EXPECT_EQ(out.view(), text);
    }
  }
  RawWriter out;
  EXPECT_EQ(out.Escaped("a\x1b[1m\n").view(), "a\\x1b[1m\\x0a");
}

TEST(RawWriterTest, WhatDoesNotFitIsCutOff) {
  char memory[8] = "zzzzzzz";
  RawWriter out(std::span<char>(memory, 5));
  out.Text("abc");
  EXPECT_FALSE(out.truncated());
  out.Decimal(12345).Char('x').Padded("", 100);
  EXPECT_EQ(out.view(), "abc12");
  EXPECT_TRUE(out.truncated());
  EXPECT_EQ(memory[5], 'z');
}

TEST(RawWriterTest, TheInternalBufferHoldsItsCapacity) {
  RawWriter out;
  for (size_t i = 0; i < RawWriter::kInternalCapacity; ++i) out.Char('a');
  EXPECT_FALSE(out.truncated());
  out.Char('b');
  EXPECT_TRUE(out.truncated());
  EXPECT_EQ(out.view(), std::string(RawWriter::kInternalCapacity, 'a'));
}

TEST(RawWriterTest, FlushWritesEverythingAndEmptiesTheBuffer) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  RawWriter out;
  EXPECT_TRUE(out.Text("hello").Flush(ends[1]));
  EXPECT_EQ(out.view(), "");
  char buffer[16];
  EXPECT_EQ(read(ends[0], buffer, sizeof(buffer)), 5);
  close(ends[0]);
  close(ends[1]);
}

TEST(RawWriterTest, FlushGivesUpOnAnErrorAndKeepsErrno) {
  RawWriter out;
  errno = 77;
  EXPECT_FALSE(out.Text("hello").Flush(-1));
  EXPECT_EQ(errno, 77);
  EXPECT_EQ(out.view(), "");
}

TEST(RawWriterTest, FlushGoesOnAfterInterruptions) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  ASSERT_EQ(fcntl(ends[1], F_SETPIPE_SZ, 4096), 4096);
  std::string filler(4096, 'f');
  ASSERT_EQ(write(ends[1], filler.data(), filler.size()), 4096);

  struct sigaction action = {};
  action.sa_handler = [](int) {};  // no SA_RESTART: write() fails with EINTR
  struct sigaction old_action;
  sigaction(SIGALRM, &action, &old_action);
  std::string got;
  std::thread reader([&got, fd = ends[0]] {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    char buffer[4096];
    while (got.size() < 4096 + 1000) {
      const ssize_t size = read(fd, buffer, sizeof(buffer));
      if (size <= 0) break;
      got.append(buffer, static_cast<size_t>(size));
    }
  });
  const itimerval fast = {.it_interval = {0, 2000}, .it_value = {0, 2000}};
  setitimer(ITIMER_REAL, &fast, nullptr);
  RawWriter out;
  for (int i = 0; i < 1000; ++i) out.Char('x');
  const bool complete = out.Flush(ends[1]);
  const itimerval off = {};
  setitimer(ITIMER_REAL, &off, nullptr);
  close(ends[1]);
  reader.join();
  sigaction(SIGALRM, &old_action, nullptr);
  EXPECT_TRUE(complete);
  EXPECT_EQ(got, filler + std::string(1000, 'x'));
  close(ends[0]);
}

}  // namespace
}  // namespace hardened::prim
