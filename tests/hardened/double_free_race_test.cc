// double_free_race_test: many threads free one pointer at the same time.
//
// Each schedule is a child process: what it does is drawn from its number, when its threads meet
// is up to the machine. Every one must end in a report, at a call or at the collection of remote
// frees, and no slot may be handed out twice.

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tests/hardened/heap_under_test.h"
#include "tests/support/seeded_stream.h"

namespace hardened {
namespace {

enum ExitCode : int { kSilent = 40, kHandedOutTwice = 41 };

struct Schedule {
  size_t bytes;
  uint32_t threads;  // that free, besides the owner
  bool owner_frees;
  std::vector<uint32_t> delays;  // of each thread and the owner
};

Schedule DrawSchedule(uint64_t number) {
  SeededStream random(number);
  constexpr size_t kSizes[] = {16, 64, 64, 1000, 8192, 60'000, 100'000};
  Schedule schedule;
  schedule.bytes = kSizes[random.Below(7)];
  schedule.owner_frees = random.Below(4) != 0;
  // Two to 64 in all, few more often than many.
  const uint32_t freeing = random.Between(2, 2u << random.Below(6));
  schedule.threads = schedule.owner_frees ? freeing - 1 : freeing;
  for (uint32_t i = 0; i <= schedule.threads; ++i) {
    schedule.delays.push_back(random.Below(1u << random.Below(8)));
  }
  return schedule;
}

using Clock = std::chrono::steady_clock;

// Where the threads of a schedule meet: all of them are there, and it is time.
struct Meeting {
  std::atomic<uint32_t> missing;
  std::atomic<Clock::rep> time{0};

  void Wait() {
    if (missing.fetch_sub(1) == 1) {
      time.store((Clock::now() + std::chrono::microseconds(5)).time_since_epoch().count());
    }
    while (time.load() == 0) sched_yield();
    while (Clock::now().time_since_epoch().count() < time.load()) {
    }
  }
};

// Frees `warm_up` first: code and data of the path are then at hand, and threads meet more exactly.
void MeetAndFree(Meeting& meeting, uint32_t delay, char* warm_up, char* block) {
  Free(warm_up);
  meeting.Wait();
  for (uint32_t i = 0; i < delay; ++i) __asm__ volatile("");
  Free(block);
}

// Frees one block from everywhere; comes back when nobody was stopped.
void Race(const Schedule& schedule, char* block) {
  Meeting meeting{schedule.threads + schedule.owner_frees};
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < schedule.threads; ++i) {
    threads.emplace_back(MeetAndFree, std::ref(meeting), schedule.delays[i],
                         Allocate(schedule.bytes), block);
  }
  if (schedule.owner_frees)
    MeetAndFree(meeting, schedule.delays.back(), Allocate(schedule.bytes), block);
  for (std::thread& thread : threads) thread.join();
}

// What follows a race that nobody has seen: the owner's next collection must see it.
[[noreturn]] void CollectOrExit(size_t bytes, const char* block) {
  const size_t enough =
      bytes > core::kMaxSlotSize ? 10 : 2 * core::SlotsPerSlab(core::SizeClassOf(bytes)) + 512;
  int handed_out = 0;
  for (size_t i = 0; i < enough; ++i) {
    if (Allocate(bytes) == block && ++handed_out == 2) _exit(kHandedOutTwice);
  }
  _exit(kSilent);
}

[[noreturn]] void RunSchedule(const Schedule& schedule) {
  char* block = Allocate(schedule.bytes);
  Race(schedule, block);
  CollectOrExit(schedule.bytes, block);
}

struct Outcome {
  int status = 0;
  std::string text;
};

Outcome RunInChild(uint64_t number) {
  int ends[2];
  if (pipe(ends) != 0) return {};
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    const rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    dup2(ends[1], STDERR_FILENO);
    RunSchedule(DrawSchedule(number));
  }
  close(ends[1]);
  Outcome outcome;
  char buffer[2048];
  for (ssize_t size; (size = read(ends[0], buffer, sizeof(buffer))) > 0;) {
    outcome.text.append(buffer, static_cast<size_t>(size));
  }
  close(ends[0]);
  waitpid(child, &outcome.status, 0);
  return outcome;
}

bool Contains(const Outcome& outcome, const char* part) {
  return outcome.text.find(part) != std::string::npos;
}

class DoubleFreeRaceTest : public testing::TestWithParam<uint64_t> {};

constexpr uint64_t kSchedulesPerTest = 1000;

TEST_P(DoubleFreeRaceTest, EveryScheduleEndsInAReport) {
  int at_collection = 0;
  for (uint64_t i = 0; i < kSchedulesPerTest; ++i) {
    const uint64_t number = GetParam() * kSchedulesPerTest + i;
    const Outcome outcome = RunInChild(number);
    ASSERT_FALSE(WIFEXITED(outcome.status) && WEXITSTATUS(outcome.status) == kSilent)
        << "schedule " << number << " went unnoticed";
    ASSERT_FALSE(WIFEXITED(outcome.status) && WEXITSTATUS(outcome.status) == kHandedOutTwice)
        << "schedule " << number << " got a slot twice";
    ASSERT_TRUE(WIFSIGNALED(outcome.status) && WTERMSIG(outcome.status) == SIGABRT)
        << "schedule " << number << " ended with status " << outcome.status << "\n"
        << outcome.text;
    ASSERT_EQ(outcome.text.find("hardened: heap corruption: double free\n"), 0u)
        << "schedule " << number << "\n"
        << outcome.text;
    at_collection += Contains(outcome, "found by  collection");
  }
  std::printf("%d of %d seen at the collection\n", at_collection,
              static_cast<int>(kSchedulesPerTest));
}

// The one order in which no call can see it, staged: the owner has looked at the record before the
// other thread marked it and writes its own mark after.
TEST(DoubleFreeRaceDeathTest, MarksThatOverwroteEachOtherAreReportedAtTheCollection) {
  for (const size_t bytes : {16, 64, 1000, 60'000}) {
    const auto race = [bytes] {
      char* block = AllocateSlot(bytes);
      core::SliceDescriptor& slice = *core::heap_state.FindSlice(AddressOf(block));
      core::SlotRecord& record = slice.RecordAt(slice.IndexOf(AddressOf(block)),
                                                HeapUnderTest::kFeatures.core.record_shift);
      std::thread([block] { Free(block); }).join();
      record.store(core::kFreedRecord);
      CollectOrExit(bytes, block);
    };
    EXPECT_EXIT(race(), testing::KilledBySignal(SIGABRT),
                "^hardened: heap corruption: double free\n(.*\n)*  found by  collection");
  }
}

INSTANTIATE_TEST_SUITE_P(Schedules, DoubleFreeRaceTest, testing::Range<uint64_t>(0, 10));

}  // namespace
}  // namespace hardened
