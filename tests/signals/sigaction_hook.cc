// sigaction_hook: a library that puts itself in front of sigaction() and remembers what it saw, as
// those do that chain handlers (libjsig of Java, for one).

#include <dlfcn.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

namespace {

void Tell(const char* text) {
  if (write(STDERR_FILENO, text, strlen(text)) < 0) _exit(70);
}

}  // namespace

extern "C" [[gnu::visibility("default")]] int sigaction(int signal, const struct sigaction* action,
                                                        struct sigaction* old) {
  using Function = int(int, const struct sigaction*, struct sigaction*);
  static Function* const next = reinterpret_cast<Function*>(dlsym(RTLD_NEXT, "sigaction"));
  struct sigaction before = {};
  const int result = next(signal, action, &before);
  if (signal == SIGSEGV && action != nullptr && result == 0) {
    Tell(before.sa_handler == SIG_DFL   ? "hook: SIGSEGV from default\n"
         : before.sa_handler == SIG_IGN ? "hook: SIGSEGV from ignored\n"
                                        : "hook: SIGSEGV from a handler\n");
  }
  if (old != nullptr) *old = before;
  return result;
}
