// FakePageSource: pages from mmap with a memory of their states and failures on demand.
//
// Knows for every page whether it is unmapped, reserved, readable, committed or guarded, and fails
// the test on a transition that the contract of PageSource does not have: pages committed twice,
// dropped while not committed, memory of nobody. Fails the k-th call when asked to, and counts
// calls.
//
// Threads: one.

#ifndef TESTS_SUPPORT_FAKE_PAGE_SOURCE_H_
#define TESTS_SUPPORT_FAKE_PAGE_SOURCE_H_

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <vector>

#include "gtest/gtest.h"
#include "hardened/prim/page_source.h"
#include "hardened/prim/system_info.h"

namespace hardened {

class FakePageSource final : public prim::PageSource {
 public:
  FakePageSource() = default;
  ~FakePageSource() {
    for (const auto& [start, pages] : regions_) {
      munmap(reinterpret_cast<void*>(start), pages.size() * page_);
    }
  }
  FakePageSource(const FakePageSource&) = delete;
  FakePageSource& operator=(const FakePageSource&) = delete;

  // Fails the call that follows `calls` others; calls that cannot fail are not counted.
  void FailAfter(uint64_t calls) { fail_at_ = calls_ + calls + 1; }
  void FailAlways(bool always) { fail_always_ = always; }
  // What fails of Commit() fails because somebody else is there.
  void SayTaken(bool taken) { taken_ = taken; }
  // No place can be chosen.
  void HideAddressSpace(bool hidden) { hidden_ = hidden; }
  void Ration(bool rationed) { rationed_ = rationed; }
  uint64_t calls() const { return calls_; }
  uint64_t drops() const { return drops_; }
  uint64_t commits() const { return commits_; }
  // Bytes of pages that the kernel would know.
  size_t mapped_bytes() const {
    size_t sum = 0;
    for (const auto& [start, pages] : regions_) {
      for (const State page : pages) sum += page == State::kUnmapped ? 0 : page_;
    }
    return sum;
  }

  // A place is reserved here as well: nobody else shall map anything there.
  void* Place(size_t bytes, size_t alignment, uintptr_t /*hint*/) override {
    return Fails() || hidden_ ? nullptr : Take(bytes, alignment, State::kUnmapped);
  }
  void* Reserve(size_t bytes, size_t alignment) override {
    return Fails() ? nullptr : Take(bytes, alignment, State::kReserved);
  }
  bool MakeReadable(void* start, size_t bytes, prim::PageState before) override {
    if (Fails()) return false;
    Move("MakeReadable", start, bytes, {StateOf(before)}, State::kReadable);
    return mprotect(start, bytes, PROT_READ) == 0;
  }
  prim::Commitment Commit(void* start, size_t bytes, prim::PageState before) override {
    if (Fails()) return taken_ ? prim::Commitment::kTaken : prim::Commitment::kRefused;
    ++commits_;
    Move("Commit", start, bytes, {StateOf(before)}, State::kCommitted);
    return mprotect(start, bytes, PROT_READ | PROT_WRITE) == 0 ? prim::Commitment::kDone
                                                               : prim::Commitment::kRefused;
  }
  bool Uncommit(void* start, size_t bytes, prim::PageState after) override {
    if (Fails()) return false;
    Move("Uncommit", start, bytes, {State::kCommitted, State::kGuarded}, StateOf(after));
    return mmap(start, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
                -1, 0) == start;
  }
  bool Drop(void* start, size_t bytes) override {
    if (Fails()) return false;
    ++drops_;
    Move("Drop", start, bytes, {State::kCommitted, State::kGuarded}, State::kUnchanged);
    return madvise(start, bytes, MADV_DONTNEED) == 0;
  }
  bool InstallGuard(void* start, size_t bytes, prim::GuardChange /*change*/) override {
    if (Fails()) return false;
    Move("InstallGuard", start, bytes, {State::kCommitted}, State::kGuarded);
    madvise(start, bytes, MADV_DONTNEED);
    return mprotect(start, bytes, PROT_NONE) == 0;
  }
  bool RemoveGuard(void* start, size_t bytes, prim::GuardChange /*change*/) override {
    if (Fails()) return false;
    Move("RemoveGuard", start, bytes, {State::kCommitted, State::kGuarded}, State::kCommitted);
    return mprotect(start, bytes, PROT_READ | PROT_WRITE) == 0;
  }
  bool rationed() const override { return rationed_; }
  void Release(void* start, size_t bytes) override {
    Move("Release", start, bytes,
         {State::kUnmapped, State::kReserved, State::kReadable, State::kCommitted, State::kGuarded},
         State::kUnmapped);
    mmap(start, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  }

 private:
  enum class State : uint8_t {
    kUnmapped,
    kReserved,
    kReadable,
    kCommitted,
    kGuarded,
    kUnchanged,
  };

  static State StateOf(prim::PageState state) {
    switch (state) {
      case prim::PageState::kUnmapped:
        return State::kUnmapped;
      case prim::PageState::kReserved:
        return State::kReserved;
      case prim::PageState::kReadable:
        return State::kReadable;
    }
    return State::kUnchanged;
  }

  void* Take(size_t bytes, size_t alignment, State state) {
    const size_t room = bytes + alignment;
    void* got = mmap(nullptr, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (got == MAP_FAILED) return nullptr;
    const uintptr_t start = reinterpret_cast<uintptr_t>(got);
    const uintptr_t aligned = prim::RoundUp(start, alignment);
    if (aligned > start) munmap(got, aligned - start);
    munmap(reinterpret_cast<void*>(aligned + bytes), room - bytes - (aligned - start));
    regions_[aligned].assign(bytes / page_, state);
    return reinterpret_cast<void*>(aligned);
  }

  bool Fails() {
    ++calls_;
    return fail_always_ || calls_ == fail_at_;
  }

  // Takes every page from one of `from` to `to`.
  void Move(const char* call, void* start, size_t bytes, std::initializer_list<State> from,
            State to) {
    const uintptr_t address = reinterpret_cast<uintptr_t>(start);
    auto region = regions_.upper_bound(address);
    if (region != regions_.begin()) --region;
    const bool known = region != regions_.end() && address >= region->first &&
                       address + bytes <= region->first + region->second.size() * page_;
    if (!known || address % page_ != 0 || bytes % page_ != 0 || bytes == 0) {
      ADD_FAILURE() << call << " of " << start << " + " << bytes << ", which is not reserved pages";
      return;
    }
    const size_t first = (address - region->first) / page_;
    for (size_t i = first; i < first + bytes / page_; ++i) {
      State& page = region->second[i];
      bool allowed = false;
      for (const State state : from) allowed |= page == state;
      if (!allowed) {
        ADD_FAILURE() << call << " of a page in state " << static_cast<int>(page);
        return;
      }
      if (to != State::kUnchanged) page = to;
    }
  }

  const size_t page_ = prim::PageSize();
  std::map<uintptr_t, std::vector<State>> regions_;  // by start
  uint64_t calls_ = 0;
  uint64_t drops_ = 0;
  uint64_t commits_ = 0;
  uint64_t fail_at_ = 0;
  bool fail_always_ = false;
  bool taken_ = false;
  bool hidden_ = false;
  bool rationed_ = false;
};

}  // namespace hardened

#endif  // TESTS_SUPPORT_FAKE_PAGE_SOURCE_H_
