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

// Writes "hardened: internal error: FILE:LINE: CONDITION" (error_stream.h) and aborts. A handler
// for SIGABRT runs once; when it fails a check itself, the process ends at once.
[[noreturn, gnu::cold, gnu::noinline]] void CheckFailed(const char* file, int line,
                                                        const char* condition);

// As abort(3): unblocks SIGABRT and raises it, so that the program's handler runs; when that
// returns, or the signal is ignored, the process dies of it. Not libc's, whose name another library
// may take and whose lock a thread may hold that stays in its handler.
[[noreturn, gnu::cold, gnu::noinline]] void Abort();

// Ends the process by SIGABRT without running the program's handler for it. For the second abort:
// one that unblocks the signal would let a handler which aborts again recurse for ever.
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
