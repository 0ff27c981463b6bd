#include "hardened/core/arena.h"

#include <algorithm>

#include "hardened/prim/check.h"
#include "hardened/prim/system_info.h"

namespace hardened::core {
namespace {

// Room for thread heaps and their plugs, besides the blocks that come with each slice; in a small
// arena an eighth of it.
constexpr size_t kBlockBytesFixed = 4 << 20;
// Spans of more slices are those of runs, whose memory is dear to make again.
constexpr uint32_t kLargeSlices = 16;
constexpr uint32_t kMaxGrowthSegments = 16;

// An eighth of what there is: where committed memory counts as used (mlockall makes it resident,
// RLIMIT_DATA and vm.overcommit_memory=2 account it), growing ahead must stay small beside the
// heap.
uint32_t GrowthSegments(uint32_t committed_slices) {
  const uint32_t eighth = committed_slices / kSlicesPerSegment / 8;
  return eighth < 1 ? 1 : eighth > kMaxGrowthSegments ? kMaxGrowthSegments : eighth;
}

}  // namespace

uintptr_t Arena::RandomHint(prim::RandomStream& random) {
  // Anywhere between 1 TiB and 64 TiB; where that is taken, the kernel's own random choice.
  return (uintptr_t{1} << 40) + (random.Next64() % (uintptr_t{63} << 40));
}

bool Arena::Create(prim::PageSource& pages, size_t heap_bytes, size_t block_bytes_per_slice,
                   prim::RandomStream& random, uintptr_t hint) {
  const prim::LockGuard guard(lock_);
  pages_ = &pages;
  const size_t page = prim::PageSize();
  const size_t slice_count = heap_bytes >> kSliceShift;
  if (slice_count >= kRefusedSpan) return false;

  void* heap = pages.Reserve(heap_bytes, kSegmentSize, hint);
  if (heap == nullptr) return false;

  const size_t slice_bytes = RoundUpTo(slice_count * sizeof(SliceDescriptor), page);
  const size_t span_bytes = RoundUpTo(slice_count * sizeof(Span), page);
  const size_t dirty_bytes = RoundUpTo(slice_count / 8 + 8, page);
  const size_t block_bytes = RoundUpTo(
      slice_count * block_bytes_per_slice + std::min(kBlockBytesFixed, heap_bytes / 8), page);
  const size_t info_bytes = RoundUpTo(BlockStore::InfoBytes(block_bytes), page);
  const size_t metadata_bytes =
      2 * page + slice_bytes + span_bytes + dirty_bytes + info_bytes + block_bytes;
  void* metadata = pages.Reserve(metadata_bytes, page, RandomHint(random));
  if (metadata == nullptr) {
    pages.Release(heap, heap_bytes);
    return false;
  }
  pages.ExcludeFromDumps(metadata, metadata_bytes);

  uintptr_t next = reinterpret_cast<uintptr_t>(metadata) + page;
  const auto carve = [&next](size_t bytes) {
    const CommittedRange range{next, next, next + bytes};
    next += bytes;
    return range;
  };
  slice_range_ = carve(slice_bytes);
  span_range_ = carve(span_bytes);
  dirty_range_ = carve(dirty_bytes);
  const CommittedRange info_range = carve(info_bytes);
  blocks_.Initialise(pages, info_range, carve(block_bytes));
  if (!pages.MakeReadable(reinterpret_cast<void*>(slice_range_.start), slice_bytes)) {
    pages.Release(heap, heap_bytes);
    pages.Release(metadata, metadata_bytes);
    return false;
  }

  base_ = reinterpret_cast<uintptr_t>(heap);
  heap_bytes_ = heap_bytes;
  slices_ = reinterpret_cast<SliceDescriptor*>(slice_range_.start);
  spans_ = reinterpret_cast<Span*>(span_range_.start);
  dirty_ = reinterpret_cast<uint64_t*>(dirty_range_.start);
  metadata_ = reinterpret_cast<uintptr_t>(metadata);
  metadata_bytes_ = metadata_bytes;
  for (int i = 0; i < kSpanPurposes; ++i) {
    indexes_[static_cast<size_t>(i)].Reset(spans_, static_cast<SpanPurpose>(i));
  }
  return true;
}

void Arena::Destroy() {
  const prim::LockGuard guard(lock_);
  HARDENED_CHECK(used_slices_ == 0);
  pages_->Release(reinterpret_cast<void*>(base_), heap_bytes_);
  pages_->Release(reinterpret_cast<void*>(metadata_), metadata_bytes_);
  base_ = metadata_ = 0;
  heap_bytes_ = metadata_bytes_ = 0;
  slices_ = nullptr;
  committed_slices_ = 0;
  home_ = false;
}

bool Arena::CommitAll() {
  const prim::LockGuard guard(lock_);
  HARDENED_CHECK(committed_slices_ == 0);
  return Grow(static_cast<uint32_t>(heap_bytes_ >> kSliceShift) - 1, SpanPurpose::kSlabs) ==
         Growth::kGrown;
}

Arena::Growth Arena::Grow(uint32_t slices, SpanPurpose purpose) {
  const uint32_t total = static_cast<uint32_t>(heap_bytes_ >> kSliceShift);
  // The first slice of an arena stays without access: nothing underflows out of it.
  const uint32_t committed = committed_slices_;
  const uint32_t start = committed == 0 ? 1 : committed;
  if (slices > total - start) return Growth::kNoRoom;
  const uint32_t least =
      static_cast<uint32_t>(RoundUpTo(size_t{start} + slices, kSlicesPerSegment));
  for (const uint32_t wanted : {GrowthSegments(committed) * kSlicesPerSegment, 0u}) {
    uint32_t end = static_cast<uint32_t>(RoundUpTo(size_t{start} + wanted, kSlicesPerSegment));
    if (end < least) end = least;
    if (end > total) end = total;
    // One more span than slices: the walk may look at the slice behind the last.
    constexpr size_t kStep = 64 << 10;
    if (!slice_range_.Ensure(*pages_, slice_range_.start + end * sizeof(SliceDescriptor), kStep) ||
        !span_range_.Ensure(*pages_, span_range_.start + end * sizeof(Span), kStep) ||
        !dirty_range_.Ensure(*pages_, dirty_range_.start + (end / 64 + 1) * sizeof(uint64_t),
                             kStep)) {
      continue;
    }
    if (!pages_->Commit(reinterpret_cast<void*>(AddressOf(start)),
                        size_t{end - start} << kSliceShift)) {
      continue;
    }
    if (committed == 0) IndexOf(purpose).Mark(0, 1, SpanState::kUsed);
    committed_slices_.store(end, std::memory_order_release);
    InsertFree(start, end - start, purpose);
    return Growth::kGrown;
  }
  return Growth::kRefused;
}

void Arena::InsertFree(uint32_t first, uint32_t length, SpanPurpose purpose) {
  SpanIndex& index = IndexOf(purpose);
  const auto merges = [purpose](const Span& span) {
    return span.state == SpanState::kFree && span.purpose == purpose;
  };
  const Span& before = spans_[first - 1];
  if (merges(before)) {
    const uint32_t neighbour = first - before.length;
    index.Remove(neighbour);
    length += first - neighbour;
    first = neighbour;
  }
  const uint32_t behind = first + length;
  if (behind < committed_slices_ && merges(spans_[behind])) {
    index.Remove(behind);
    length += spans_[behind].length;
  }
  index.Insert(first, length);
}

namespace {

// Calls `step(word, mask)` for every word of the bit range [first, first + length); stops when it
// returns true. Returns whether it did.
template <class Step>
bool ForEachWord(uint64_t* bits, uint32_t first, uint32_t length, Step step) {
  while (length > 0) {
    const uint32_t offset = first % 64;
    const uint32_t count = length < 64 - offset ? length : 64 - offset;
    const uint64_t mask = (count == 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1) << offset;
    if (step(bits[first / 64], mask)) return true;
    first += count;
    length -= count;
  }
  return false;
}

}  // namespace

bool Arena::AnyDirty(uint32_t first, uint32_t length) const {
  return ForEachWord(dirty_, first, length,
                     [](uint64_t& word, uint64_t mask) { return (word & mask) != 0; });
}

void Arena::SetDirty(uint32_t first, uint32_t length, bool dirty) {
  int32_t change = 0;
  ForEachWord(dirty_, first, length, [&](uint64_t& word, uint64_t mask) {
    const uint64_t updated = dirty ? word | mask : word & ~mask;
    change += std::popcount(updated) - std::popcount(word);
    word = updated;
    return false;
  });
  dirty_slices_ += static_cast<uint32_t>(change);
}

uint32_t Arena::AllocateSpan(uint32_t slices, uint32_t alignment, uint32_t lead, bool* zero,
                             SpanPurpose purpose) {
  HARDENED_CHECK(slices > 0 && alignment > 0);
  if (abandoned()) return kNoSpan;
  const prim::LockGuard guard(lock_);
  if (alignment > UINT32_MAX / 2 || slices > UINT32_MAX / 2) return kNoSpan;
  const uint32_t wanted = slices + (alignment - 1);
  SpanIndex& index = IndexOf(purpose);
  uint32_t found = index.Take(wanted);
  // Good fit looks one list up: a fresh span of exactly the wanted length may not be found.
  if (found == kNoSpan) {
    const uint32_t margin =
        wanted < SpanIndex::kSecondLevel ? 0 : wanted / SpanIndex::kSecondLevel + 1;
    const Growth growth = Grow(wanted + margin, purpose);
    if (growth != Growth::kGrown) return growth == Growth::kNoRoom ? kNoSpan : kRefusedSpan;
    found = index.Take(wanted);
    if (found == kNoSpan) return kNoSpan;
  }
  const uint32_t length = spans_[found].length;
  const uintptr_t mask = (uintptr_t{alignment} << kSliceShift) - 1;
  const uintptr_t aligned = (AddressOf(found + lead) + mask) & ~mask;
  const uint32_t skipped =
      static_cast<uint32_t>((aligned - AddressOf(found + lead)) >> kSliceShift);
  const uint32_t first = found + skipped;
  index.Mark(first, slices, SpanState::kUsed);
  if (skipped > 0) InsertFree(found, skipped, purpose);
  if (length > skipped + slices) {
    InsertFree(first + slices, length - skipped - slices, purpose);
  }
  *zero = !AnyDirty(first, slices);
  if (!*zero) SetDirty(first, slices, false);
  used_slices_ += slices;
  return first;
}

bool Arena::ExtendSpan(uint32_t first, uint32_t slices, bool* zero) {
  if (abandoned()) return false;
  const prim::LockGuard guard(lock_);
  const uint32_t length = spans_[first].length;
  HARDENED_CHECK(spans_[first].state == SpanState::kUsed && slices > length);
  const uint32_t behind = first + length;
  const uint32_t wanted = slices - length;
  const SpanPurpose purpose = spans_[first].purpose;
  if (behind >= committed_slices_ || spans_[behind].state != SpanState::kFree ||
      spans_[behind].purpose != purpose || spans_[behind].length < wanted) {
    return false;
  }
  const uint32_t free_length = spans_[behind].length;
  SpanIndex& index = IndexOf(purpose);
  index.Remove(behind);
  index.Mark(first, slices, SpanState::kUsed);
  if (free_length > wanted) index.Insert(first + slices, free_length - wanted);
  *zero = !AnyDirty(behind, wanted);
  if (!*zero) SetDirty(behind, wanted, false);
  used_slices_ += wanted;
  return true;
}

void Arena::Release(uint32_t first, uint32_t length, bool dirty, uint64_t now_ms) {
  used_slices_ -= length;
  if (dirty) {
    if (dirty_slices_ == 0) dirty_since_ms_ = now_ms;
    large_dirty_slices_ = std::min(large_dirty_slices_, dirty_slices_);
    if (length > kLargeSlices) large_dirty_slices_ += length;
    SetDirty(first, length, true);
  }
  InsertFree(first, length, spans_[first].purpose);
  const uint32_t limit = static_cast<uint32_t>(purge_policy_.dirty_limit_bytes >> kSliceShift);
  const uint32_t large = std::min(
      large_dirty_slices_, static_cast<uint32_t>(purge_policy_.large_limit_bytes >> kSliceShift));
  if (dirty_slices_ > limit + large) {
    PurgeLocked(limit / 2 + large / 2, purge_policy_.calls_per_pass);
  }
}

void Arena::FreeSpan(uint32_t first, bool dirty, uint64_t now_ms) {
  if (abandoned()) return;
  const prim::LockGuard guard(lock_);
  const Span& span = spans_[first];
  HARDENED_CHECK(span.state == SpanState::kUsed && span.length > 0);
  Release(first, span.length, dirty, now_ms);
}

void Arena::TrimSpan(uint32_t first, uint32_t slices, bool dirty, uint64_t now_ms) {
  if (abandoned()) return;
  const prim::LockGuard guard(lock_);
  const uint32_t length = spans_[first].length;
  HARDENED_CHECK(spans_[first].state == SpanState::kUsed && slices > 0 && slices < length);
  const SpanPurpose purpose = spans_[first].purpose;
  IndexOf(purpose).Mark(first, slices, SpanState::kUsed);
  spans_[first + slices].purpose = purpose;
  Release(first + slices, length - slices, dirty, now_ms);
}

uint32_t Arena::NextUsedSpan(uint32_t slice, uint32_t* behind) {
  if (abandoned()) return kNoSpan;
  const prim::LockGuard guard(lock_);
  // The slice that is never committed is a span of its own.
  for (uint32_t first = slice == 0 ? 1 : slice; first < committed_slices_;) {
    const Span& span = spans_[first];
    HARDENED_CHECK(span.length > 0);
    *behind = first + span.length;
    if (span.state == SpanState::kUsed) return first;
    first = *behind;
  }
  return kNoSpan;
}

uint32_t Arena::FindUsedSpan(uint32_t slice) const {
  if (slice >= committed_slices_) return kNoSpan;
  for (uint32_t first = 0; first <= slice;) {
    const uint32_t length = spans_[first].length;
    if (length == 0) return kNoSpan;
    if (slice - first < length) return spans_[first].state == SpanState::kUsed ? first : kNoSpan;
    first += length;
  }
  return kNoSpan;
}

size_t Arena::PurgeLocked(size_t keep_slices, uint32_t calls) {
  const uint32_t words = committed_slices_ / 64 + 1;
  size_t purged = 0;
  uint32_t looked = 0;
  // One turn over the dirty bits, from where the last pass stopped.
  while (dirty_slices_ > keep_slices && calls > 0 && looked <= words) {
    if (purge_cursor_ >= words) purge_cursor_ = 0;
    const uint64_t word = dirty_[purge_cursor_];
    if (word == 0) {
      ++purge_cursor_;
      ++looked;
      continue;
    }
    const uint32_t first = purge_cursor_ * 64 + static_cast<uint32_t>(std::countr_zero(word));
    uint32_t end = first + 1;
    while (end < committed_slices_ && (dirty_[end / 64] >> (end % 64) & 1) != 0) ++end;
    void* start = reinterpret_cast<void*>(AddressOf(first));
    const size_t bytes = size_t{end - first} << kSliceShift;
    --calls;
    // Refused for locked pages: they stay dirty, and another turn may try again.
    if (!pages_->Drop(start, bytes)) {
      purge_cursor_ = end / 64 + 1;
      looked += end / 64 + 1 - first / 64;
      continue;
    }
    SetDirty(first, end - first, false);
    purged += bytes;
  }
  return purged;
}

size_t Arena::Purge(uint64_t now_ms, bool force) {
  if (abandoned()) return 0;
  const prim::LockGuard guard(lock_);
  if (dirty_slices_ == 0) return 0;
  if (!force && now_ms - dirty_since_ms_ < purge_policy_.delay_ms) return 0;
  const size_t purged = PurgeLocked(0, force ? UINT32_MAX : purge_policy_.calls_per_pass);
  dirty_since_ms_ = now_ms;
  return purged;
}

void Arena::Normalise() {
  if (abandoned()) return;
  const prim::LockGuard guard(lock_);
  purge_cursor_ = 0;
  PurgeLocked(0, UINT32_MAX);
  for (int i = 0; i < kSpanPurposes; ++i) {
    indexes_[static_cast<size_t>(i)].Reset(spans_, static_cast<SpanPurpose>(i));
  }
  // Backwards: the last span that is filed is the first to be taken.
  for (uint32_t end = committed_slices_; end > 0;) {
    const Span span = spans_[end - 1];
    HARDENED_CHECK(span.length > 0 && span.length <= end);
    end -= span.length;
    if (span.state == SpanState::kFree) IndexOf(span.purpose).Insert(end, span.length);
  }
}

ArenaCounters Arena::Counters() {
  if (abandoned()) return {};
  const prim::LockGuard guard(lock_);
  return {
      .committed_bytes = size_t{committed_slices_} << kSliceShift,
      .used_bytes = size_t{used_slices_} << kSliceShift,
      .dirty_bytes = size_t{dirty_slices_} << kSliceShift,
      .metadata_bytes = slice_range_.committed_bytes() + span_range_.committed_bytes() +
                        dirty_range_.committed_bytes() + blocks_.committed_bytes(),
  };
}

void Arena::ValidateForTest() {
  const prim::LockGuard guard(lock_);
  uint32_t used = 0;
  uint32_t dirty = 0;
  SpanState previous = SpanState::kUsed;
  SpanPurpose previous_purpose = SpanPurpose::kSlabs;
  for (uint32_t first = 0; first < committed_slices_;) {
    const uint32_t length = spans_[first].length;
    const SpanState state = spans_[first].state;
    HARDENED_CHECK(length > 0 && length <= committed_slices_ - first);
    HARDENED_CHECK(spans_[first + length - 1].length == length);
    HARDENED_CHECK(spans_[first + length - 1].state == state);
    uint32_t span_dirty = 0;
    ForEachWord(dirty_, first, length, [&](uint64_t& word, uint64_t mask) {
      span_dirty += static_cast<uint32_t>(std::popcount(word & mask));
      return false;
    });
    dirty += span_dirty;
    if (state == SpanState::kFree) {
      HARDENED_CHECK(previous != SpanState::kFree || previous_purpose != spans_[first].purpose);
      // Removing and inserting again checks the links of its list.
      SpanIndex& index = IndexOf(spans_[first].purpose);
      index.Remove(first);
      index.Insert(first, length);
    } else {
      HARDENED_CHECK(state == SpanState::kUsed && span_dirty == 0);
      if (first != 0) used += length;
    }
    previous = state;
    previous_purpose = spans_[first].purpose;
    first += length;
  }
  HARDENED_CHECK(used == used_slices_ && dirty == dirty_slices_);
}

}  // namespace hardened::core
