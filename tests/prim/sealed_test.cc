#include "hardened/prim/sealed.h"

#include <signal.h>
#include <sys/mman.h>

#include <cerrno>

#include "gtest/gtest.h"
#include "tests/prim/child_process.h"
#include "tests/prim/deny_system_calls.h"

namespace hardened::prim {
namespace {

struct Settings {
  int number = 0;
  char room[5000] = {};  // more than a page
};

constinit int g_before = 0;
constinit Sealed<Settings> g_settings;
constinit int g_after = 0;

// Faults without a sanitizer's handler in the way.
void StoreOrDie(int* where) {
  signal(SIGSEGV, SIG_DFL);
  *const_cast<volatile int*>(where) = 7;
}

// Each test seals in a child: a seal is for ever.

TEST(SealedTest, TheValueIsReadableBeforeAndAfter) {
  const ChildResult child = RunInChild([] {
    errno = 77;
    g_settings.Writable().number = 5;
    if (g_settings->number != 5) _exit(1);
    if (g_settings.Seal() == SealResult::kUnprotected) _exit(2);
    if (errno != 77) _exit(3);
    if (!g_settings.settled() || (*g_settings).number != 5) _exit(4);
    g_before = g_after = 1;  // the neighbours stay writable
  });
  EXPECT_TRUE(child.exited_with(0)) << child.status << child.text;
}

TEST(SealedDeathTest, AStoreAfterSealingFaults) {
  const auto store_to = [](size_t offset) {
    return RunInChild([offset] {
      int* const where =
          reinterpret_cast<int*>(reinterpret_cast<char*>(&g_settings.Writable()) + offset);
      *where = 1;
      if (g_settings.Seal() == SealResult::kUnprotected) _exit(2);
      StoreOrDie(where);
    });
  };
  EXPECT_TRUE(store_to(0).died_of(SIGSEGV));
  EXPECT_TRUE(store_to(sizeof(Settings) - 4).died_of(SIGSEGV));
}

TEST(SealedDeathTest, AskingForWritingAfterSealingFailsACheck) {
  const ChildResult child = RunInChild([] {
    g_settings.Seal();
    g_settings.Writable().number = 1;
  });
  EXPECT_TRUE(child.died_of(SIGABRT)) << child.status;
  EXPECT_NE(child.text.find("!settled_"), std::string::npos) << child.text;
}

TEST(SealedTest, ASealCannotBeUndoneWhereTheKernelKnowsSeals) {
  constexpr int kReadOnlyOnly = 99;
  const ChildResult child = RunInChild([] {
    const SealResult result = g_settings.Seal();
    if (result == SealResult::kReadOnly) _exit(kReadOnlyOnly);
    if (result != SealResult::kSealed) _exit(1);
    if (mprotect(&g_settings, kSealAlignment, PROT_READ | PROT_WRITE) == 0) _exit(2);
    if (munmap(&g_settings, kSealAlignment) == 0) _exit(3);
    if (errno != EPERM) _exit(4);
  });
  if (child.exited_with(kReadOnlyOnly)) GTEST_SKIP() << "the kernel has no mseal";
  EXPECT_TRUE(child.exited_with(0)) << child.status << child.text;
}

TEST(SealedTest, AFilterThatKillsForUnknownCallsDoesNotKill) {
  constexpr int kNoFilter = 99;
  constexpr long kMseal = 462;
  const ChildResult child = RunInChild([] {
    if (!ForbidSystemCalls({kMseal})) _exit(kNoFilter);
    if (g_settings.Seal() != SealResult::kReadOnly) _exit(1);
  });
  if (child.exited_with(kNoFilter)) GTEST_SKIP() << "no seccomp filters here";
  EXPECT_TRUE(child.exited_with(0)) << child.status << child.text;
}

TEST(SealedTest, AMisalignedRangeIsLeftAlone) {
  alignas(8) char memory[64];
  EXPECT_EQ(SealPages(memory + 8, 8), SealResult::kUnprotected);
  memory[8] = 1;
}

TEST(SealedTest, APartOfAPageIsLeftAlone) {
  void* const page =
      mmap(nullptr, kSealAlignment, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(page, MAP_FAILED);
  EXPECT_EQ(SealPages(page, 64), SealResult::kUnprotected);
  *static_cast<char*>(page) = 1;
  munmap(page, kSealAlignment);
}

}  // namespace
}  // namespace hardened::prim
