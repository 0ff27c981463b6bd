#include "hardened/core/span_index.h"

#include "hardened/prim/check.h"

namespace hardened::core {

void SpanIndex::Reset(Span* spans, SpanPurpose purpose) {
  spans_ = spans;
  purpose_ = purpose;
  first_map_ = 0;
  second_map_.fill(0);
  for (auto& row : heads_) row.fill(kNoSpan);
}

void SpanIndex::Mark(uint32_t first, uint32_t length, SpanState state) {
  for (const uint32_t end : {first, first + length - 1}) {
    spans_[end].length = length;
    spans_[end].state = state;
    spans_[end].purpose = purpose_;
  }
}

void SpanIndex::Insert(uint32_t first, uint32_t length) {
  HARDENED_CHECK(length > 0);
  Mark(first, length, SpanState::kFree);
  const Position at = PositionOf(length);
  uint32_t& head = heads_[at.first][at.second];
  spans_[first].previous = kNoSpan;
  spans_[first].next = head;
  if (head != kNoSpan) spans_[head].previous = first;
  head = first;
  first_map_ |= 1u << at.first;
  second_map_[at.first] = static_cast<uint16_t>(second_map_[at.first] | 1u << at.second);
}

void SpanIndex::Remove(uint32_t first) {
  const Span& span = spans_[first];
  HARDENED_CHECK(span.state == SpanState::kFree);
  const Position at = PositionOf(span.length);
  if (span.previous != kNoSpan) {
    HARDENED_CHECK(spans_[span.previous].next == first);
    spans_[span.previous].next = span.next;
  } else {
    HARDENED_CHECK(heads_[at.first][at.second] == first);
    heads_[at.first][at.second] = span.next;
  }
  if (span.next != kNoSpan) {
    HARDENED_CHECK(spans_[span.next].previous == first);
    spans_[span.next].previous = span.previous;
  }
  if (heads_[at.first][at.second] == kNoSpan) {
    second_map_[at.first] = static_cast<uint16_t>(second_map_[at.first] & ~(1u << at.second));
    if (second_map_[at.first] == 0) first_map_ &= ~(1u << at.first);
  }
}

uint32_t SpanIndex::Take(uint32_t length) {
  // The first list whose every span is long enough.
  uint32_t rounded = length;
  if (length >= kSecondLevel) {
    const unsigned log = static_cast<unsigned>(std::bit_width(length)) - 1;
    const uint32_t step = (1u << (log - kSecondLevelBits)) - 1;
    if (length > UINT32_MAX - step) return kNoSpan;
    rounded = length + step;
  }
  Position at = PositionOf(rounded);
  uint32_t second = second_map_[at.first] & ~((1u << at.second) - 1);
  if (second == 0) {
    const uint32_t firsts = first_map_ & ~((2u << at.first) - 1);
    if (firsts == 0) return kNoSpan;
    at.first = static_cast<unsigned>(std::countr_zero(firsts));
    second = second_map_[at.first];
  }
  at.second = static_cast<unsigned>(std::countr_zero(second));
  const uint32_t found = heads_[at.first][at.second];
  HARDENED_CHECK(found != kNoSpan && spans_[found].length >= length);
  Remove(found);
  return found;
}

}  // namespace hardened::core
