// secure_test: the environment counts for nothing in a set-uid program (AT_SECURE).
//
// The probe is linked with the allocator, because ld.so drops LD_PRELOAD from such a program.
// Copies of it get another owner and the set-uid bit, which takes root and a file system that
// honours the bit; otherwise those tests are skipped. Environment: SECURE_PROBE names the probe.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "tests/misuse/child_process.h"

namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr uid_t kOtherUser = 65534;  // nobody

// All that could change the heap's behaviour, for better or worse.
const std::vector<std::string> kEnvironment = {
    "HARDENED_SEED=42", "HARDENED_LEVEL=strict",
    "HARDENED_OPTIONS=seed=42:double_free=ignore:invalid_free=ignore"};

class SecureTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "/secure.XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    probe_ = folder_ + "/probe";
    std::filesystem::copy_file(AbsolutePath("SECURE_PROBE"), probe_);
    ASSERT_EQ(chmod(probe_.c_str(), 0755), 0);
  }
  void TearDown() override {
    if (!folder_.empty()) std::filesystem::remove_all(folder_);
  }

  // Returns: why the probe cannot run as another user; empty when it was made to.
  std::string MakeSetUid() {
    if (geteuid() != 0) return "only root can give a file to another user";
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 0) return "no_new_privs is set";
    struct statvfs system;
    if (statvfs(folder_.c_str(), &system) != 0 || (system.f_flag & ST_NOSUID) != 0) {
      return folder_ + " is on a file system mounted nosuid";
    }
    if (chown(probe_.c_str(), kOtherUser, kOtherUser) != 0) return "chown is not allowed here";
    // After chown(), which clears the bit.
    if (chmod(probe_.c_str(), 04755) != 0) return "chmod is not allowed here";
    return "";
  }

  ChildResult Run(const std::vector<std::string>& environment,
                  const std::vector<std::string>& arguments = {}) {
    ChildOptions options = {.arguments = {probe_}, .environment = environment};
    options.arguments.insert(options.arguments.end(), arguments.begin(), arguments.end());
    return RunChild(options);
  }

  std::string folder_, probe_;
};

// Without these two, the next one could pass because nobody reads the environment.
TEST_F(SecureTest, AnOrdinaryProgramObeysTheLevel) {
  const ChildResult result = Run({"HARDENED_LEVEL=strict"});
  EXPECT_THAT(result.out, StartsWith("secure 0\nlevel strict\n")) << result.Describe();
}

TEST_F(SecureTest, AnOrdinaryProgramObeysTheSeed) {
  const ChildResult first = Run({"HARDENED_SEED=42"}), second = Run({"HARDENED_SEED=42"});
  ASSERT_EQ(first.exit_code, 0) << first.Describe();
  EXPECT_THAT(first.out, StartsWith("secure 0\nlevel "));
  EXPECT_EQ(first.out, second.out);
  EXPECT_NE(first.out, Run({}).out);
}

TEST_F(SecureTest, ASetUidProgramIgnoresTheEnvironment) {
  const ChildResult plain = Run({}), ordinary = Run({"HARDENED_SEED=42"});
  const std::string why_not = MakeSetUid();
  if (!why_not.empty()) GTEST_SKIP() << why_not;

  const ChildResult first = Run(kEnvironment), second = Run(kEnvironment);
  ASSERT_EQ(first.exit_code, 0) << first.Describe();
  // The kernel did what this test is about.
  ASSERT_THAT(first.out, StartsWith("secure 1\n"));
  // Blocks at random, for a seed of the environment would repeat.
  EXPECT_NE(first.out, second.out);
  const std::string seeded = ordinary.out.substr(ordinary.out.find("block"));
  EXPECT_THAT(first.out, Not(HasSubstr(seeded)));
  // The level that it has without any environment.
  const size_t level = plain.out.find("level");
  EXPECT_THAT(first.out,
              HasSubstr(plain.out.substr(level, plain.out.find('\n', level) + 1 - level)));
  EXPECT_EQ(first.err, "");
}

TEST_F(SecureTest, ASetUidProgramStopsADoubleFreeWhateverTheEnvironmentSays) {
  const std::string why_not = MakeSetUid();
  if (!why_not.empty()) GTEST_SKIP() << why_not;
  const ChildResult result = Run(kEnvironment, {"double-free"});
  EXPECT_EQ(result.signal, SIGABRT) << result.Describe();
  EXPECT_THAT(result.out, StartsWith("secure 1\n"));
  EXPECT_THAT(result.err, StartsWith("hardened: heap corruption: double free\n"));
}

}  // namespace
