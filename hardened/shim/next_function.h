// NextFunction: the function that the process would call by a name if this library were not in it.
// Of libc, of a sanitizer's runtime, or of another library that was preloaded behind this one.
//
// Threads: any. A look-up that finds something allocates nothing; it may free the text of dlerror().

#ifndef HARDENED_SHIM_NEXT_FUNCTION_H_
#define HARDENED_SHIM_NEXT_FUNCTION_H_

#include <dlfcn.h>

#include <atomic>

namespace hardened::shim {

// Requires: of static storage duration, declared constinit. Only for processes that run on libc's
// malloc: nothing protects the pointer that it keeps.
template <typename Function>
class NextFunction {
 public:
  // `like` is the function of that name, for its type alone.
  constexpr NextFunction(Function* /*like*/, const char* name) : name_(name) {}
  NextFunction(const NextFunction&) = delete;
  NextFunction& operator=(const NextFunction&) = delete;

  // Null when nobody has it.
  Function* get() {
    Function* function = found_.load(std::memory_order_relaxed);
    if (function == nullptr) {
      function = reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name_));
      found_.store(function, std::memory_order_relaxed);
    }
    return function;
  }

  template <typename... Arguments>
  auto operator()(Arguments... arguments) {
    return get()(arguments...);
  }

 private:
  const char* name_;
  std::atomic<Function*> found_{nullptr};
};

}  // namespace hardened::shim

#endif  // HARDENED_SHIM_NEXT_FUNCTION_H_
