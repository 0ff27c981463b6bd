// reports: small programs with a harmless mismatch (free() of what new made) whose descriptor 2 is
// something else by then; the first argument says what. What they see goes to stdout; "alive" is
// the last of it where the program lived on. reports_test.py knows what is right.

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <string_view>

namespace {

void Say(std::string_view text) {
  if (write(STDOUT_FILENO, text.data(), text.size()) < 0) _exit(90);
}
void SayNumber(std::string_view name, long number) {
  char text[100];
  snprintf(text, sizeof(text), "%.*s %ld\n", static_cast<int>(name.size()), name.data(), number);
  Say(text);
}

void Require(bool condition, int code) {
  if (!condition) _exit(code);
}

// One place in the program.
[[gnu::noinline]] void Mismatch() {
  int* volatile made = new int(5);
  free(made);
}
[[gnu::noinline]] void MismatchElsewhere() {
  long* volatile made = new long(5);
  free(made);
}

// ---- files of the program under number 2

constexpr char kDataFile[] = "data";
void OpenDataAs2(int flags) {
  close(STDERR_FILENO);
  Require(open(kDataFile, flags | O_CREAT | O_TRUNC, 0600) == STDERR_FILENO, 80);
  Require(write(STDERR_FILENO, "HEADER--", 8) == 8, 81);
}
void EndData() { Require(write(STDERR_FILENO, "RECORD-1", 8) == 8, 82); }

void DataFile() {
  OpenDataAs2(O_RDWR);
  Mismatch();
  EndData();
}
void AppendedDataFile() {
  OpenDataAs2(O_WRONLY | O_APPEND);
  Mismatch();
  EndData();
}
void CloseOnExecDataFile() {
  OpenDataAs2(O_WRONLY | O_APPEND | O_CLOEXEC);
  Mismatch();
  EndData();
}
// reports_test.py starts it without a descriptor 2.
void DataFileWhereNothingWas() { DataFile(); }
void Socket() {
  close(STDERR_FILENO);
  int ends[2];
  Require(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0 && ends[0] == STDERR_FILENO, 80);
  Mismatch();
  char byte;
  SayNumber("received", recv(ends[1], &byte, 1, MSG_DONTWAIT));
}
void Pipe() {
  int ends[2];
  close(STDERR_FILENO);
  Require(open("/dev/null", O_WRONLY) == STDERR_FILENO, 80);
  Require(pipe2(ends, O_CLOEXEC) == 0, 81);
  // As a program that has closed 0, 1 and 2 gets it.
  Require(dup3(ends[1], STDERR_FILENO, O_CLOEXEC) == STDERR_FILENO, 82);
  Mismatch();
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  char byte;
  SayNumber("received", read(ends[0], &byte, 1));
}
void EventCounter() {
  close(STDERR_FILENO);
  Require(eventfd(0, EFD_NONBLOCK) == STDERR_FILENO, 80);
  Mismatch();
  uint64_t count = 0;
  SayNumber("read", read(STDERR_FILENO, &count, sizeof(count)));
}
void Nothing() {
  close(STDERR_FILENO);
  Mismatch();
}

// ---- error streams that the program makes

void AppendedLog() {
  const int log = open("log", O_WRONLY | O_CREAT | O_APPEND, 0600);
  Require(log > STDERR_FILENO && dup2(log, STDERR_FILENO) == STDERR_FILENO, 80);
  Require(write(log, "first\n", 6) == 6, 81);
  Mismatch();
  Require(write(log, "last\n", 5) == 5, 82);
}
void Redirected() {
  Require(write(STDERR_FILENO, "first\n", 6) == 6, 81);
  Mismatch();
  Require(write(STDERR_FILENO, "last\n", 5) == 5, 82);
}

// ---- streams that are full or broken

void FillUp(int fd) {
  const int flags = fcntl(fd, F_GETFL);
  fcntl(fd, F_SETFL, flags | O_NONBLOCK);
  static const char block[4096] = {};
  for (const size_t size : {sizeof(block), size_t{1}}) {
    while (write(fd, block, size) > 0) {
    }
  }
  fcntl(fd, F_SETFL, flags);
}
int FullPipe() {
  int ends[2];
  Require(pipe(ends) == 0, 80);
  FillUp(ends[1]);
  Require(dup2(ends[1], STDERR_FILENO) == STDERR_FILENO, 81);
  return ends[0];
}
void Full() {
  FullPipe();
  errno = 77;
  Mismatch();
  MismatchElsewhere();
  SayNumber("errno", errno);
  SayNumber("flags", fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK);
}
void FullWithoutWaiting() {
  FullPipe();
  fcntl(STDERR_FILENO, F_SETFL, O_NONBLOCK);
  Mismatch();
}
void FullSocket() {
  int ends[2];
  Require(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, 80);
  FillUp(ends[1]);
  // Started anew, so that the socket is what it was started with.
  dup2(ends[1], STDERR_FILENO);
  execl("/proc/self/exe", "reports", "Once", nullptr);
}

void BreakPipe() {
  int ends[2];
  Require(pipe(ends) == 0, 80);
  close(ends[0]);
  Require(dup2(ends[1], STDERR_FILENO) == STDERR_FILENO, 81);
}
void Broken() {
  BreakPipe();
  Mismatch();
}
void BrokenWithAHandler() {
  signal(SIGPIPE, [](int) { Say("SIGPIPE\n"); });
  Broken();
}
sigset_t SigpipeAlone() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGPIPE);
  return set;
}
void BrokenAndBlocked() {
  const sigset_t set = SigpipeAlone();
  sigprocmask(SIG_BLOCK, &set, nullptr);
  Broken();
  sigset_t pending;
  sigpending(&pending);
  SayNumber("pending", sigismember(&pending, SIGPIPE));
  sigprocmask(SIG_BLOCK, nullptr, &pending);
  SayNumber("blocked", sigismember(&pending, SIGPIPE));
}
void BrokenAndPending() {
  const sigset_t set = SigpipeAlone();
  sigprocmask(SIG_BLOCK, &set, nullptr);
  raise(SIGPIPE);
  Broken();
  sigset_t pending;
  sigpending(&pending);
  SayNumber("pending", sigismember(&pending, SIGPIPE));
}
void BrokenSocket() {
  int ends[2];
  Require(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, 80);
  close(ends[0]);
  dup2(ends[1], STDERR_FILENO);
  execl("/proc/self/exe", "reports", "Once", nullptr);
}
void FileLimit() {
  const rlimit limit = {0, 0};
  setrlimit(RLIMIT_FSIZE, &limit);
  Mismatch();
}

