// Compiled with -fno-omit-frame-pointer.

#include "hardened/prim/stack_trace.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <thread>

#include "gtest/gtest.h"
#include "tests/prim/child_process.h"
#include "tests/prim/deny_system_calls.h"

namespace hardened::prim {
namespace {

// Comes first: the first probe of a process decides whether probes are believed.
TEST(IsReadableWordTest, AKernelThatCallsEverythingReadableIsNotBelieved) {
  constexpr int kNoFilter = 99;
  const ChildResult child = RunInChild([] {
    if (!DenySystemCalls({SYS_rt_sigprocmask}, EINVAL)) _exit(kNoFilter);
    const int word = 0;
    _exit(IsReadableWord(reinterpret_cast<uintptr_t>(&word)) ? 1 : 0);
  });
  if (child.exited_with(kNoFilter)) GTEST_SKIP() << "no seccomp filters here";
  EXPECT_TRUE(child.exited_with(0)) << child.status << child.text;
}

std::array<uintptr_t, 64> g_frames;
size_t g_count;

[[gnu::noinline]] void Recurse(int depth) {
  if (depth == 0) {
    g_count = CaptureStack(g_frames);
  } else {
    Recurse(depth - 1);
  }
  asm volatile("" : : : "memory");  // no tail call
}

// The most frequent return address: the recursive call.
int LongestRepeat() {
  int longest = 0;
  for (size_t i = 0; i < g_count; ++i) {
    longest = std::max(longest, static_cast<int>(std::count(
                                    g_frames.begin(), g_frames.begin() + g_count, g_frames[i])));
  }
  return longest;
}

TEST(StackTraceTest, ARecursionShowsAllItsFrames) {
  Recurse(20);
  EXPECT_EQ(LongestRepeat(), 20);
}

TEST(StackTraceTest, TheFirstFrameIsTheCaller) {
  Recurse(0);
  ASSERT_GE(g_count, 1u);
  const auto start = reinterpret_cast<uintptr_t>(&Recurse);
  EXPECT_GE(g_frames[0], start);
  EXPECT_LT(g_frames[0], start + 4096);
}

TEST(StackTraceTest, NoMoreFramesThanThereIsRoomFor) {
  std::array<uintptr_t, 3> frames = {1, 1, 1};
  EXPECT_EQ(CaptureStack(std::span(frames).first(2)), 2u);
  EXPECT_EQ(frames[2], 1u);
  EXPECT_EQ(CaptureStack({}), 0u);
}

TEST(StackTraceTest, AThreadAndItsBigFramesAreWalked) {
  std::thread([] {
    char room[100'000];
    asm volatile("" : : "r"(room) : "memory");
    Recurse(5);
    asm volatile("" : : "r"(room) : "memory");
  }).join();
  EXPECT_EQ(LongestRepeat(), 5);
}

TEST(StackTraceTest, ASignalHandlerOnAnotherStackIsWalked) {
  static char alternate[65536];
  const stack_t stack = {.ss_sp = alternate, .ss_flags = 0, .ss_size = sizeof(alternate)};
  ASSERT_EQ(sigaltstack(&stack, nullptr), 0);
  struct sigaction action = {};
  action.sa_handler = [](int) {
    errno = 77;
    Recurse(5);
    if (errno != 77) g_count = 0;
  };
  action.sa_flags = SA_ONSTACK;
  sigaction(SIGUSR1, &action, nullptr);
  g_count = 0;
  raise(SIGUSR1);
  EXPECT_EQ(LongestRepeat(), 5);
  const stack_t off = {.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
  sigaltstack(&off, nullptr);
}

// Calls Recurse(0) with `frame` in the frame pointer register, as code that uses the register for
// something else would.
void CaptureWithFramePointer(uintptr_t frame) {
  void (*const target)(int) = &Recurse;
#if defined(__x86_64__)
  asm volatile(
      "mov %%rbp, %%rbx\n mov %%rsp, %%r12\n sub $128, %%rsp\n and $-16, %%rsp\n mov %[frame], "
      "%%rbp\n"
      "xor %%edi, %%edi\n call *%[target]\n mov %%r12, %%rsp\n mov %%rbx, %%rbp\n"
      :
      : [frame] "r"(frame), [target] "r"(target)
      : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "memory", "cc");
#elif defined(__aarch64__)
  asm volatile("mov x19, x29\n mov x29, %[frame]\n mov w0, #0\n blr %[target]\n mov x29, x19\n"
               :
               : [frame] "r"(frame), [target] "r"(target)
               : "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12",
                 "x13", "x14", "x15", "x16", "x17", "x19", "x30", "memory", "cc");
#endif
}

uintptr_t g_stray_frame;

// Runs CaptureWithFramePointer() on a stack of its own, with an unreadable hole right above it.
void CaptureBelowAHole(uintptr_t offset_into_hole) {
  constexpr size_t kStack = 512 * 1024, kHole = 64 * 1024;
  void* const map =
      mmap(nullptr, kStack + kHole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (map == MAP_FAILED) _exit(90);
  char* const hole = static_cast<char*>(map) + kStack;
  if (mprotect(hole, kHole, PROT_NONE) != 0) _exit(91);
  g_stray_frame = reinterpret_cast<uintptr_t>(hole) + offset_into_hole;
  static ucontext_t here, there;
  getcontext(&there);
  there.uc_stack.ss_sp = map;
  there.uc_stack.ss_size = kStack;
  there.uc_link = &here;
  makecontext(&there, [] { CaptureWithFramePointer(g_stray_frame); }, 0);
  swapcontext(&here, &there);
}

TEST(StackTraceTest, AStrayFramePointerIntoUnreadableMemoryEndsTheWalk) {
  for (const uintptr_t offset : {0, 16, 4096, 32768 + 16}) {
    const ChildResult child = RunInChild([offset] {
      signal(SIGSEGV, SIG_DFL);
      CaptureBelowAHole(offset);
      // CaptureStack's and Recurse's return addresses are read; the next frame is not.
      _exit(g_count == 2 ? 0 : 1);
    });
    EXPECT_TRUE(child.exited_with(0)) << offset << ' ' << child.status << child.text;
  }
}

TEST(StackTraceTest, AnyStrayFramePointerIsSurvived) {
  const ChildResult child = RunInChild([] {
    signal(SIGSEGV, SIG_DFL);
    const auto here = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
    // Zero, small, unaligned, below, far above, non-canonical, the kernel's half, the very end.
    for (const uintptr_t frame :
         {uintptr_t{0}, uintptr_t{16}, here + 8, here + 3, here - 4096, here + (64 << 10),
          here + (1 << 20), here + (16 << 20), uintptr_t{1} << 62, ~uintptr_t{15}, ~uintptr_t{0}}) {
      CaptureWithFramePointer(frame & ~uintptr_t{0});
      if (g_count < 2) _exit(1);
    }
  });
  EXPECT_TRUE(child.exited_with(0)) << child.status << child.text;
}

// Captures from a fake innermost frame at words[0] and words[1].
// Returns: how many frames were read beyond CaptureStack's own and Recurse's, words[1] included.
int FakeFramesRead(const uintptr_t* words) {
  CaptureWithFramePointer(reinterpret_cast<uintptr_t>(words));
  return static_cast<int>(g_count) - 2;
}

TEST(StackTraceTest, AnImplausibleNextFrameEndsTheWalk) {
  constexpr uintptr_t kCode = 0x123456;
  constexpr size_t kTwoMegabytes = (2 << 20) / sizeof(uintptr_t);
  alignas(16) volatile uintptr_t words[kTwoMegabytes];
  const auto address = [&words](size_t i) { return reinterpret_cast<uintptr_t>(&words[i]); };
  const auto put = [&words](size_t i, uintptr_t next, uintptr_t code) {
    words[i] = next;
    words[i + 1] = code;
  };
  const auto* const start = const_cast<const uintptr_t*>(words);

  put(0, address(2), kCode);
  put(2, address(8), kCode);
  put(8, 0, kCode);
  EXPECT_EQ(FakeFramesRead(start), 3);  // a plausible chain, for comparison
  put(0, address(0), kCode);
  EXPECT_EQ(FakeFramesRead(start), 1);  // itself
  put(0, address(2), kCode);
  put(2, address(0), kCode);
  EXPECT_EQ(FakeFramesRead(start), 2);  // back
  put(3, 0, kCode);
  put(0, address(3), kCode);
  EXPECT_EQ(FakeFramesRead(start), 1);  // between two frames
  put(0, address(kTwoMegabytes - 2), kCode);
  put(kTwoMegabytes - 2, 0, kCode);
  EXPECT_EQ(FakeFramesRead(start), 1);  // too far
  put(0, address(2), kCode);
  put(2, 0, 17);
  EXPECT_EQ(FakeFramesRead(start), 1);  // no code there
}

TEST(StackTraceTest, ASandboxThatRefusesProbesShortensTheWalkOnly) {
  constexpr int kNoFilter = 99;
  const ChildResult child = RunInChild([] {
    if (!DenySystemCalls({SYS_rt_sigprocmask}, EPERM)) _exit(kNoFilter);
    if (IsReadableWord(reinterpret_cast<uintptr_t>(&g_count))) _exit(1);
    std::array<uintptr_t, 1> one;
    if (CaptureStack(one) != 1) _exit(2);
  });
  if (child.exited_with(kNoFilter)) GTEST_SKIP() << "no seccomp filters here";
  EXPECT_TRUE(child.exited_with(0)) << child.status << child.text;
}

TEST(IsReadableWordTest, TellsReadableFromUnreadableAndKeepsErrno) {
  errno = 77;
  EXPECT_TRUE(IsReadableWord(reinterpret_cast<uintptr_t>(&g_count)));
  EXPECT_FALSE(IsReadableWord(8));
  EXPECT_FALSE(IsReadableWord(~uintptr_t{0} - 7));
  void* const page = mmap(nullptr, 65536, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(page, MAP_FAILED);
  EXPECT_FALSE(IsReadableWord(reinterpret_cast<uintptr_t>(page)));
  munmap(page, 65536);
  EXPECT_EQ(errno, 77);
  sigset_t mask;
  sigprocmask(SIG_SETMASK, nullptr, &mask);
  EXPECT_FALSE(sigismember(&mask, SIGUSR2));
}

}  // namespace
}  // namespace hardened::prim
