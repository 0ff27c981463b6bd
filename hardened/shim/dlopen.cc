// dlopen and dlmopen without RTLD_DEEPBIND, in preloaded libraries.
//
// A library that is loaded with this flag calls the malloc of the first library it needs that has
// one, which is libc's, while the rest of the process calls ours: the first block that one gives
// the other ends the process. Whoever replaces malloc from outside has to do without the flag.
//
// The loader looks for a file as its caller wants it (RUNPATH, $ORIGIN, namespace), and knows the
// caller by the address to which dlopen() returns: therefore tail calls, whatever the flags.
//
// Threads: any. Nothing here allocates.

#include <dlfcn.h>

#include <atomic>

#include "hardened/prim/error_stream.h"
#include "hardened/prim/raw_writer.h"
#include "hardened/prim/tail_call.h"
#include "hardened/shim/active_heap.h"
#include "hardened/shim/process_policy.h"

namespace hardened::shim {
namespace {

// Looked up each time: beside what it does itself this is nothing, and an address that is kept is
// one that can be overwritten.
template <typename Function>
[[gnu::noinline]] Function* Next(const char* name) {
  void* volatile function = dlsym(RTLD_NEXT, name);  // here, not by a tail call
  return reinterpret_cast<Function*>(function);
}

[[gnu::cold]] void SayThatItIsKept() {
  static constinit std::atomic<bool> said{false};
  if (said.exchange(true, std::memory_order_relaxed)) return;
  prim::RawWriter out;
  out.Text(
      "hardened: dlopen with RTLD_DEEPBIND: what it loads runs on libc's malloc (deepbind=on)\n");
  prim::WriteMessage(out.view());
}

// The flags that a call is to go on with.
[[gnu::noinline]] int FlagsFor(int flags) {
  if ((flags & RTLD_DEEPBIND) == 0 || LeavesProcessAlone()) return flags;
  const policies::Settings& settings = ThisProcessPolicy().resolved.settings;
  if (settings.has(policies::Setting::kDeepbind) &&
      settings.Get(policies::Setting::kDeepbind) != 0) {
    SayThatItIsKept();
    return flags;
  }
  return flags & ~RTLD_DEEPBIND;
}

}  // namespace

extern "C" {

// Under names of their own: libc declares them noexcept, and a tail call leaves no frame that could
// see to that.
HARDENED_EXPORT void* OpenHere(const char* file, int flags) __asm__("dlopen");
HARDENED_EXPORT void* OpenInSpace(Lmid_t space, const char* file, int flags) __asm__("dlmopen");

HARDENED_TAIL_CALLER void* OpenHere(const char* file, int flags) {
  HARDENED_TAIL_CALL Next<void*(const char*, int)>("dlopen")(file, FlagsFor(flags));
}

// A namespace of its own has a libc of its own, too, whose malloc nobody replaced.
HARDENED_TAIL_CALLER void* OpenInSpace(Lmid_t space, const char* file, int flags) {
  HARDENED_TAIL_CALL Next<void*(Lmid_t, const char*, int)>("dlmopen")(
      space, file, space == LM_ID_BASE ? FlagsFor(flags) : flags);
}

}  // extern "C"

}  // namespace hardened::shim
