// Sleepers: threads that allocate when they are told to, and sleep in between with their heaps.

#ifndef TESTS_RECLAIM_SLEEPERS_H_
#define TESTS_RECLAIM_SLEEPERS_H_

#include <functional>
#include <memory>
#include <semaphore>
#include <thread>
#include <vector>

class Sleepers {
 public:
  explicit Sleepers(size_t count) {
    for (size_t i = 0; i < count; ++i) {
      sleepers_.push_back(std::make_unique<Sleeper>());
      Sleeper& sleeper = *sleepers_.back();
      sleeper.thread = std::thread([&sleeper] {
        for (;;) {
          sleeper.wake.acquire();
          if (sleeper.ends) return;
          sleeper.work();
          sleeper.done.release();
        }
      });
    }
  }
  ~Sleepers() {
    for (auto& sleeper : sleepers_) {
      sleeper->ends = true;
      sleeper->wake.release();
      sleeper->thread.join();
    }
  }
  Sleepers(const Sleepers&) = delete;
  Sleepers& operator=(const Sleepers&) = delete;

  size_t count() const { return sleepers_.size(); }

  // Lets a thread do `work`, and waits until it sleeps again.
  void Run(size_t index, const std::function<void()>& work) {
    Sleeper& sleeper = *sleepers_[index];
    sleeper.work = work;
    sleeper.wake.release();
    sleeper.done.acquire();
  }

 private:
  struct Sleeper {
    std::thread thread;
    std::function<void()> work;
    bool ends = false;
    std::binary_semaphore wake{0};
    std::binary_semaphore done{0};
  };
  std::vector<std::unique_ptr<Sleeper>> sleepers_;
};

#endif  // TESTS_RECLAIM_SLEEPERS_H_
