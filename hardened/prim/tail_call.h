// Calls that leave no trace: the function that is called returns to the caller's caller, and sees
// only that one. For wrappers of what asks who called it, as dlopen() does.
//
//   HARDENED_TAIL_CALLER void* Wrapper(int a) { HARDENED_TAIL_CALL Wrapped(a); }
//
// In a function without variables whose address is taken, with the same signature as what it calls.

#ifndef HARDENED_PRIM_TAIL_CALL_H_
#define HARDENED_PRIM_TAIL_CALL_H_

#if defined(__clang__)
#define HARDENED_TAIL_CALLER
#define HARDENED_TAIL_CALL [[clang::musttail]] return
#else
// Without optimisation the compiler makes no such calls.
#define HARDENED_TAIL_CALLER [[gnu::optimize("O2")]]
#define HARDENED_TAIL_CALL return
#endif

#endif  // HARDENED_PRIM_TAIL_CALL_H_
