// signals: small programs that live and die by SIGSEGV; the first argument says which. What they
// see goes to stdout. signals_test.py runs each of them with glibc's malloc and with this
// allocator, and wants the same output and the same wait status. Nothing here needs libstdc++,
// which allocates before main().

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string_view>

extern "C" {
int __sigaction(int, const struct sigaction*, struct sigaction*);
sighandler_t __sysv_signal(int, sighandler_t);
sighandler_t bsd_signal(int, sighandler_t);
extern char** environ;
}

namespace {

// Not stdio: its buffers would be lost, and handlers may not use it.
[[gnu::format(printf, 1, 2)]] void Say(const char* format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  const int length = vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  if (write(STDOUT_FILENO, text, static_cast<size_t>(length)) != length) _exit(90);
}

void StartHeap() {
  void* volatile block = malloc(10);
  free(block);
}

volatile uintptr_t hidden_address;
// Writes to `address`, which the compiler does not know.
void Poke(uintptr_t address) {
  hidden_address = address;
  *reinterpret_cast<volatile char*>(hidden_address) = 1;
}

const char* NameOf(sighandler_t handler) {
  if (handler == SIG_DFL) return "default";
  if (handler == SIG_IGN) return "ignored";
  if (handler == SIG_ERR) return "error";
  return "handler";
}

struct sigaction Current() {
  struct sigaction action;
  memset(&action, 0xff, sizeof(action));
  if (sigaction(SIGSEGV, nullptr, &action) != 0) _exit(91);
  return action;
}

constexpr int kRestorer = 0x04000000;  // SA_RESTORER: libc's business

void SayAction(const char* where, const struct sigaction& action) {
  int blocked = 0;
  for (int signal = 1; signal < 65; ++signal) blocked += sigismember(&action.sa_mask, signal) == 1;
  Say("%s: %s, flags %#x, %d blocked\n", where, NameOf(action.sa_handler),
      action.sa_flags & ~kRestorer, blocked);
}

void Handle(int signal, void (*handler)(int, siginfo_t*, void*), int flags) {
  struct sigaction action = {};
  action.sa_sigaction = handler;
  action.sa_flags = flags | SA_SIGINFO;
  if (sigaction(signal, &action, nullptr) != 0) _exit(92);
}

void SayAndExit(int signal, siginfo_t* info, void*) {
  Say("handler: signal %d, code %d\n", signal, info->si_code);
  _exit(3);
}

void SayStatus(const char* what, int status) {
  Say("%s: %s %d%s\n", what, WIFSIGNALED(status) ? "signal" : "exit",
      WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
      WIFSIGNALED(status) && WCOREDUMP(status) ? " (core)" : "");
}

template <typename Body>
void InChild(const char* what, Body body) {
  const pid_t child = fork();
  if (child == 0) {
    body();
    _exit(0);
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child) _exit(93);
  SayStatus(what, status);
}

template <typename Body>
void InThread(Body body) {
  pthread_t thread;
  const auto start = [](void* argument) -> void* {
    (*static_cast<Body*>(argument))();
    return nullptr;
  };
  if (pthread_create(&thread, nullptr, start, &body) != 0) _exit(94);
  pthread_join(thread, nullptr);
}

sigset_t Segv() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGSEGV);
  return set;
}

// ---- signals that somebody sends

