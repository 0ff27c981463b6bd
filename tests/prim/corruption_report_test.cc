#include "hardened/prim/corruption_report.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <set>
#include <string>
#include <thread>

#include "gtest/gtest.h"
#include "tests/prim/child_process.h"

namespace hardened::prim {
namespace {

using Clock = std::chrono::steady_clock;

std::string Format(const CorruptionReport& report) {
  RawWriter out;
  FormatCorruption(report, out);
  EXPECT_FALSE(out.truncated());
  return std::string(out.view());
}

constexpr CorruptionReport kDoubleFree = {.kind = CorruptionKind::kDoubleFree,
                                          .address = 0x7f3a5c0012c0,
                                          .slot_start = 0x7f3a5c0012c0,
                                          .slot_size = 48,
                                          .slot_index = 17,
                                          .in_slab = true,
                                          .found_by = "free",
                                          .level = "strict"};

constexpr char kDoubleFreeText[] =
    "hardened: heap corruption: double free\n"
    "  pointer   0x7f3a5c0012c0  (slot 17 of a 48-byte slab)\n"
    "  found by  free, level strict\n"
    "  meaning   this pointer was already freed\n"
    "  read      SECURITY.md#double-free\n";

TEST(CorruptionReportTest, TheTextOfADoubleFreeIsStable) {
  EXPECT_EQ(Format(kDoubleFree), kDoubleFreeText);
}

TEST(CorruptionReportTest, EveryOptionalFactHasItsLine) {
  CorruptionReport report = kDoubleFree;
  report.kind = CorruptionKind::kInteriorPointer;
  report.address += 16;
  report.requested_size = 40;
  report.owner_thread = 1234;
  report.detail = "a mark";
  EXPECT_EQ(Format(report),
            "hardened: heap corruption: interior pointer\n"
            "  pointer   0x7f3a5c0012d0  (slot 17 of a 48-byte slab)\n"
            "  offset    16 bytes into the slot\n"
            "  asked for 40 bytes\n"
            "  owner     thread 1234\n"
            "  found by  free, level strict\n"
            "  meaning   this pointer points into an allocation, not at its start\n"
            "  detail    a mark\n"
            "  read      SECURITY.md#interior-pointer\n");
}

TEST(CorruptionReportTest, OffsetsOutsideTheSlotSaySo) {
  CorruptionReport report = kDoubleFree;
  report.address = report.slot_start - 8;
  EXPECT_EQ(report.offset(), -8);
  EXPECT_NE(Format(report).find("  offset    8 bytes before the slot\n"), std::string::npos);
  report.address = report.slot_start + 50;
  EXPECT_NE(Format(report).find("  offset    2 bytes past the end of the slot\n"),
            std::string::npos);
}

TEST(CorruptionReportTest, RunsAndForeignPointersAreNamed) {
  CorruptionReport run = {.kind = CorruptionKind::kHeapOverflow,
                          .address = 0x20010,
                          .slot_start = 0x20000,
                          .slot_size = 262144,
                          .in_run = true,
                          .found_by = "realloc"};
  EXPECT_EQ(Format(run),
            "hardened: heap corruption: access outside an allocation\n"
            "  pointer   0x20010  (run of 262144 bytes)\n"
            "  offset    16 bytes into the run\n"
            "  found by  realloc\n"
            "  meaning   something touched the guard beside an allocation\n"
            "  read      SECURITY.md#access-outside-an-allocation\n");
  EXPECT_EQ(Format({.kind = CorruptionKind::kForeignPointer, .address = 0x10, .found_by = "free"}),
            "hardened: heap corruption: foreign pointer\n"
            "  pointer   0x10  (not in the heap)\n"
            "  found by  free\n"
            "  meaning   this pointer did not come from this allocator\n"
            "  read      SECURITY.md#foreign-pointer\n");
}

TEST(CorruptionReportTest, EveryKindHasItsNameAndItsOwnMeaning) {
  constexpr std::array<const char*, kCorruptionKinds> kNames = {
      "double free",      "stale pointer",
      "interior pointer", "misaligned pointer",
      "foreign pointer",  "unallocated pointer",
      "canary clobbered", "write after free",
      "bad link",         "allocation kind mismatch",
      "size mismatch",    "access outside an allocation",
      "use after free",   "heap overflow by a call"};
  std::set<std::string_view> meanings;
  for (int i = 0; i < kCorruptionKinds; ++i) {
    const auto kind = static_cast<CorruptionKind>(i);
    EXPECT_EQ(CorruptionKindName(kind), kNames[static_cast<size_t>(i)]);
    EXPECT_TRUE(meanings.insert(CorruptionKindMeaning(kind)).second) << kNames[i];
  }
}

TEST(CorruptionReportTest, ADamagedReportIsStillFormatted) {
  CorruptionReport report;
  report.kind = static_cast<CorruptionKind>(200);
  report.found_by = nullptr;
  report.level = nullptr;
  report.detail = nullptr;
  EXPECT_NE(Format(report).find("hardened: heap corruption: "), std::string::npos);
}

TEST(CorruptionReportTest, TheLongestReportFitsTheBuffer) {
  std::array<uintptr_t, 100> frames;
  frames.fill(UINTPTR_MAX);
  CorruptionReport report = {.kind = CorruptionKind::kKindMismatch,
                             .address = UINTPTR_MAX,
                             .slot_start = 1,
                             .slot_size = SIZE_MAX,
                             .slot_index = UINT32_MAX,
                             .in_slab = true,
                             .requested_size = SIZE_MAX - 1,
                             .owner_thread = UINT64_MAX,
                             .found_by = "malloc_usable_size",
                             .level = "paranoid",
                             .detail = "allocated by new[] (aligned), freed by sized delete",
                             .alloc_stack = frames.data(),
                             .alloc_stack_size = 100,
                             .free_stack = frames.data(),
                             .free_stack_size = 100};
  const std::string text = Format(report);
  EXPECT_EQ(Count(text, "    0xffffffffffffffff\n"), 32);
  EXPECT_NE(text.find("\n  allocated at\n    0x"), std::string::npos);
  EXPECT_NE(text.find("\n  freed at\n    0x"), std::string::npos);
}

TEST(CorruptionReportDeathTest, ReportingWritesTheTextAndAborts) {
  const ChildResult child = RunInChild([] { ReportCorruption(kDoubleFree); });
  EXPECT_TRUE(child.died_of(SIGABRT)) << child.status;
  EXPECT_EQ(child.text, kDoubleFreeText);
}

TEST(CorruptionReportDeathTest, ABlockedOrIgnoredAbortSignalSavesNobody) {
  const ChildResult child = RunInChild([] {
    signal(SIGABRT, SIG_IGN);
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, nullptr);
    ReportCorruption(kDoubleFree);
  });
  EXPECT_TRUE(child.died_of(SIGABRT)) << child.status;
}

TEST(CorruptionReportDeathTest, ACrashHandlerFindsTheFacts) {
  const ChildResult child = RunInChild([] {
    signal(SIGABRT, [](int) {
      RawWriter out;
      out.Text("handler: ").Hex(hardened_last_corruption.address).Char(' ');
      out.Text(hardened_last_corruption.found_by).Char('\n').Flush(STDERR_FILENO);
    });
    ReportCorruption(kDoubleFree);
  });
  EXPECT_TRUE(child.died_of(SIGABRT)) << child.status;
  EXPECT_EQ(child.text, std::string(kDoubleFreeText) + "handler: 0x7f3a5c0012c0 free\n");
}

TEST(CorruptionReportDeathTest, ReportingAgainFromTheCrashHandlerEndsAtOnce) {
  // Who waits for another reporter takes two seconds each time; a busy machine not ten times.
  auto least = Clock::duration::max();
  for (int i = 0; i < 10 && least >= std::chrono::milliseconds(1500); ++i) {
    const auto start = Clock::now();
    const ChildResult child = RunInChild([] {
      signal(SIGABRT, [](int) { ReportCorruption(kDoubleFree); });
      ReportCorruption(kDoubleFree);
    });
    EXPECT_TRUE(child.died_of(SIGABRT)) << child.status;
    EXPECT_EQ(child.text, kDoubleFreeText);
    least = std::min(least, Clock::now() - start);
  }
  EXPECT_LT(least, std::chrono::milliseconds(1500));
}

TEST(CorruptionReportDeathTest, OfManyThreadsOneReports) {
  for (int round = 0; round < 10; ++round) {
    const ChildResult child = RunInChild([] {
      std::atomic<int> ready{0};
      const auto report = [&ready] {
        ready.fetch_add(1);
        while (ready.load() < 4) {
        }
        ReportCorruption(kDoubleFree);
      };
      std::thread threads[] = {std::thread(report), std::thread(report), std::thread(report),
                               std::thread(report)};
      for (std::thread& thread : threads) thread.join();
    });
    EXPECT_TRUE(child.died_of(SIGABRT)) << child.status;
    EXPECT_EQ(child.text, kDoubleFreeText);
  }
}

TEST(CorruptionReportDeathTest, ASecondReporterDoesNotWaitForEver) {
  const auto start = Clock::now();
  const ChildResult child = RunInChild([] {
    static std::atomic<bool> hanging{false};
    // The first reporter's crash handler hangs, once.
    signal(SIGABRT, [](int) {
      signal(SIGABRT, SIG_DFL);
      hanging = true;
      for (;;) pause();
    });
    std::thread first([] { ReportCorruption(kDoubleFree); });
    while (!hanging) std::this_thread::yield();
    ReportCorruption(kDoubleFree);
  });
  EXPECT_TRUE(child.died_of(SIGABRT)) << child.status;
  EXPECT_EQ(child.text, kDoubleFreeText);
  // No bound above but the child's alarm: a busy machine stretches each of the 200 pauses.
  EXPECT_GT(Clock::now() - start, std::chrono::milliseconds(1800));
}

TEST(CorruptionReportTest, PrintingReturnsKeepsErrnoAndIsLimited) {
  const ChildResult child = RunInChild([] {
    errno = 77;
    CorruptionReport report = kDoubleFree;
    for (int i = 0; i < 100; ++i) {
      ++report.caller;
      PrintCorruption(report);
    }
    if (errno != 77) _exit(1);
    if (PrintedCorruptions() != 100) _exit(2);
    if (hardened_last_corruption.address != kDoubleFree.address) _exit(3);
  });
  EXPECT_TRUE(child.exited_with(0)) << child.status;
  EXPECT_EQ(Count(child.text, kDoubleFreeText), static_cast<int>(kMaxPrintedCorruptions));
  EXPECT_EQ(Count(child.text, "counted, not written\n"), 1);
}

TEST(CorruptionReportTest, WhatOnePlaceDoesAgainIsWrittenOnce) {
  const auto texts_of_two = [](CorruptionReport second) {
    const ChildResult child = RunInChild([second] {
      for (int i = 0; i < 10; ++i) {
        PrintCorruption(kDoubleFree);
        PrintCorruption(second);
      }
      if (PrintedCorruptions() != 20) _exit(1);
    });
    EXPECT_TRUE(child.exited_with(0)) << child.status;
    return Count(child.text, "hardened: heap corruption");
  };
  CorruptionReport report = kDoubleFree;
  report.address += 4096;
  report.slot_size = 64;
  EXPECT_EQ(texts_of_two(report), 1);
  report.caller = 0x1234;
  EXPECT_EQ(texts_of_two(report), 2);
  report = kDoubleFree;
  report.found_by = "realloc";
  EXPECT_EQ(texts_of_two(report), 2);
  report = kDoubleFree;
  report.kind = CorruptionKind::kMisalignedPointer;
  EXPECT_EQ(texts_of_two(report), 2);
}

TEST(CorruptionReportTest, DamageOfOtherSizesIsOfAnotherPlace) {
  const ChildResult child = RunInChild([] {
    CorruptionReport report = kDoubleFree;
    report.kind = CorruptionKind::kCanaryClobbered;
    for (int i = 0; i < 10; ++i) {
      for (report.slot_size = 16; report.slot_size <= 64; report.slot_size += 16) {
        PrintCorruption(report);
      }
    }
  });
  EXPECT_EQ(Count(child.text, "canary clobbered\n"), 4);
}

TEST(CorruptionReportTest, TheLastReportIsWrittenAfterAnyNumber) {
  const ChildResult child = RunInChild([] {
    CorruptionReport report = kDoubleFree;
    for (int i = 0; i < 100; ++i) {
      ++report.caller;
      PrintCorruption(report);
    }
    PrintLastCorruption(kDoubleFree);
  });
  EXPECT_TRUE(child.text.ends_with(kDoubleFreeText)) << child.text;
}

}  // namespace
}  // namespace hardened::prim
