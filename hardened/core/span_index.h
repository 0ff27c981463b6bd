// SpanIndex: free spans of slices by length, found in constant time.
//
// Two-level segregated fit: M. Masmano, I. Ripoll, A. Crespo, J. Real, "TLSF: a New Dynamic Memory
// Allocator for Real-Time Systems", ECRTS 2004. The first level is the power of two, the second
// cuts it into 16. Take() rounds the wanted length up to the next list, so every span of that list
// fits (good fit). Links and lengths are out of line, in an array with one Span per slice.
//
// The array also holds the partition of an arena: the first and the last slice of every span, free
// or not, carry its length and state, so neighbours are found in both directions.
//
// Threads: external; callers hold the arena lock.

#ifndef HARDENED_CORE_SPAN_INDEX_H_
#define HARDENED_CORE_SPAN_INDEX_H_

#include <array>
#include <bit>
#include <cstdint>

namespace hardened::core {

enum class SpanState : uint8_t { kNone = 0, kFree, kUsed };

// What the slices of a span may serve as long as the arena exists. Levels that do not keep the two
// apart give everything the first purpose.
enum class SpanPurpose : uint8_t { kSlabs = 0, kRuns = 1 };
inline constexpr int kSpanPurposes = 2;

struct Span {
  uint32_t length;  // slices; in the first and the last slice of the span
  uint32_t next;    // first slice of the next free span of the list, kNoSpan: none
  uint32_t previous;
  SpanState state;
  SpanPurpose purpose;
  uint8_t reserved[2];
};
static_assert(sizeof(Span) == 16);

inline constexpr uint32_t kNoSpan = UINT32_MAX;
inline constexpr uint32_t kRefusedSpan = UINT32_MAX - 1;

class SpanIndex {
 public:
  static constexpr unsigned kSecondLevelBits = 4;
  static constexpr unsigned kSecondLevel = 1 << kSecondLevelBits;
  static constexpr unsigned kFirstLevel = 32 - kSecondLevelBits + 1;

  struct Position {
    unsigned first;
    unsigned second;
    friend bool operator==(const Position&, const Position&) = default;
  };

  // The list in which a span of `length` slices is kept. Lengths below 16 have a list each.
  static constexpr Position PositionOf(uint32_t length) {
    if (length < kSecondLevel) return {0, length};
    const unsigned log = static_cast<unsigned>(std::bit_width(length)) - 1;
    return {log - kSecondLevelBits + 1, (length >> (log - kSecondLevelBits)) & (kSecondLevel - 1)};
  }

  // Starts empty over `spans`, which must outlive the index. Its spans have `purpose`.
  void Reset(Span* spans, SpanPurpose purpose = SpanPurpose::kSlabs);

  // Adds the free span [first, first + length). Requires: it is in no list.
  void Insert(uint32_t first, uint32_t length);
  // Takes the free span at `first` out of its list.
  void Remove(uint32_t first);
  // Takes out some span of at least `length` slices.
  // Returns: its first slice, or kNoSpan.
  uint32_t Take(uint32_t length);

  // Writes length, state and the purpose of this index into both ends of a span.
  void Mark(uint32_t first, uint32_t length, SpanState state);

 private:
  Span* spans_ = nullptr;
  SpanPurpose purpose_ = SpanPurpose::kSlabs;
  uint32_t first_map_ = 0;
  std::array<uint16_t, kFirstLevel> second_map_{};
  std::array<std::array<uint32_t, kSecondLevel>, kFirstLevel> heads_{};
};

}  // namespace hardened::core

#endif  // HARDENED_CORE_SPAN_INDEX_H_