void Raise() { raise(SIGSEGV), Say("alive\n"); }
void KillSelf() { kill(getpid(), SIGSEGV), pause(), Say("alive\n"); }
void RaiseInThread() {
  InThread([] { raise(SIGSEGV); });
  Say("alive\n");
}
void PthreadKill() {
  pthread_kill(pthread_self(), SIGSEGV);
  Say("alive\n");
}
void Sigqueue() {
  sigqueue(getpid(), SIGSEGV, {.sival_int = 42});
  pause();
}
void KilledWhileItWaits() {
  int ends[2];
  if (pipe(ends) != 0) _exit(95);
  const pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    if (write(ends[1], "x", 1) != 1) _exit(96);
    for (;;) pause();
  }
  char byte;
  if (read(ends[0], &byte, 1) != 1) _exit(97);
  kill(child, SIGSEGV);
  siginfo_t info = {};
  if (waitid(P_PID, static_cast<id_t>(child), &info, WEXITED) != 0) _exit(98);
  Say("code %d, status %d\n", info.si_code, info.si_status);
}
void RaiseInForkedChild() {
  InChild("child", [] { raise(SIGSEGV); });
  Raise();
}
void SentToAHandler() {
  Handle(
      SIGSEGV,
      [](int, siginfo_t* info, void*) {
        Say("code %d, value %d, from itself %d\n", info->si_code, info->si_value.sival_int,
            info->si_pid == getpid());
      },
      0);
  sigqueue(getpid(), SIGSEGV, {.sival_int = 43});
  Say("alive\n");
}
void SentAndIgnored() {
  signal(SIGSEGV, SIG_IGN);
  raise(SIGSEGV);
  Say("alive\n");
}
void WaitedFor() {
  const sigset_t segv = Segv();
  pthread_sigmask(SIG_BLOCK, &segv, nullptr);
  sigqueue(getpid(), SIGSEGV, {.sival_int = 44});
  siginfo_t info = {};
  Say("got %d", sigwaitinfo(&segv, &info));
  Say(", value %d\n", info.si_value.sival_int);
  raise(SIGSEGV);
  int signal = 0;
  sigwait(&segv, &signal);
  Say("got %d\n", signal);
  const timespec at_once = {};
  Say("got %d\n", sigtimedwait(&segv, nullptr, &at_once));
  kill(getpid(), SIGSEGV);
  const int fd = signalfd(-1, &segv, SFD_NONBLOCK);
  signalfd_siginfo read_info = {};
  Say("read %zd", read(fd, &read_info, sizeof(read_info)));
  Say(", signal %u\n", read_info.ssi_signo);
}
void BlockedThenUnblocked() {
  const sigset_t segv = Segv();
  pthread_sigmask(SIG_BLOCK, &segv, nullptr);
  raise(SIGSEGV);
  Say("still here\n");
  pthread_sigmask(SIG_UNBLOCK, &segv, nullptr);
  Say("alive\n");
}
void OtherSignals() {
  for (const int signal : {SIGBUS, SIGABRT, SIGTERM, SIGUSR1, SIGFPE}) {
    InChild(strsignal(signal), [signal] { raise(signal); });
    InChild(strsignal(signal), [signal] {
      Handle(signal, &SayAndExit, 0);
      raise(signal);
    });
  }
  char name[] = "/tmp/signals.XXXXXX";
  const int fd = mkstemp(name);
  unlink(name);
  void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  Handle(SIGBUS, &SayAndExit, 0);
  Poke(reinterpret_cast<uintptr_t>(page));
}

// ---- faults that are not the heap's

void NullPointer() { Poke(8); }
void NotCanonical() { Poke(uintptr_t{0xdead} << 48); }
void JumpIntoData() {
  static char data[16] = {'\xc3'};
  hidden_address = reinterpret_cast<uintptr_t>(data);
  reinterpret_cast<void (*)()>(hidden_address)();
}
void Blocked() {
  const sigset_t segv = Segv();
  pthread_sigmask(SIG_BLOCK, &segv, nullptr);
  Poke(8);
}
int Recurse(int depth) {
  volatile char frame[512] = {};
  return depth <= 0 ? frame[0] : Recurse(depth + 1) + frame[1];
}
void Overflow() { Say("%d\n", Recurse(1)); }

// mprotect(2)'s example, without its handler and with it.
struct Protected {
  char* pages;
  static constexpr size_t kPage = 4096;

