// check: assertions about our own state, never about the program's.
//
// HARDENED_CHECK is always on. It guards metadata: when it fails, we are wrong or somebody wrote
// over our metadata. A broken program is reported with ReportCorruption() (corruption_report.h).
//
// Threads: safe from any thread and from a signal handler; allocates nothing.

#ifndef HARDENED_PRIM_CHECK_H_
#define HARDENED_PRIM_CHECK_H_

namespace hardened::prim {

// Says that the calling thread is about to end the process; and asks whether it is. What it still
// does, a SIGABRT handler of the program included, must not wait for a lock that it may hold.
void MarkThreadDying();
bool ThreadIsDying();

// Writes "hardened: internal error: FILE:LINE: CONDITION" to fd 2 and aborts. A handler for SIGABRT
// runs once; when it fails a check itself, the process ends at once.
[[noreturn, gnu::cold, gnu::noinline]] void CheckFailed(const char* file, int line,
                                                        const char* condition);

// Ends the process by SIGABRT without running the program's handler for it. For the second abort:
// abort() alone unblocks the signal, so that a handler which aborts again would recurse for ever.
[[noreturn, gnu::cold, gnu::noinline]] void AbortWithoutHandler();

}  // namespace hardened::prim

#define HARDENED_CHECK(cond)                       \
  (__builtin_expect(static_cast<bool>(cond), true) \
       ? static_cast<void>(0)                      \
       : ::hardened::prim::CheckFailed(__FILE__, __LINE__, #cond))

// Debug builds only. With NDEBUG the condition is compiled but never evaluated.
#ifdef NDEBUG
#define HARDENED_DCHECK(cond) (true ? static_cast<void>(0) : static_cast<void>(cond))
#else
#define HARDENED_DCHECK(cond) HARDENED_CHECK(cond)
#endif

#endif  // HARDENED_PRIM_CHECK_H_
