// A library that takes names of libc, as libfaketime, fakeroot, torsocks or uid_wrapper do, and
// whose versions allocate. While the program has said that it does nothing but use the heap, every
// call is counted: then only the heap can have made it.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int heap_only;  // set by the program
static int calls;
static __thread int depth;

int InterposedCalls(void) { return calls; }

static void Note(const char* name) {
  if (!heap_only) return;
  if (calls++ == 0) {
    (void)!write(2, "interposed: ", 12);
    for (const char* c = name; *c != '\0'; ++c) (void)!write(2, c, 1);
    (void)!write(2, "\n", 1);
  }
  // What a first malloc that comes here would end in.
  if (++depth > 100) abort();
  free(malloc(100));
  --depth;
}

#define REAL(name, ...)                                                \
  static __typeof__(name)* real;                                       \
  if (real == NULL) real = (__typeof__(name)*)dlsym(RTLD_NEXT, #name); \
  return real(__VA_ARGS__)
#define TAKE(result, name, parameters, ...) \
  result name parameters {                  \
    Note(#name);                            \
    REAL(name, __VA_ARGS__);                \
  }

TAKE(int, clock_gettime, (clockid_t a, struct timespec* b), a, b)
TAKE(time_t, time, (time_t * a), a)
TAKE(int, nanosleep, (const struct timespec* a, struct timespec* b), a, b)
TAKE(int, close, (int a), a)
TAKE(ssize_t, read, (int a, void* b, size_t c), a, b, c)
TAKE(int, fstat, (int a, struct stat* b), a, b)
TAKE(int, stat, (const char* a, struct stat* b), a, b)
TAKE(ssize_t, readlink, (const char* a, char* b, size_t c), a, b, c)
TAKE(int, access, (const char* a, int b), a, b)
TAKE(void*, mmap, (void* a, size_t b, int c, int d, int e, off_t f), a, b, c, d, e, f)
TAKE(int, munmap, (void* a, size_t b), a, b)
TAKE(int, mprotect, (void* a, size_t b, int c), a, b, c)
TAKE(int, madvise, (void* a, size_t b, int c), a, b, c)
TAKE(int, getrlimit, (__rlimit_resource_t a, struct rlimit* b), a, b)
TAKE(uid_t, getuid, (void), )
TAKE(uid_t, geteuid, (void), )
TAKE(gid_t, getgid, (void), )
TAKE(gid_t, getegid, (void), )
TAKE(pid_t, getpid, (void), )
TAKE(pid_t, gettid, (void), )
TAKE(int, sched_yield, (void), )
TAKE(ssize_t, getrandom, (void* a, size_t b, unsigned c), a, b, c)

int open(const char* path, int flags, ...) {
  Note("open");
  va_list list;
  va_start(list, flags);
  const int mode = va_arg(list, int);
  va_end(list);
  REAL(open, path, flags, mode);
}
int openat(int directory, const char* path, int flags, ...) {
  Note("openat");
  va_list list;
  va_start(list, flags);
  const int mode = va_arg(list, int);
  va_end(list);
  REAL(openat, directory, path, flags, mode);
}
long syscall(long number, ...) {
  Note("syscall");
  va_list list;
  va_start(list, number);
  long a[6];
  for (int i = 0; i < 6; ++i) a[i] = va_arg(list, long);
  va_end(list);
  REAL(syscall, number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
int prctl(int option, ...) {
  Note("prctl");
  va_list list;
  va_start(list, option);
  long a[4];
  for (int i = 0; i < 4; ++i) a[i] = va_arg(list, long);
  va_end(list);
  static int (*real)(int, ...);
  if (real == NULL) real = (int (*)(int, ...))dlsym(RTLD_NEXT, "prctl");
  return real(option, a[0], a[1], a[2], a[3]);
}
void* mremap(void* start, size_t old_size, size_t new_size, int flags, ...) {
  Note("mremap");
  va_list list;
  va_start(list, flags);
  void* target = va_arg(list, void*);
  va_end(list);
  REAL(mremap, start, old_size, new_size, flags, target);
}