  explicit Protected(size_t bytes, int kind) {
    void* block = kind == 0   ? aligned_alloc(kPage, bytes)
                  : kind == 1 ? memalign(kPage, bytes)
                              : valloc(bytes);
    pages = static_cast<char*>(block);
    memset(pages, 1, bytes);
    if (mprotect(pages + bytes / kPage / 2 * kPage, kPage, PROT_READ) != 0) _exit(80);
  }
  uintptr_t read_only(size_t bytes) const {
    return reinterpret_cast<uintptr_t>(pages + bytes / kPage / 2 * kPage) + 5;
  }
};
constexpr size_t kProtectedSizes[] = {4096, 4 * 4096, 64 * 4096, 1024 * 4096};

void ProtectedByTheProgram() {
  for (const size_t bytes : kProtectedSizes) {
    for (int kind = 0; kind < 3; ++kind) {
      InChild("read-only", [=] { Poke(Protected(bytes, kind).read_only(bytes)); });
      InChild("handled", [=] {
        const Protected block(bytes, kind);
        Handle(SIGSEGV, &SayAndExit, 0);
        Poke(block.read_only(bytes));
      });
    }
  }
}
void RepairedByTheHandler() {
  const Protected block(16 * 4096, 0);
  Handle(
      SIGSEGV,
      [](int, siginfo_t* info, void*) {
        const uintptr_t page = reinterpret_cast<uintptr_t>(info->si_addr) & ~uintptr_t{4095};
        mprotect(reinterpret_cast<void*>(page), 4096, PROT_READ | PROT_WRITE);
        Say("repaired, code %d\n", info->si_code);
      },
      0);
  Poke(block.read_only(16 * 4096));
  Say("alive\n");
}

// ---- handlers of the program

volatile int runs;
int NextRun() {
  runs = runs + 1;
  return runs;
}
void Count(int) {
  if (NextRun() > 5) _exit(81);
  Say("handler\n");
}
void OnceBeforeTheHeap() {
  struct sigaction action = {};
  action.sa_handler = &Count;
  action.sa_flags = SA_RESETHAND;
  sigaction(SIGSEGV, &action, nullptr);
  StartHeap();
  Poke(8);
}
void OnceAfterwards() {
  StartHeap();
  sysv_signal(SIGSEGV, &Count);
  Poke(8);
}
void MaskAndNesting() {
  struct sigaction action = {};
  action.sa_handler = [](int) {
    sigset_t blocked;
    pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
    Say("USR1 %d, SEGV %d\n", sigismember(&blocked, SIGUSR1), sigismember(&blocked, SIGSEGV));
    if (NextRun() < 3) raise(SIGSEGV);
  };
  for (const int flags : {0, static_cast<int>(SA_NODEFER)}) {
    runs = 0;
    action.sa_flags = flags;
    sigaddset(&action.sa_mask, SIGUSR1);
    sigaction(SIGSEGV, &action, nullptr);
    StartHeap();
    raise(SIGSEGV);
  }
}
sigjmp_buf back;
void JumpsOut() {
  StartHeap();
  signal(SIGSEGV, [](int) { siglongjmp(back, 1); });
  while (NextRun() <= 3) {
    if (sigsetjmp(back, 1) == 0) Poke(8);
    Say("back\n");
  }
  signal(SIGSEGV, SIG_DFL);
  Poke(8);
}
void OnAnAlternateStack() {
  static char stack[64 << 10];
  const stack_t alternate = {.ss_sp = stack, .ss_flags = 0, .ss_size = sizeof(stack)};
  sigaltstack(&alternate, nullptr);
  InChild("no handler", [] { Overflow(); });
  Handle(
      SIGSEGV,
      [](int, siginfo_t* info, void*) {
        char here;
        Say("on it %d, code %d\n", &here >= stack && &here < stack + sizeof(stack), info->si_code);
        _exit(4);
      },
      SA_ONSTACK);
  Overflow();
}

