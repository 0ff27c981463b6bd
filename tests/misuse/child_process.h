// ChildProcess: runs a program to its end and keeps what it said.
//
// The child leads a process group of its own, which is killed when the time is
// up and after it ended, and it dies with its parent: no process stays behind.
#ifndef TESTS_MISUSE_CHILD_PROCESS_H_
#define TESTS_MISUSE_CHILD_PROCESS_H_

#include <cstddef>
#include <string>
#include <vector>

struct ChildOptions {
  std::vector<std::string> arguments;         // [0] is the program's path
  std::vector<std::string> environment = {};  // "NAME=value"; nothing is inherited
  size_t address_space_limit = 0;             // bytes of RLIMIT_AS; 0: none
  int timeout_seconds = 60;  // of a hang; a busy machine may take long
};

struct ChildResult {
  int exit_code = -1;  // -1: did not exit
  int signal = 0;      // 0: was not killed
  bool timed_out = false;
  std::string out = "";
  std::string err = "";

  std::string Describe() const;
};

ChildResult RunChild(const ChildOptions& options);

// The absolute path of the file that an environment variable names; Bazel gives it relative to the
// test's folder. A failure of the test, and empty, when there is none.
std::string AbsolutePath(const std::string& variable);

#endif  // TESTS_MISUSE_CHILD_PROCESS_H_
