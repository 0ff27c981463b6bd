#include "tests/misuse/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>

#include "gtest/gtest.h"

namespace {

constexpr int kExecFailed = 127;

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& string : strings) pointers.push_back(const_cast<char*>(string.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

[[noreturn]] void ExecChild(const ChildOptions& options, char** arguments, char** environment,
                            int out, int err) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const rlimit no_core = {0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  if (options.address_space_limit != 0) {
    const rlimit limit = {options.address_space_limit, options.address_space_limit};
    setrlimit(RLIMIT_AS, &limit);
  }
  dup2(out, STDOUT_FILENO);
  dup2(err, STDERR_FILENO);
  execve(arguments[0], arguments, environment);
  _exit(kExecFailed);
}

// Reads both pipes until they close or the time is up.
// Returns: whether they closed in time.
bool ReadAll(int out, int err, int timeout_seconds, ChildResult& result) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(timeout_seconds);
  pollfd pipes[] = {{out, POLLIN, 0}, {err, POLLIN, 0}};
  std::string* texts[] = {&result.out, &result.err};
  while (pipes[0].fd >= 0 || pipes[1].fd >= 0) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        end - std::chrono::steady_clock::now());
    if (left.count() <= 0 || poll(pipes, 2, static_cast<int>(left.count())) <= 0) return false;
    for (int i = 0; i < 2; ++i) {
      if (pipes[i].revents == 0) continue;
      char buffer[4096];
      const ssize_t count = read(pipes[i].fd, buffer, sizeof buffer);
      if (count > 0) {
        texts[i]->append(buffer, count);
      } else {
        pipes[i].fd = -1;
      }
    }
  }
  return true;
}

}  // namespace

std::string ChildResult::Describe() const {
  std::string text = timed_out     ? "timed out"
                     : signal != 0 ? std::string("killed by ") + strsignal(signal)
                                   : "exited with " + std::to_string(exit_code);
  return text + "\nstdout: " + out + "\nstderr: " + err;
}

ChildResult RunChild(const ChildOptions& options) {
  ChildResult result;
  const std::vector<char*> arguments = Pointers(options.arguments);
  const std::vector<char*> environment = Pointers(options.environment);
  int out[2], err[2];
  if (pipe2(out, O_CLOEXEC) != 0) return result;
  if (pipe2(err, O_CLOEXEC) != 0) {
    close(out[0]), close(out[1]);
    return result;
  }
  const pid_t child = fork();
  if (child == 0) {
    ExecChild(options, const_cast<char**>(arguments.data()), const_cast<char**>(environment.data()),
              out[1], err[1]);
  }
  close(out[1]), close(err[1]);
  if (child > 0) {
    setpgid(child, child);
    result.timed_out = !ReadAll(out[0], err[0], options.timeout_seconds, result);
    if (result.timed_out) kill(-child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    kill(-child, SIGKILL);  // grandchildren, should there be any
    if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
    if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  }
  close(out[0]), close(err[0]);
  return result;
}

std::string AbsolutePath(const std::string& variable) {
  const char* value = getenv(variable.c_str());
  char* path = value == nullptr ? nullptr : realpath(value, nullptr);
  EXPECT_NE(path, nullptr) << variable << " must name a file";
  if (path == nullptr) return "";
  const std::string absolute = path;
  free(path);
  return absolute;
}
