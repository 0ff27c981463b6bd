// Inputs of the backing allocator: addresses, reset, budget, failures, leaks, who frees what.
//
// With the argument --addresses or --places the program prints the addresses that one input gets,
// and the test compares those of two processes.

#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <new>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "fuzzers/backing_allocator/backing_allocator.h"
#include "gtest/gtest.h"
#include "tests/misuse/child_process.h"
#include "tests/support/resident.h"

namespace {

// Room for what a test sees in an input, without allocations.
struct Seen {
  static constexpr size_t kMost = 4096;
  uintptr_t addresses[kMost];
  size_t count;

  void Add(const void* pointer) { addresses[count++] = reinterpret_cast<uintptr_t>(pointer); }
  std::vector<uintptr_t> All() const { return {addresses, addresses + count}; }
};
Seen seen;

// Does what its bytes say: allocations of all sizes, frees in between, sometimes a realloc.
int Churn(const uint8_t* data, size_t size) {
  seen.count = 0;
  void* kept[16] = {};
  for (size_t i = 0; i < size; ++i) {
    void*& place = kept[i % 16];
    const size_t bytes = size_t{data[i]} * (i % 7 == 0 ? 1500 : 3);
    if (i % 5 == 0) {
      void* moved = std::realloc(place, bytes + 1);
      if (moved != nullptr) place = moved;
    } else if (i % 11 == 0) {
      std::free(place);
      place = std::aligned_alloc(256, 256 * (1 + bytes % 9));
    } else {
      std::free(place);
      place = i % 3 == 0 ? std::calloc(1, bytes) : std::malloc(bytes);
    }
    seen.Add(place);
  }
  for (void* place : kept) std::free(place);
  return 0;
}

hardened_fuzz_options Options() {
  hardened_fuzz_options options;
  hardened_fuzz_get_options(&options);
  return options;
}

std::vector<uint8_t> Input(unsigned number, size_t size = 1500) {
  std::vector<uint8_t> bytes(size);
  for (size_t i = 0; i < size; ++i)
    bytes[i] = static_cast<uint8_t>((i + 1) * (number * 2 + 1) >> 2);
  return bytes;
}

std::vector<uintptr_t> AddressesOf(const std::vector<uint8_t>& input,
                                   const hardened_fuzz_options& options) {
  hardened_fuzz_run_input(&options, &Churn, input.data(), input.size());
  return seen.All();
}

// Begins and ends an input around the body.
class Within {
 public:
  explicit Within(const hardened_fuzz_options& options, std::string_view bytes = "x") {
    EXPECT_EQ(hardened_fuzz_begin_input(&options, reinterpret_cast<const uint8_t*>(bytes.data()),
                                        bytes.size()),
              0);
  }
  hardened_fuzz_result End() {
    hardened_fuzz_result result;
    EXPECT_EQ(hardened_fuzz_end_input(&result), 0);
    return result;
  }
};

// ---- addresses

TEST(AddressesTest, TheSameInputGetsTheSameAddressesAgain) {
  const auto first = AddressesOf(Input(1), Options());
  EXPECT_EQ(std::set<uintptr_t>(first.begin(), first.end()).count(0), 0u);
  EXPECT_EQ(AddressesOf(Input(1), Options()), first);
}

TEST(AddressesTest, WhatOtherInputsAndTheHarnessDidDoesNotMatter) {
  const auto first = AddressesOf(Input(1), Options());
  // The heap of a thread that has ended has free slots to give, but not to an input.
  std::vector<std::string> of_thread;
  std::thread([&of_thread] {
    for (size_t i = 0; i < 2000; ++i) of_thread.emplace_back(i % 400, 'x');
    for (size_t i = 0; i < 2000; i += 2) of_thread[i] = std::string();
  }).join();
  ASSERT_EQ(AddressesOf(Input(1), Options()), first);
  std::vector<std::string> harness;
  for (unsigned number = 2; number < 12; ++number) {
    AddressesOf(Input(number), Options());
    harness.emplace_back(number * 10'000, 'x');
    if (number % 3 == 0) harness.clear();
    ASSERT_EQ(AddressesOf(Input(1), Options()), first) << number;
  }
}

TEST(AddressesTest, AnotherSeedGivesOtherAddresses) {
  hardened_fuzz_options options = Options();
  const auto first = AddressesOf(Input(1), options);
  options.seed = 2;
  const auto second = AddressesOf(Input(1), options);
  ASSERT_EQ(second.size(), first.size());
  // Large ones lie one behind the other, with any seed.
  size_t equal = 0;
  for (size_t i = 0; i < first.size(); ++i) equal += second[i] == first[i];
  EXPECT_LT(equal, first.size() / 4);
  EXPECT_EQ(AddressesOf(Input(1), options), second);
  options.seed = 1;
  EXPECT_EQ(AddressesOf(Input(1), options), first);
}

TEST(AddressesTest, TwoProcessesGetTheSame) {
  char self[4096] = {};
  ASSERT_GT(readlink("/proc/self/exe", self, sizeof(self) - 1), 0);
  const ChildResult first = RunChild({.arguments = {self, "--addresses"}});
  const ChildResult second = RunChild({.arguments = {self, "--addresses"}});
  ASSERT_EQ(first.exit_code, 0) << first.Describe();
  EXPECT_GT(first.out.size(), 1500u * 10);
  EXPECT_EQ(first.out, second.out);
  const ChildResult seeded =
      RunChild({.arguments = {self, "--addresses"}, .environment = {"HARDENED_FUZZ=seed=3"}});
  ASSERT_EQ(seeded.exit_code, 0) << seeded.Describe();
  EXPECT_NE(seeded.out, first.out);
}

// Where within its slice each address of the child is. Without samples, which a seed moves, too.
std::string PlacesOf(const std::string& seed) {
  char self[4096] = {};
  EXPECT_GT(readlink("/proc/self/exe", self, sizeof(self) - 1), 0);
  const ChildResult child =
      RunChild({.arguments = {self, "--places"},
                .environment = {"HARDENED_FUZZ=seed=" + seed, "HARDENED_OPTIONS=sample=0"}});
  EXPECT_EQ(child.exit_code, 0) << child.Describe();
  EXPECT_EQ(child.err, "");
  return child.out;
}

TEST(AddressesTest, TheSeedIsThatOfThePlaces) {
  const std::string first = PlacesOf("1");
  EXPECT_EQ(PlacesOf("1"), first);
  EXPECT_NE(PlacesOf("3"), first);
}

// As many blocks as the input says, of a size of slots and of a size of runs.
int Burst(const uint8_t* data, size_t) {
  static void* taken[2000];
  seen.count = 0;
  const size_t blocks = data[0] * size_t{7};
  for (size_t i = 0; i < blocks; ++i) {
    taken[i] = std::malloc(i % 25 == 0 ? 100'000 : 100);
    seen.Add(taken[i]);
  }
  // In an order of its own; 1801 is a prime.
  for (size_t i = 0; i < blocks; ++i) std::free(taken[(i * 1801 + data[0]) % blocks]);
  return 0;
}

std::vector<uintptr_t> AddressesOfBurst(uint8_t number) {
  const hardened_fuzz_options options = Options();
  hardened_fuzz_run_input(&options, &Burst, &number, 1);
  return seen.All();
}

TEST(AddressesTest, WhatAnInputLeftDoesNotUnsettleTheNext) {
  static void* left[3000];
  const auto without = AddressesOf(Input(1), Options());
  {
    // Leaves gaps: slabs with free slots, and spans of the same length between runs.
    Within input(Options());
    for (size_t i = 0; i < 3000; ++i) left[i] = std::malloc(i % 25 == 0 ? 100'000 : 100);
    for (size_t i = 0; i < 3000; ++i) {
      if (i % 50 < 2) continue;
      std::free(left[i]);
      left[i] = nullptr;
    }
    EXPECT_EQ(input.End().live_after, 120u);
  }
  const auto first = AddressesOf(Input(1), Options());
  const auto burst = AddressesOfBurst(201);
  for (uint8_t number = 2; number < 8; ++number) {
    AddressesOf(Input(number), Options());
    AddressesOfBurst(static_cast<uint8_t>(number * 31 + 3));
    ASSERT_EQ(AddressesOf(Input(1), Options()), first) << +number;
    ASSERT_EQ(AddressesOfBurst(201), burst) << +number;
  }
  // What the harness frees is free when the next input begins.
  for (void* pointer : left) std::free(pointer);
  EXPECT_EQ(AddressesOf(Input(1), Options()), without);
}

bool g_pauses = false;

// Long enough for housekeeping, again and again.
int Pause(const uint8_t*, size_t) {
  static void* taken[400];
  seen.count = 0;
  for (size_t i = 0; i < 400; ++i) {
    taken[i] = std::malloc(100);
    seen.Add(taken[i]);
    if (i != 20) continue;
    for (size_t pause = 0; pause < 4; ++pause) {
      if (g_pauses) usleep(60'000);
      // A class of its own: housekeeping comes with the first of its slots.
      std::free(std::malloc(1000 << pause));
    }
  }
  for (void* pointer : taken) std::free(pointer);
  return 0;
}

TEST(AddressesTest, TimeDoesNotMatter) {
  const hardened_fuzz_options options = Options();
  hardened_fuzz_run_input(&options, &Pause, nullptr, 0);
  const auto first = seen.All();
  g_pauses = true;
  hardened_fuzz_run_input(&options, &Pause, nullptr, 0);
  g_pauses = false;
  EXPECT_EQ(seen.All(), first);
}

TEST(AddressesTest, AForkedChildGoesOnTheSameWay) {
  const auto first = AddressesOf(Input(1), Options());
  const pid_t child = fork();
  if (child == 0) _exit(AddressesOf(Input(1), Options()) == first ? 0 : 1);
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(AddressesTest, AChildForkedWithinAnInputGoesOnLikeItsParent) {
  static void* of_child[300];
  static void* of_parent[300];
  int channel[2];
  ASSERT_EQ(pipe(channel), 0);
  Within input(Options());
  void* before = std::malloc(100);
  const pid_t child = fork();
  if (child == 0) {
    for (void*& pointer : of_child) pointer = std::malloc(100);
    const bool written = write(channel[1], of_child, sizeof(of_child)) == sizeof(of_child);
    for (void* pointer : of_child) std::free(pointer);
    std::free(before);
    hardened_fuzz_result result = {};
    hardened_fuzz_end_input(&result);
    // The heap that it had before is in order, too.
    std::vector<std::string> ordinary;
    for (size_t i = 0; i < 3000; ++i) ordinary.emplace_back(i, 'x');
    _exit(written && result.live_after == 0 ? 0 : 1);
  }
  for (void*& pointer : of_parent) pointer = std::malloc(100);
  const bool got = read(channel[0], of_child, sizeof(of_child)) == sizeof(of_child);
  for (void* pointer : of_parent) std::free(pointer);
  std::free(before);
  int status = -1;
  waitpid(child, &status, 0);
  input.End();
  close(channel[0]);
  close(channel[1]);
  EXPECT_TRUE(got);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(std::memcmp(of_child, of_parent, sizeof(of_child)), 0);
}

// ---- reset

TEST(ResetTest, MemoryIsZeroAgain) {
  hardened_fuzz_options options = Options();
  options.leaks = 0;
  for (int round = 0; round < 3; ++round) {
    Within input(options);
    bool zero = true;
    for (const size_t bytes : {24u, 1000u, 60'000u, 300'000u, 80u << 20}) {
      auto* memory = static_cast<unsigned char*>(std::malloc(bytes));
      zero = zero && memory[0] == 0 && memory[bytes - 1] == 0 && memory[bytes / 2] == 0;
      std::memset(memory, 0xaa, bytes);
      std::free(memory);
    }
    const hardened_fuzz_result result = input.End();
    EXPECT_TRUE(zero) << round;
    EXPECT_EQ(result.live_after, 0u);
    EXPECT_EQ(result.allocations, 5u);
  }
}

TEST(ResetTest, ManyInputsTakeNoMoreMemory) {
  for (unsigned number = 0; number < 100; ++number) AddressesOf(Input(number), Options());
  const size_t before = ResidentKib();
  ASSERT_GT(before, 0u);
  for (unsigned number = 0; number < 1000; ++number) AddressesOf(Input(number, 300), Options());
  EXPECT_LT(ResidentKib(), before + (8 << 10));
}

TEST(ResetTest, OneInputAtATime) {
  const hardened_fuzz_options options = Options();
  EXPECT_EQ(hardened_fuzz_end_input(nullptr), -1);
  // Made before: what libc keeps for threads would be of the input.
  std::atomic<bool> begun{false};
  std::atomic<int> refused{-1};
  std::thread other([&] {
    begun.wait(false);
    void* ordinary = std::malloc(100);
    refused = hardened_fuzz_begin_input(&options, nullptr, 0) == -1 &&
              hardened_fuzz_end_input(nullptr) == -1;
    std::free(ordinary);
  });
  Within input(options);
  EXPECT_EQ(hardened_fuzz_begin_input(&options, nullptr, 0), -1);
  begun = true;
  begun.notify_one();
  while (refused == -1) std::this_thread::yield();
  const hardened_fuzz_result result = input.End();
  other.join();
  EXPECT_EQ(refused, 1);
  // What other threads do is no part of it.
  EXPECT_EQ(result.allocations, 0u);
}

TEST(ResetTest, SamplesAreOfInputsAlone) {
  AddressesOf(Input(1), Options());
  const size_t before = mallinfo2().hblks;
  std::vector<std::string> ordinary;
  ordinary.reserve(1000);
  for (size_t i = 0; i < 1000; ++i) ordinary.emplace_back(100 + i, 'x');
  EXPECT_EQ(mallinfo2().hblks, before);
  Within input(Options());
  static void* pointers[1000];
  for (void*& pointer : pointers) pointer = std::malloc(100);
  const size_t within = mallinfo2().hblks;
  for (void* pointer : pointers) std::free(pointer);
  input.End();
  // 62 of 1,000 expected.
  EXPECT_GT(within, before + 30);
  EXPECT_LT(within, before + 120);
}

// ---- who frees what

TEST(OwnershipTest, OrdinaryMemoryMayEndInAnInputAndTheOtherWayRound) {
  const hardened_fuzz_options options = Options();
  for (int round = 0; round < 3; ++round) {
    void* ordinary[300];
    for (size_t i = 0; i < 300; ++i) ordinary[i] = std::malloc(i * 30 + (i % 50 == 0) * 70'000);
    void* left[300];
    hardened_fuzz_result result;
    {
      Within input(options);
      for (void* pointer : ordinary) std::free(pointer);
      for (size_t i = 0; i < 300; ++i) left[i] = std::malloc(i * 30 + (i % 50 == 0) * 70'000);
      result = input.End();
    }
    EXPECT_EQ(result.live_before, 0u);
    EXPECT_EQ(result.live_after, 300u);
    if (round == 2) {
      std::thread([&left] {
        for (void* pointer : left) std::free(pointer);
      }).join();
    } else {
      for (void* pointer : left) std::free(pointer);
    }
  }
  Within input(options);
  EXPECT_EQ(input.End().live_before, 0u);
}

TEST(OwnershipTest, ReallocMovesBetweenTheTwo) {
  const hardened_fuzz_options options = Options();
  char* text = static_cast<char*>(std::malloc(100));
  std::strcpy(text, "moves");
  Within input(options);
  text = static_cast<char*>(std::realloc(text, 5000));
  const bool same = text != nullptr && std::strcmp(text, "moves") == 0;
  EXPECT_EQ(input.End().live_after, 1u);
  ASSERT_TRUE(same);
  text = static_cast<char*>(std::realloc(text, 90'000));
  EXPECT_STREQ(text, "moves");
  std::free(text);
  Within again(options);
  EXPECT_EQ(again.End().live_before, 0u);
}

// ---- budget and failures

TEST(BudgetTest, WhatIsLiveCounts) {
  hardened_fuzz_options options = Options();
  options.budget_bytes = 10'000;
  Within input(options);
  void* first = std::malloc(6000);
  void* second = std::malloc(4000);
  errno = 0;
  void* third = std::malloc(1);
  const int third_errno = errno;
  void* larger = std::realloc(second, 4001);
  void* smaller = std::realloc(second, 3999);
  void* fourth = std::malloc(1);
  std::free(first);
  void* fifth = std::malloc(6000);
  std::free(fifth);
  std::free(fourth);
  std::free(smaller);
  void* all = std::malloc(10'000);
  std::free(all);
  void* more = std::malloc(10'001);
  const hardened_fuzz_result result = input.End();
  EXPECT_NE(first, nullptr);
  EXPECT_NE(second, nullptr);
  EXPECT_EQ(third, nullptr);
  EXPECT_EQ(third_errno, ENOMEM);
  EXPECT_EQ(larger, nullptr);
  EXPECT_NE(smaller, nullptr);
  EXPECT_NE(fourth, nullptr);
  EXPECT_NE(fifth, nullptr);
  EXPECT_NE(all, nullptr);
  EXPECT_EQ(more, nullptr);
  EXPECT_EQ(result.refused, 3u);
  EXPECT_EQ(result.live_after, 0u);
}

TEST(FailureTest, TheOneThatIsAskedFor) {
  hardened_fuzz_options options = Options();
  options.fail_at = 3;
  for (int round = 0; round < 2; ++round) {
    Within input(options);
    void* got[5] = {std::malloc(10), std::calloc(1, 10),
                    std::malloc(10), operator new(10, std::nothrow), std::aligned_alloc(64, 64)};
    const bool refused[5] = {!got[0], !got[1], !got[2], !got[3], !got[4]};
    for (int i : {0, 1, 2, 4}) std::free(got[i]);
    operator delete(got[3]);
    EXPECT_EQ(input.End().refused, 1u);
    for (int i = 0; i < 5; ++i) EXPECT_EQ(refused[i], i == 2) << i;
  }
}

TEST(FailureTest, BySize) {
  hardened_fuzz_options options = Options();
  options.fail_above = 100;
  Within input(options);
  void* small = std::malloc(100);
  void* large = std::malloc(101);
  void* grown = std::realloc(small, 101);
  std::free(small);
  EXPECT_EQ(input.End().refused, 2u);
  EXPECT_NE(small, nullptr);
  EXPECT_EQ(large, nullptr);
  EXPECT_EQ(grown, nullptr);
}

std::vector<bool> RefusedOf(const hardened_fuzz_options& options, std::string_view bytes) {
  static bool refused[2000];
  Within input(options, bytes);
  for (bool& one : refused) {
    void* pointer = std::malloc(16);
    one = pointer == nullptr;
    std::free(pointer);
  }
  input.End();
  return std::vector<bool>(std::begin(refused), std::end(refused));
}

TEST(FailureTest, AtRandomButAlwaysTheSameForAnInput) {
  hardened_fuzz_options options = Options();
  options.fail_hits = 1;
  options.fail_of = 10;
  const std::vector<bool> first = RefusedOf(options, "one");
  const auto count = std::count(first.begin(), first.end(), true);
  // 200 expected, standard deviation 13.
  EXPECT_GT(count, 130);
  EXPECT_LT(count, 270);
  EXPECT_NE(RefusedOf(options, "two"), first);
  EXPECT_EQ(RefusedOf(options, "one"), first);
  options.seed = 9;
  EXPECT_NE(RefusedOf(options, "one"), first);
}

TEST(FailureTest, OutsideAnInputNothingFails) {
  hardened_fuzz_options options = Options();
  options.fail_hits = options.fail_of = 1;
  Within input(options);
  void* within = std::malloc(10);
  input.End();
  void* outside = std::malloc(10);
  EXPECT_EQ(within, nullptr);
  EXPECT_NE(outside, nullptr);
  std::free(outside);
}

TEST(FailureTest, ABadAllocEndsTheInput) {
  hardened_fuzz_options options = Options();
  options.fail_at = 2;
  const auto target = [](const uint8_t*, size_t) {
    const std::string first(100, 'x');
    const std::string second(100, 'y');
    return 7;
  };
  EXPECT_EQ(hardened_fuzz_run_input(&options, +target, nullptr, 0), 0);
  options.fail_at = 0;
  EXPECT_EQ(hardened_fuzz_run_input(&options, +target, nullptr, 0), 7);
}

// ---- leaks

void* g_global = nullptr;
int g_calls = 0;

TEST(LeakTest, WhatIsMadeOnceIsNone) {
  g_calls = 0;
  const auto target = [](const uint8_t*, size_t) {
    ++g_calls;
    if (g_global == nullptr) g_global = std::malloc(1000);
    return 0;
  };
  const hardened_fuzz_options options = Options();
  hardened_fuzz_run_input(&options, +target, nullptr, 0);
  // To see whether it does so again.
  EXPECT_EQ(g_calls, 2);
  hardened_fuzz_run_input(&options, +target, nullptr, 0);
  EXPECT_EQ(g_calls, 3);
  std::free(g_global);
  g_global = nullptr;
}

TEST(LeakTest, WhatTakesThePlaceOfAnotherIsNone) {
  g_calls = 0;
  const auto target = [](const uint8_t*, size_t) {
    ++g_calls;
    std::free(g_global);
    g_global = std::malloc(1000);
    return 0;
  };
  const hardened_fuzz_options options = Options();
  for (int i = 0; i < 3; ++i) hardened_fuzz_run_input(&options, +target, nullptr, 0);
  EXPECT_EQ(g_calls, 4);
  std::free(g_global);
  g_global = nullptr;
}

int Leak(const uint8_t*, size_t) {
  g_global = std::malloc(1234);
  g_global = std::malloc(100'000);
  g_global = std::malloc(5);
  std::free(g_global);
  return 0;
}

TEST(LeakDeathTest, IsReportedWithSizesAndStacks) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const hardened_fuzz_options options = Options();
  EXPECT_EXIT(hardened_fuzz_run_input(&options, &Leak, nullptr, 0),
              testing::KilledBySignal(SIGABRT),
              "hardened: leak\n  count     2 allocations, 101234 bytes\n(.|\n)*1234 bytes at "
              "0x[0-9a-f]*, allocation 1 of the input\n  allocated at\n    0x");
}

TEST(LeakTest, IsNotLookedForWhenNobodyAsks) {
  hardened_fuzz_options options = Options();
  options.leaks = 0;
  hardened_fuzz_run_input(&options, &Leak, nullptr, 0);
}

// ---- what the end of an input finds

// Out of the compiler's sight.
volatile char* Hidden(void* memory) {
  static void* volatile hidden;
  hidden = memory;
  return static_cast<volatile char*>(hidden);
}

void ExpectDeath(void (*crime)(), const char* report) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        Within input(Options());
        crime();
        input.End();
      },
      testing::KilledBySignal(SIGABRT), report);
}

TEST(EndDeathTest, FindsAnOverflowOfWhatIsNeverFreed) {
  ExpectDeath([] { Hidden(std::malloc(100))[100] = 'x'; },
              "canary clobbered(.|\n)*the end of the input");
}

TEST(EndDeathTest, FindsAnOverflowOfALargeOneThatIsNeverFreed) {
  ExpectDeath([] { Hidden(std::malloc(100'001))[100'001] = 'x'; }, "canary clobbered");
}

TEST(EndDeathTest, FindsAWriteToFreedMemory) {
  ExpectDeath(
      [] {
        volatile char* memory = Hidden(std::malloc(40));
        std::free(const_cast<char*>(memory));
        memory[39] = 'x';
      },
      "write after free(.|\n)*the end of the input");
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc == 2 ? argv[1] : "";
  if (what == "--addresses" || what == "--places") {
    const uintptr_t mask = what == "--places" ? 0xffff : ~uintptr_t{0};
    // A harness of this process, with a history of its own.
    void* history = std::malloc(static_cast<size_t>(getpid()) % 5000);
    for (const uintptr_t address : AddressesOf(Input(1), Options())) {
      std::printf("%zx\n", static_cast<size_t>(address & mask));
    }
    std::free(history);
    return 0;
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
