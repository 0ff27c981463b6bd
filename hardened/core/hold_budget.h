// HoldBudget: how much of what is freed may be held. Holding costs time for each page, so that a
// program that frees and allocates runs all the time would do little else.
//
// What is spent sinks with time. While little is spent, everything is admitted; then a random
// share, which falls until no more is spent than sinks, but not below one in 256 (of what costs
// more than 256: one in as many as it costs).
//
// Threads: any. An update that another thread overtakes is lost, which matters to nobody.

#ifndef HARDENED_CORE_HOLD_BUDGET_H_
#define HARDENED_CORE_HOLD_BUDGET_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace hardened::core {

class HoldBudget {
 public:
  // Sinks by `per_ms` each millisecond; all is admitted up to half of `most`, which is below 2^32.
  constexpr HoldBudget(uint32_t per_ms, uint32_t most) : per_ms_(per_ms), most_(most) {}

  // Whether to hold what costs `cost` and was freed at `now_ms`; then it is spent. `random` is a
  // random number of 16 bits.
  bool Admit(size_t cost, uint64_t now_ms, uint16_t random) {
    const uint64_t before = word_.load(std::memory_order_relaxed);
    const uint64_t sunk = static_cast<uint32_t>(now_ms - (before >> 32)) * uint64_t{per_ms_};
    const uint64_t spent = static_cast<uint32_t>(before) - std::min(before & UINT32_MAX, sunk);
    const uint64_t half = most_ / 2;
    if (spent > half) {
      const uint64_t chance = ((most_ - spent) << 16) / half;
      if (random >= std::max<uint64_t>(chance, 65536 / std::max<size_t>(cost, kLeastShare))) {
        return false;
      }
    }
    word_.store(now_ms << 32 | std::min<uint64_t>(spent + cost, most_), std::memory_order_relaxed);
    return true;
  }
  // The same without chance.
  bool Spend(size_t cost, uint64_t now_ms) { return Admit(cost, now_ms, UINT16_MAX); }

 private:
  static constexpr size_t kLeastShare = 256;

  const uint32_t per_ms_;
  const uint32_t most_;
  std::atomic<uint64_t> word_{0};  // low half: what is spent; high half: the time of that, in ms
};

}  // namespace hardened::core

#endif  // HARDENED_CORE_HOLD_BUDGET_H_