// As Rust's runtime: only over the default, and back to it for what is not a stack's guard.
void OnlyOverTheDefault(bool guard) {
  StartHeap();
  struct sigaction action = Current();
  SayAction("found", action);
  if (action.sa_handler != SIG_DFL) return;
  Handle(
      SIGSEGV,
      [](int signal, siginfo_t*, void*) {
        Say("not a stack\n");
        struct sigaction reset = {};
        reset.sa_handler = SIG_DFL;
        sigaction(signal, &reset, nullptr);
      },
      SA_ONSTACK);
  if (guard) return;
  Poke(8);
}

// ---- what programs see

using Setter = sighandler_t(int, sighandler_t);
struct NamedSetter {
  const char* name;
  Setter* set;
};
const NamedSetter kSetters[] = {
    {"signal", &signal},           {"bsd_signal", &bsd_signal},       {"ssignal", &ssignal},
    {"sysv_signal", &sysv_signal}, {"__sysv_signal", &__sysv_signal}, {"sigset", &sigset},
};
void Actions() {
  StartHeap();
  SayAction("at first", Current());
  for (const NamedSetter& setter : kSetters) {
    Say("%s:", setter.name);
    const sighandler_t values[] = {&Count,  SIG_DFL, SIG_IGN, SIG_DFL,
                                   SIG_DFL, &Count,  SIG_IGN, &Count};
    for (const sighandler_t value : values) Say(" %s", NameOf(setter.set(SIGSEGV, value)));
    Say("\n");
    SayAction("then", Current());
    Say("%s\n", NameOf(setter.set(SIGSEGV, SIG_DFL)));
    SayAction("then", Current());
    errno = 0;
    Say("wrong: %s", NameOf(setter.set(1000, SIG_DFL)));
    Say(" %d\n", errno);
  }
  Say("sigignore: %d\n", sigignore(SIGSEGV));
  SayAction("then", Current());
  Say("sigset: %s\n", NameOf(sigset(SIGSEGV, SIG_DFL)));
  Say("sigset: %s\n", NameOf(sigset(SIGSEGV, SIG_HOLD)));
  Say("sigset: %s\n", NameOf(sigset(SIGSEGV, SIG_DFL)));
  Say("siginterrupt: %d\n", siginterrupt(SIGSEGV, 1));
  SayAction("then", Current());
}
void Flags() {
  StartHeap();
  const int all[] = {
      0,          SA_RESTART,   SA_NODEFER,  SA_ONSTACK, static_cast<int>(SA_RESETHAND),
      SA_SIGINFO, SA_NOCLDSTOP, SA_NOCLDWAIT};
  for (const sighandler_t handler : {SIG_DFL, SIG_IGN, &Count}) {
    for (const int flags : all) {
      struct sigaction action = {};
      action.sa_handler = handler;
      action.sa_flags = flags;
      sigaddset(&action.sa_mask, SIGHUP);
      if (flags == SA_RESTART) sigfillset(&action.sa_mask);
      struct sigaction old = {};
      Say("%d ", sigaction(SIGSEGV, &action, &old));
      SayAction("before", old);
      SayAction("now", Current());
      // The same object in and out.
      Say("%d ", __sigaction(SIGSEGV, &action, &action));
      SayAction("before", action);
    }
  }
  Say("%d %d\n", sigaction(0, nullptr, nullptr), errno);
  Say("%d %d\n", sigaction(33, nullptr, nullptr), errno);
}
void PutBack() {
  StartHeap();
  struct sigaction before = Current();
  Handle(SIGSEGV, &SayAndExit, 0);
  sigaction(SIGSEGV, &before, nullptr);
  SayAction("put back", Current());
  Poke(8);
}

// ---- other processes

