// child_process: runs a function in a forked child and collects how it ended.

#ifndef TESTS_PRIM_CHILD_PROCESS_H_
#define TESTS_PRIM_CHILD_PROCESS_H_

#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <string>

namespace hardened::prim {

struct ChildResult {
  int status = 0;    // as waitpid() gives it
  std::string text;  // what it wrote to fd 2
  bool exited_with(int code) const { return WIFEXITED(status) && WEXITSTATUS(status) == code; }
  bool died_of(int signal) const { return WIFSIGNALED(status) && WTERMSIG(status) == signal; }
};

// Runs `body()` in a child whose fd 2 is captured. The child exits with 0 when `body` returns, and
// is killed by SIGALRM after 60 seconds.
template <typename Body>
ChildResult RunInChild(Body body) {
  int ends[2];
  if (pipe(ends) != 0) abort();
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    body();
    _exit(0);
  }
  close(ends[1]);
  ChildResult result;
  char buffer[512];
  for (ssize_t size; (size = read(ends[0], buffer, sizeof(buffer))) > 0;) {
    result.text.append(buffer, static_cast<size_t>(size));
  }
  close(ends[0]);
  waitpid(child, &result.status, 0);
  return result;
}

inline int Count(const std::string& text, const std::string& part) {
  int count = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++count;
  return count;
}

}  // namespace hardened::prim

#endif  // TESTS_PRIM_CHILD_PROCESS_H_
