#include "fuzzers/failure_printer.h"

#include <signal.h>

#include <array>
#include <atomic>

namespace hardened::fuzzers {
namespace {

constexpr std::array kSignals = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};

std::array<struct sigaction, kSignals.size()> g_previous;
std::atomic<void (*)()> g_print{nullptr};
bool g_installed = false;

void OnSignal(int signal, siginfo_t* info, void* context) {
  if (void (*print)() = g_print.exchange(nullptr)) print();
  for (size_t i = 0; i < kSignals.size(); ++i) {
    if (kSignals[i] != signal) continue;
    const struct sigaction& previous = g_previous[i];
    if ((previous.sa_flags & SA_SIGINFO) != 0) {
      previous.sa_sigaction(signal, info, context);
    } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
      previous.sa_handler(signal);
    }
    // Whoever returns meets the default action.
    sigaction(signal, &previous, nullptr);
    raise(signal);
    return;
  }
}

}  // namespace

void PrintOnFailure(void (*print)()) {
  if (g_installed) return;
  g_installed = true;
  g_print = print;
  for (size_t i = 0; i < kSignals.size(); ++i) {
    struct sigaction action = {};
    action.sa_sigaction = &OnSignal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(kSignals[i], &action, &g_previous[i]);
  }
}

void RestoreDefaultActions() {
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  for (const int signal : kSignals) sigaction(signal, &action, nullptr);
  sigaction(SIGALRM, &action, nullptr);
}

}  // namespace hardened::fuzzers