// ---- terminals

// Returns: the slave, in raw mode.
int OpenTerminal(int* master) {
  *master = posix_openpt(O_RDWR | O_NOCTTY);
  Require(*master >= 0 && grantpt(*master) == 0 && unlockpt(*master) == 0, 80);
  const int slave = open(ptsname(*master), O_RDWR | O_NOCTTY);
  Require(slave >= 0, 81);
  return slave;
}
void FullTerminal() {
  int master;
  const int slave = OpenTerminal(&master);
  FillUp(slave);
  dup2(slave, STDERR_FILENO);
  Mismatch();
}
void StoppedTerminal() {
  int master;
  const int slave = OpenTerminal(&master);
  dup2(slave, STDERR_FILENO);
  tcflow(slave, TCOOFF);
  Mismatch();
}
// In the background of a terminal that stops who writes to it from there.
void BackgroundJob() {
  int master;
  const int slave = OpenTerminal(&master);
  const pid_t leader = fork();
  if (leader == 0) {
    Require(setsid() > 0 && ioctl(slave, TIOCSCTTY, 0) == 0, 82);
    termios modes;
    tcgetattr(slave, &modes);
    modes.c_lflag |= TOSTOP;
    tcsetattr(slave, TCSANOW, &modes);
    const pid_t job = fork();
    if (job == 0) {
      setpgid(0, 0);
      dup2(slave, STDERR_FILENO);
      Mismatch();
      _exit(0);
    }
    int status = 0;
    waitpid(job, &status, WUNTRACED);
    if (WIFSTOPPED(status)) kill(job, SIGKILL);
    _exit(WIFSTOPPED(status) ? 83 : WIFEXITED(status) ? 0 : WTERMSIG(status));
  }
  int status = 0;
  waitpid(leader, &status, 0);
  SayNumber("job", WEXITSTATUS(status));
}

// ---- how often

void Once() {
  for (int i = 0; i < 100; ++i) Mismatch();
}
void TwoPlaces() {
  for (int i = 0; i < 100; ++i) {
    Mismatch();
    MismatchElsewhere();
  }
}
void ThenAFault() {
  for (int i = 0; i < 20; ++i) Mismatch();
  constexpr size_t kBytes = 49 * 4096;
  volatile char* block = static_cast<volatile char*>(malloc(kBytes));
  block[kBytes + 64] = 1;
}

// ---- where

void InASignalHandler() {
  signal(SIGUSR1, [](int) { Mismatch(); });
  errno = 77;
  raise(SIGUSR1);
  SayNumber("errno", errno);
}
void InVforkChild() {
  const pid_t child = vfork();
  if (child == 0) {
    Mismatch();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  SayNumber("signal", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
  MismatchElsewhere();
}
void AbortHandler() {
  signal(SIGABRT, [](int) { Say("SIGABRT\n"); });
  Mismatch();
}

struct Scenario {
  std::string_view name;
  void (*run)();
};
#define SCENARIO(name) \
  { #name, &name }
const Scenario kScenarios[] = {
    SCENARIO(DataFile),
    SCENARIO(AppendedDataFile),
    SCENARIO(CloseOnExecDataFile),
    SCENARIO(Socket),
    SCENARIO(Pipe),
    SCENARIO(EventCounter),
    SCENARIO(Nothing),
    SCENARIO(AppendedLog),
    SCENARIO(Redirected),
    SCENARIO(Full),
    SCENARIO(FullWithoutWaiting),
    SCENARIO(FullSocket),
    SCENARIO(Broken),
    SCENARIO(BrokenWithAHandler),
    SCENARIO(BrokenAndBlocked),
    SCENARIO(BrokenSocket),
    SCENARIO(BrokenAndPending),
    SCENARIO(FileLimit),
    SCENARIO(FullTerminal),
    SCENARIO(StoppedTerminal),
    SCENARIO(BackgroundJob),
    SCENARIO(Once),
    SCENARIO(TwoPlaces),
    SCENARIO(ThenAFault),
    SCENARIO(InVforkChild),
    SCENARIO(InASignalHandler),
    SCENARIO(AbortHandler),
    SCENARIO(DataFileWhereNothingWas),
};

}  // namespace

// A program may have an abort() of its own; reports do without.
extern "C" void abort() noexcept {
  Say("the program's abort\n");
  _exit(79);
}

int main(int argc, char** argv) {
  alarm(60);
  const std::string_view name = argc > 1 ? argv[1] : "";
  for (const Scenario& scenario : kScenarios) {
    if (scenario.name != name) continue;
    scenario.run();
    Say("alive\n");
    return 0;
  }
  return 99;
}
