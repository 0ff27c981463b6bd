#include "hardened/prim/entropy.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/prim/child_process.h"
#include "tests/prim/deny_system_calls.h"

namespace hardened::prim {
namespace {

constexpr int kNoFilter = 99;

// Chi-square over byte values of 64 KiB: mean 255, standard deviation 22.6. Eight deviations up and
// down: a fair source fails once in 10^12 runs or so.
bool LooksUniform(const std::vector<std::byte>& bytes) {
  std::array<double, 256> counts{};
  for (const std::byte byte : bytes) ++counts[static_cast<size_t>(byte)];
  const double expected = static_cast<double>(bytes.size()) / 256;
  double chi_square = 0;
  for (const double count : counts) {
    chi_square += (count - expected) * (count - expected) / expected;
  }
  return std::abs(chi_square - 255) < 8 * 22.6;
}

// True if 64 KiB look uniform and 100 blocks of 16 bytes are distinct (chance 10^-35 to fail).
bool SourceIsGood() {
  std::vector<std::byte> bytes(65536);
  FillEntropy(bytes);
  if (!LooksUniform(bytes)) return false;
  std::set<std::array<std::byte, 16>> blocks;
  for (int i = 0; i < 100; ++i) {
    std::array<std::byte, 16> block{};
    FillEntropy(block);
    if (!blocks.insert(block).second) return false;
  }
  return true;
}

TEST(EntropyTest, TheKernelServesWithoutFallback) {
  const uint64_t before = EntropyFallbacks();
  EXPECT_TRUE(SourceIsGood());
  EXPECT_EQ(EntropyFallbacks(), before);
}

TEST(EntropyTest, TheUniformityTestRejectsABiasedSource) {
  std::vector<std::byte> bytes(65536);
  FillEntropy(bytes);
  for (size_t i = 0; i < bytes.size(); i += 50) bytes[i] = std::byte{0};  // 2 %
  EXPECT_FALSE(LooksUniform(bytes));
}

TEST(EntropyTest, AnEmptySpanIsFine) { FillEntropy({}); }

TEST(EntropyTest, WithoutGetrandomTheDeviceServes) {
  for (const unsigned error : {unsigned{EPERM}, unsigned{ENOSYS}, unsigned{EAGAIN}}) {
    const ChildResult child = RunInChild([error] {
      const uint64_t before = EntropyFallbacks();
      if (!DenySystemCalls({SYS_getrandom}, error)) _exit(kNoFilter);
      // Only the mix makes this call.
      if (!ForbidSystemCalls({SYS_getppid})) _exit(kNoFilter);
      errno = 77;
      std::array<std::byte, 16> block;
      FillEntropy(block);
      if (errno != 77) _exit(1);
      if (EntropyFallbacks() != before + 1) _exit(2);
      if (!SourceIsGood()) _exit(3);
    });
    if (child.exited_with(kNoFilter)) GTEST_SKIP() << "no seccomp filters here";
    EXPECT_TRUE(child.exited_with(0)) << child.status << child.text;
  }
}

TEST(EntropyTest, WithoutGetrandomAndDeviceTheMixServes) {
  const ChildResult child = RunInChild([] {
    if (!DenySystemCalls({SYS_getrandom, SYS_openat}, EPERM)) _exit(kNoFilter);
    if (!SourceIsGood()) _exit(1);
    if (EntropyFallbacks() < 101) _exit(2);
  });
  if (child.exited_with(kNoFilter)) GTEST_SKIP() << "no seccomp filters here";
  EXPECT_TRUE(child.exited_with(0)) << child.status << child.text;
}

TEST(EntropyTest, AFileInThePlaceOfTheDeviceIsNotTrusted) {
  constexpr int kNoRoot = 98;
  char root[] = "/tmp/entropy_test_XXXXXX";
  ASSERT_NE(mkdtemp(root), nullptr);
  const std::filesystem::path dev = std::filesystem::path(root) / "dev";
  std::filesystem::create_directory(dev);
  std::ofstream(dev / "urandom") << std::string(1 << 20, 'A');
  const ChildResult child = RunInChild([&root] {
    if (chroot(root) != 0 && (unshare(CLONE_NEWUSER) != 0 || chroot(root) != 0)) _exit(kNoRoot);
    if (!DenySystemCalls({SYS_getrandom}, EPERM)) _exit(kNoFilter);
    if (!SourceIsGood()) _exit(1);
  });
  std::filesystem::remove_all(root);
  if (child.exited_with(kNoFilter)) GTEST_SKIP() << "no seccomp filters here";
  if (child.exited_with(kNoRoot)) GTEST_SKIP() << "no right to chroot here";
  EXPECT_TRUE(child.exited_with(0)) << child.status << child.text;
}

TEST(EntropyTest, AGetrandomThatIsAlwaysInterruptedDoesNotHangUs) {
  const ChildResult child = RunInChild([] {
    if (!DenySystemCalls({SYS_getrandom}, EINTR)) _exit(kNoFilter);
    std::array<std::byte, 16> block{};
    FillEntropy(block);
    if (EntropyFallbacks() == 0) _exit(1);
  });
  if (child.exited_with(kNoFilter)) GTEST_SKIP() << "no seccomp filters here";
  EXPECT_TRUE(child.exited_with(0)) << child.status << child.text;
}

}  // namespace
}  // namespace hardened::prim