const char* program;
void Execute() {
  StartHeap();
  const auto again = [] { execl(program, program, "AfterExec", nullptr), _exit(82); };
  InChild("default", again);
  InChild("ignored", [=] { signal(SIGSEGV, SIG_IGN), again(); });
  InChild("handled", [=] { signal(SIGSEGV, &Count), again(); });
}
void AfterExec() {
  SayAction("inherited", Current());
  StartHeap();
  SayAction("with a heap", Current());
  raise(SIGSEGV);
}
void Spawn() {
  StartHeap();
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  const sigset_t segv = Segv();
  posix_spawnattr_setsigdefault(&attributes, &segv);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  const char* arguments[] = {program, "AfterExec", nullptr};
  signal(SIGSEGV, SIG_IGN);
  pid_t child;
  if (posix_spawn(&child, program, nullptr, &attributes, const_cast<char**>(arguments), environ) !=
      0) {
    _exit(83);
  }
  int status = 0;
  waitpid(child, &status, 0);
  SayStatus("spawned", status);
  SayAction("here", Current());
}
void InVforkChild() {
  for (const sighandler_t handler : {SIG_IGN, SIG_DFL, &Count}) {
    const pid_t child = vfork();
    if (child == 0) {
      signal(SIGSEGV, handler);
      _exit(0);
    }
    waitpid(child, nullptr, 0);
    SayAction("after vfork", Current());
  }
}
void Vfork() {
  StartHeap();
  InVforkChild();
  const pid_t child = vfork();
  if (child == 0) {
    kill(getpid(), SIGSEGV);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  SayStatus("vforked", status);
  Poke(8);
}

// ---- faults on guards of the heap: only where this allocator runs

// Behind a large allocation that fills its pages.
uintptr_t Guard() {
  constexpr size_t kBytes = 49 * 4096;
  hidden_address = reinterpret_cast<uintptr_t>(malloc(kBytes));
  return hidden_address + kBytes + 64;
}
void GuardDefault() { Poke(Guard()); }
void GuardAfterSetters() {
  StartHeap();
  for (const NamedSetter& setter : kSetters) {
    // The default of these two has flags that the kernel must keep.
    if (setter.set == &sysv_signal || setter.set == &__sysv_signal) continue;
    InChild(setter.name, [&] {
      setter.set(SIGSEGV, &Count);
      setter.set(SIGSEGV, SIG_DFL);
      Poke(Guard());
    });
  }
}
void GuardOnlyOverTheDefault() {
  OnlyOverTheDefault(true);
  Poke(Guard());
}
void GuardHandled() {
  Handle(SIGSEGV, &SayAndExit, 0);
  Poke(Guard());
}
void GuardIgnored() {
  signal(SIGSEGV, SIG_IGN);
  Poke(Guard());
}
void GuardBlocked() {
  const sigset_t segv = Segv();
  pthread_sigmask(SIG_BLOCK, &segv, nullptr);
  Poke(Guard());
}
// How many bytes of an alternate stack a fault takes, in a child that shares the memory.
size_t StackOfAFault(bool handled) {
  static char stack[64 << 10];
  memset(stack, 0x5a, sizeof(stack));
  const stack_t alternate = {.ss_sp = stack, .ss_flags = 0, .ss_size = sizeof(stack)};
  if (sigaltstack(&alternate, nullptr) != 0) _exit(84);
  const uintptr_t guard = Guard();
  const pid_t child = vfork();
  if (child == 0) {
    if (handled)
      Handle(
          SIGSEGV, [](int, siginfo_t*, void*) { _exit(0); }, SA_ONSTACK);
    Poke(guard);
  }
  int status = 0;
  waitpid(child, &status, 0);
  SayStatus("child", status);
  size_t untouched = 0;
  while (untouched < sizeof(stack) && stack[untouched] == 0x5a) ++untouched;
  return sizeof(stack) - untouched;
}
void GuardOnASmallStack() {
  // The first time the dynamic linker finds _exit().
  StackOfAFault(true);
  const size_t kernel = StackOfAFault(true);
  const size_t all = StackOfAFault(false);
  Say("%s\n", kernel > 0 && all > kernel && all < kernel + 1536 ? "little" : "much");
}
pthread_barrier_t together;
void GuardInTwoThreads() {
  pthread_barrier_init(&together, nullptr, 2);
  const uintptr_t guard = Guard();
  pthread_t thread;
  pthread_create(
      &thread, nullptr,
      [](void* argument) -> void* {
        pthread_barrier_wait(&together);
        Poke(reinterpret_cast<uintptr_t>(argument));
        return nullptr;
      },
      reinterpret_cast<void*>(guard));
  pthread_barrier_wait(&together);
  Poke(guard);
}
void GuardInFamily() {
  const uintptr_t guard = Guard();
  InChild("child", [=] { Poke(guard); });
  const pid_t child = vfork();
  if (child == 0) Poke(guard);
  int status = 0;
  waitpid(child, &status, 0);
  SayStatus("vforked", status);
  InVforkChild();
  Poke(guard);
}
void GuardOfNothing() {
  hidden_address = reinterpret_cast<uintptr_t>(malloc(0));
  Poke(hidden_address);
}

struct Scenario {
  std::string_view name;
  void (*run)();
};
#define SCENARIO(name) \
  { #name, &name }
const Scenario kScenarios[] = {
    SCENARIO(Raise),
    SCENARIO(KillSelf),
    SCENARIO(RaiseInThread),
    SCENARIO(PthreadKill),
    SCENARIO(Sigqueue),
    SCENARIO(KilledWhileItWaits),
    SCENARIO(RaiseInForkedChild),
    SCENARIO(SentToAHandler),
    SCENARIO(SentAndIgnored),
    SCENARIO(WaitedFor),
    SCENARIO(BlockedThenUnblocked),
    SCENARIO(OtherSignals),
    SCENARIO(NullPointer),
    SCENARIO(NotCanonical),
    SCENARIO(JumpIntoData),
    SCENARIO(Blocked),
    SCENARIO(Overflow),
    SCENARIO(ProtectedByTheProgram),
    SCENARIO(RepairedByTheHandler),
    SCENARIO(OnceBeforeTheHeap),
    SCENARIO(OnceAfterwards),
    SCENARIO(MaskAndNesting),
    SCENARIO(JumpsOut),
    SCENARIO(OnAnAlternateStack),
    SCENARIO(Actions),
    SCENARIO(Flags),
    SCENARIO(PutBack),
    SCENARIO(Execute),
    SCENARIO(AfterExec),
    SCENARIO(Spawn),
    SCENARIO(Vfork),
    {"OnlyOverTheDefault", [] { OnlyOverTheDefault(false); }},

    SCENARIO(GuardDefault),
    SCENARIO(GuardAfterSetters),
    SCENARIO(GuardOnlyOverTheDefault),
    SCENARIO(GuardHandled),
    SCENARIO(GuardIgnored),
    SCENARIO(GuardBlocked),
    SCENARIO(GuardOnASmallStack),
    SCENARIO(GuardInTwoThreads),
    SCENARIO(GuardInFamily),
    SCENARIO(GuardOfNothing),
};

// Those that put their handler in place first, or look at what they got.
bool StartsTheHeapItself(std::string_view name) {
  return name == "OnceBeforeTheHeap" || name == "MaskAndNesting" || name == "AfterExec";
}

}  // namespace

int main(int argc, char** argv) {
  alarm(60);
  program = argv[0];
  const std::string_view name = argc > 1 ? argv[1] : "";
  if (name == "list") {
    for (const Scenario& scenario : kScenarios) puts(scenario.name.data());
    return 0;
  }
  for (const Scenario& scenario : kScenarios) {
    if (scenario.name != name) continue;
    if (!StartsTheHeapItself(name)) StartHeap();
    scenario.run();
    return 0;
  }
  return 99;
}
