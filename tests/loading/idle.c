/* idle: what a library that leaves the process alone must not do. stdout: as on libc; stderr: the
   level. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int handlers;
/* Before libc's in the order of the look-up. */
int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void),
                      void* object) {
  (void)prepare, (void)parent, (void)child, (void)object;
  ++handlers;
  return 0;
}

static long StatusKilobytes(const char* name) {
  char line[256];
  long value = -1;
  FILE* status = fopen("/proc/self/status", "r");
  while (status != NULL && fgets(line, sizeof(line), status) != NULL) {
    if (strncmp(line, name, strlen(name)) == 0) value = atol(line + strlen(name) + 1);
  }
  if (status != NULL) fclose(status);
  return value;
}

int main(void) {
  alarm(60);
  void* block = malloc(100000);
  memset(block, 1, 100000);
  block = realloc(block, 110000);
  void* aligned = memalign(64, 1000);
  const struct mallinfo2 info = mallinfo2();
  printf("usable %zu %zu in use %zu\n", malloc_usable_size(block), malloc_usable_size(aligned),
         info.uordblks + info.hblkhd > 100000 ? (size_t)1 : (size_t)0);
  printf("mallopt %d unknown %d\n", mallopt(M_MXFAST, 64), mallopt(12345, 1));
  free(block);
  free(aligned);
  struct sigaction action;
  sigaction(SIGSEGV, NULL, &action);
  printf("handler %s\n", action.sa_handler == SIG_DFL ? "none" : "some");
  printf("fork handlers %d\n", handlers);
  printf("address space %s\n", StatusKilobytes("VmSize:") < (30 << 10) ? "small" : "large");
  const pid_t child = fork();
  if (child == 0) _exit(malloc(10) == NULL);
  int status = -1;
  waitpid(child, &status, 0);
  printf("child %d\n", status);
  fflush(stdout);
  const char* (*level)(void);
  *(void**)&level = dlsym(RTLD_DEFAULT, "hardened_level");
  fprintf(stderr, "%s\n", level == NULL ? "none" : level());
  return 0;
}
