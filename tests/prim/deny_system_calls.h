// deny_system_calls: a seccomp filter that makes system calls fail, for children of tests.

#ifndef TESTS_PRIM_DENY_SYSTEM_CALLS_H_
#define TESTS_PRIM_DENY_SYSTEM_CALLS_H_

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <cstddef>
#include <initializer_list>

namespace hardened::prim {

// In force in this thread and its later threads and children, for ever. Returns: whether the kernel
// took the filter.
inline bool InstallFilter(sock_filter* filter, unsigned short size) {
  sock_fprog program = {.len = size, .filter = filter};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

// Answers the calls in `numbers` with a SECCOMP_RET_ action. As InstallFilter().
inline bool FilterSystemCalls(std::initializer_list<long> numbers, unsigned action) {
  constexpr size_t kMaxCalls = 8;
  sock_filter filter[2 * kMaxCalls + 2];
  unsigned short size = 0;
  filter[size++] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr));
  for (const long number : numbers) {
    filter[size++] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(number), 0, 1);
    filter[size++] = BPF_STMT(BPF_RET | BPF_K, action);
  }
  filter[size++] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  return InstallFilter(filter, size);
}

// The calls fail with `error`.
inline bool DenySystemCalls(std::initializer_list<long> numbers, unsigned error) {
  return FilterSystemCalls(numbers, SECCOMP_RET_ERRNO | error);
}

// The call fails with `error` where the lower half of its third argument is `value`.
inline bool DenyThirdArgument(long number, unsigned value, unsigned error) {
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(number), 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[2])),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  return InstallFilter(filter, sizeof(filter) / sizeof(filter[0]));
}

// madvise() with `advice` fails with `error`, as on a kernel that does not know it.
inline bool DenyAdvice(int advice, unsigned error) {
  return DenyThirdArgument(SYS_madvise, static_cast<unsigned>(advice), error);
}

// The calls kill the process with SIGSYS: proof that they are not made.
inline bool ForbidSystemCalls(std::initializer_list<long> numbers) {
  return FilterSystemCalls(numbers, SECCOMP_RET_KILL_PROCESS);
}

}  // namespace hardened::prim

#endif  // TESTS_PRIM_DENY_SYSTEM_CALLS_H_
