// hidden_files: a program that can open no file any more when it allocates for the first time, as
// in a sandbox that a browser's process enters early.

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

// By the instruction: what goes through prctl() or syscall() the library hears of.
static long SetFilter(const struct sock_fprog* program) {
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(SYS_seccomp), "D"(SECCOMP_SET_MODE_FILTER), "S"(0), "d"(program)
                   : "rcx", "r11", "memory");
  return result;
}

int main(void) {
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_faccessat, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES),
  };
  struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return 3;
  if (SetFilter(&program) != 0) return 3;
  for (size_t size = 1; size < 1 << 20; size *= 3) {
    char* const block = malloc(size);
    if (block == NULL) return 1;
    memset(block, 1, size);
    free(block);
  }
  return write(STDOUT_FILENO, "fine\n", 5) != 5;
}
