#include "hardened/prim/stream_store.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "gtest/gtest.h"
#include "tests/prim/child_process.h"
#include "tests/prim/deny_system_calls.h"
#include "tests/support/proc_numbers.h"

namespace hardened::prim {
namespace {

constexpr std::array<std::byte, RandomStream::kKeyBytes> kKey = {std::byte{7}};

bool IsZero(const RandomStream& stream) {
  std::array<std::byte, sizeof(RandomStream)> state;
  std::memcpy(state.data(), static_cast<const void*>(&stream), sizeof(state));
  return std::count(state.begin(), state.end(), std::byte{0}) == sizeof(state);
}

// Runs `body` in a child that no handler of pthread_atfork() sees. Returns: its exit code, else -1.
template <typename Body>
int ExitCodeAfterClone(Body body) {
  const pid_t child = static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
  if (child == 0) {
    alarm(60);
    _exit(body());
  }
  int status = -1;
  if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status);
}

TEST(StreamStoreTest, ABareCloneFindsEveryStreamZeroAndItsParentDrawsOn) {
  StreamStore store;
  std::vector<RandomStream*> streams;
  // More than the first step holds.
  for (uint64_t i = 0; i < 2000; ++i) {
    streams.push_back(store.Take());
    ASSERT_NE(streams.back(), nullptr);
    ASSERT_TRUE(IsZero(*streams.back())) << i;
    streams.back()->Seed(kKey, i);
    streams.back()->Next64();
  }
  EXPECT_EQ(ExitCodeAfterClone([&] {
              return std::all_of(streams.begin(), streams.end(),
                                 [](const RandomStream* stream) { return IsZero(*stream); })
                         ? 0
                         : 1;
            }),
            0);
  for (uint64_t i = 0; i < streams.size(); ++i) {
    RandomStream same;
    same.Seed(kKey, i);
    same.Next64();
    ASSERT_EQ(streams[i]->Next64(), same.Next64()) << i;
  }
}

TEST(StreamStoreTest, StreamsForAThousandThreadsAreInFewMappings) {
  const size_t before = CountMaps();
  ASSERT_GT(before, 0u);
  StreamStore store;
  for (int i = 0; i < 1000; ++i) ASSERT_NE(store.Take(), nullptr);
  // Two steps of three mappings, and one that they may have split.
  EXPECT_LE(CountMaps(), before + 7);
}

TEST(StreamStoreTest, WhereTheAdviceIsRefusedStreamsAreCopied) {
  const ChildResult child = RunInChild([] {
    if (!DenyAdvice(MADV_WIPEONFORK, EINVAL)) _exit(3);
    errno = 0;
    StreamStore store;
    RandomStream* stream = store.Take();
    if (stream == nullptr || errno != 0) _exit(1);
    stream->Seed(kKey, 1);
    const uint64_t first = stream->Next64();
    _exit(ExitCodeAfterClone([&] {
      RandomStream same;
      same.Seed(kKey, 1);
      return same.Next64() == first && same.Next64() == stream->Next64() ? 0 : 2;
    }));
  });
  if (child.exited_with(3)) GTEST_SKIP() << "no seccomp filters here";
  EXPECT_TRUE(child.exited_with(0)) << child.status;
}

}  // namespace
}  // namespace hardened::prim
