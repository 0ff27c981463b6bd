// ReuseAllowance: how much free memory may stay beyond the usual limit because the program would
// soon take it again.
//
// Memory that is given back to the OS and taken again costs a page fault for each page. Each time
// that happens the allowance grows by as much, up to the most its owner allows; each period in
// which less than that was taken out of the free memory lets it sink by a quarter. Who stops using
// memory has everything given back by the end of the second period.
//
// Units are the owner's (slices, bytes). Threads: the owner's lock guards it.

#ifndef HARDENED_CORE_REUSE_ALLOWANCE_H_
#define HARDENED_CORE_REUSE_ALLOWANCE_H_

#include <algorithm>
#include <cstddef>

namespace hardened::core {

class ReuseAllowance {
 public:
  void NoteGivenBack(size_t amount) { given_back_ += amount; }
  // `amount` that has no memory was taken: as far as it had been given back in this period, too
  // early.
  void NoteFaulted(size_t amount, size_t most) {
    amount = std::min(amount, given_back_);
    given_back_ -= amount;
    amount_ = std::min(amount_ + amount, most);
  }
  // `amount` was taken with its memory.
  void NoteReused(size_t amount) { reused_ += amount; }
  // Whether NoteFaulted() has anything to do.
  bool watching() const { return given_back_ > 0; }

  // What may stay at once, beyond the usual limit.
  size_t Now(size_t most) const { return std::min(amount_, most); }
  // At the end of a period. Returns: how much of the free memory may stay for another one.
  size_t EndPeriod() {
    const size_t stays = std::min(amount_, reused_);
    amount_ = std::max(stays, amount_ - amount_ / 4);
    given_back_ = reused_ = 0;
    return stays;
  }

 private:
  size_t amount_ = 0;
  size_t given_back_ = 0;  // in this period, not taken again
  size_t reused_ = 0;      // in this period
};

}  // namespace hardened::core

#endif  // HARDENED_CORE_REUSE_ALLOWANCE_H_
