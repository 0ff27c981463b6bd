// A preloaded library that stands in front of functions of libc which start-up may call, and
// allocates in each of them; as does a signal handler that runs below the first of them.

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

namespace {

int asked = 0;

void Fail() {
  constexpr char kText[] = "asker: bad memory\n";
  [[maybe_unused]] const long written = write(2, kText, sizeof(kText) - 1);
  abort();
}

// What it keeps is freed by the next call.
void Ask() {
  static thread_local int depth = 0;
  static thread_local char* kept = nullptr;
  if (depth > 0) return;
  ++depth;
  ++asked;
  free(kept);
  kept = static_cast<char*>(malloc(100));
  if (kept == nullptr) Fail();
  memset(kept, 'k', 100);
  char* zeroed = static_cast<char*>(calloc(10, 10));
  char* grown = static_cast<char*>(malloc(10));
  void* aligned = nullptr;
  if (zeroed == nullptr || grown == nullptr || posix_memalign(&aligned, 64, 100) != 0) Fail();
  for (int i = 0; i < 100; ++i) {
    if (zeroed[i] != 0) Fail();
  }
  memcpy(grown, "123456789", 10);
  grown = static_cast<char*>(realloc(grown, 1000));
  if (grown == nullptr || strcmp(grown, "123456789") != 0) Fail();
  if (reinterpret_cast<unsigned long>(aligned) % 64 != 0) Fail();
  free(zeroed);
  free(grown);
  free(aligned);
  free(malloc(0));
  if (asked == 1) free(malloc(10'000));
  --depth;
}

void OnSignal(int) { free(malloc(64)); }

template <typename Function>
Function* Next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

[[gnu::constructor]] void Handle() {
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  Next<decltype(sigaction)>("sigaction")(SIGUSR2, &action, nullptr);
}

}  // namespace

extern "C" {

[[gnu::visibility("default")]] int HowOftenAsked() { return asked; }

[[gnu::visibility("default")]] unsigned long getauxval(unsigned long type) noexcept {
  static auto* const next = Next<unsigned long(unsigned long)>("getauxval");
  Ask();
  struct sigaction action;
  if (Next<decltype(sigaction)>("sigaction")(SIGUSR2, nullptr, &action) == 0 &&
      action.sa_handler == OnSignal) {
    raise(SIGUSR2);
  }
  return next(type);
}

[[gnu::visibility("default")]] int pthread_key_create(pthread_key_t* key,
                                                      void (*destructor)(void*)) noexcept {
  Ask();
  return Next<int(pthread_key_t*, void (*)(void*))>("pthread_key_create")(key, destructor);
}

[[gnu::visibility("default")]] int pthread_setspecific(pthread_key_t key,
                                                       const void* value) noexcept {
  Ask();
  return Next<int(pthread_key_t, const void*)>("pthread_setspecific")(key, value);
}

[[gnu::visibility("default")]] int sigaction(int signal, const struct sigaction* action,
                                             struct sigaction* before) noexcept {
  Ask();
  return Next<int(int, const struct sigaction*, struct sigaction*)>("sigaction")(signal, action,
                                                                                 before);
}

[[gnu::visibility("default")]] int __register_atfork(void (*prepare)(), void (*parent)(),
                                                     void (*child)(), void* object) {
  Ask();
  return Next<int(void (*)(), void (*)(), void (*)(), void*)>("__register_atfork")(prepare, parent,
                                                                                   child, object);
}

}  // extern "C"
