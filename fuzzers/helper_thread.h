// HelperThread: a second thread that does what it is told, one task at a time.
//
// Run() returns when the task is done, so a sequence of calls is the same sequence of steps in
// every run. The thread starts with its first task and ends in End() or the destructor.
//
// Threads: one owner.

#ifndef FUZZERS_HELPER_THREAD_H_
#define FUZZERS_HELPER_THREAD_H_

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace hardened::fuzzers {

class HelperThread {
 public:
  HelperThread() = default;
  ~HelperThread() { End(); }
  HelperThread(const HelperThread&) = delete;
  HelperThread& operator=(const HelperThread&) = delete;

  // Runs `task` on the thread and waits for its end.
  void Run(const std::function<void()>& task);
  // Ends the thread; its thread-exit callbacks have run when this returns.
  void End();

 private:
  void Loop();

  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  const std::function<void()>* task_ = nullptr;  // null: none, or done
  bool ending_ = false;
};

}  // namespace hardened::fuzzers

#endif  // FUZZERS_HELPER_THREAD_H_
