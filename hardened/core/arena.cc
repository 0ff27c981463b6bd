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
// What was freed in large spans stays up to this share of what is in use.
constexpr uint32_t kLargeDirtyShare = 5;
// What is committed ahead of its use: a system call less for each slice when much is allocated. An
// overflow of 1 MiB meets what is not committed wherever the heap ends.
constexpr uint32_t kLeastAhead = 7;
constexpr uint32_t kMostAhead = 15;
constexpr uint32_t kAheadShare = 64;
// Where memory is rationed: free slices that stay committed, and how many holes there may be.
constexpr uint32_t kIdleSlices = 64;
constexpr uint32_t kMostHoles = 4096;

// What descriptors and spans are committed in.
constexpr size_t kStep = 64 << 10;

// Random places to try before the kernel chooses one.
constexpr int kPlaces = 64;

// An eighth of what there is.
uint32_t GrowthSegments(uint32_t grown_slices) {
  const uint32_t eighth = grown_slices / kSlicesPerSegment / 8;
  return eighth < 1 ? 1 : eighth > kMaxGrowthSegments ? kMaxGrowthSegments : eighth;
}

}  // namespace

uintptr_t Arena::RandomHint(prim::RandomStream& random) {
  // Anywhere between 1 TiB and 64 TiB, where nobody maps anything who does not ask for it; in a
  // smaller address space in the same part of it.
  const uintptr_t end = std::min(prim::AddressSpaceEnd(), uintptr_t{1} << kAddressBits);
  return end / 128 + random.Next64() % (end / 2 - end / 128);
}

template <class Claim>
Arena::Room Arena::FindRoom(size_t bytes, size_t alignment, prim::RandomStream& random,
                            uintptr_t hint, std::span<Arena* const> others, Claim claim) const {
  for (int i = 0; i < kPlaces; ++i, hint = RandomHint(random)) {
    const uintptr_t start = RoundUpTo(hint, alignment);
    if (Occupies(start, bytes) || std::any_of(others.begin(), others.end(), [=](Arena* other) {
          return other->Occupies(start, bytes);
        })) {
      continue;
    }
    void* place = pages_->Place(bytes, alignment, start);
    const Room room{reinterpret_cast<uintptr_t>(place), prim::PageState::kUnmapped};
    if (place != nullptr && claim(room)) return room;
  }
  void* place = pages_->Reserve(bytes, alignment);
  const Room room{reinterpret_cast<uintptr_t>(place), prim::PageState::kReserved};
  if (place == nullptr || claim(room)) return room;
  pages_->Release(place, bytes);
  return Room{0, prim::PageState::kReserved};
}

bool Arena::Create(prim::PageSource& pages, size_t heap_bytes, size_t block_bytes_per_slice,
                   prim::RandomStream& random, uintptr_t hint, std::span<Arena* const> others,
                   std::span<ApartPages> apart) {
  const prim::LockGuard guard(lock_);
  base_ = metadata_ = 0;
  heap_bytes_ = metadata_bytes_ = 0;
  pages_ = &pages;
  const size_t slice_count = heap_bytes >> kSliceShift;
  if (slice_count >= kRefusedSpan) return false;
  for (ApartPages& room : apart) room.start = nullptr;
  if (!CreateMetadata(slice_count, block_bytes_per_slice, random, others, apart)) {
    ReleaseRooms(apart);
    return false;
  }
  // What will be used first shows whether anybody is there.
  uint32_t committed = 0;
  const auto claim = [&](const Room& room) {
    for (const uint32_t slices : {1 + kLeastAhead, 1u}) {
      if (pages.Commit(reinterpret_cast<void*>(room.start + kSliceSize),
                       size_t{slices} << kSliceShift, room.state) == prim::Commitment::kDone) {
        committed = slices;
        return true;
      }
    }
    return false;
  };
  const Room heap = FindRoom(heap_bytes, kSegmentSize, random, hint, others, claim);
  if (heap.start == 0) {
    ReleaseRooms(apart);
    return false;
  }
  base_ = heap.start;
  heap_bytes_ = heap_bytes;
  before_ = heap.state;
  NoteCommitted(1, committed);
  return true;
}

bool Arena::CreateMetadata(size_t slice_count, size_t block_bytes_per_slice,
                           prim::RandomStream& random, std::span<Arena* const> others,
                           std::span<ApartPages> apart) {
  const size_t page = prim::PageSize();
  size_t apart_bytes = 0;
  for (const ApartPages& pages : apart) apart_bytes += RoundUpTo(pages.bytes, page) + page;
  const size_t bits_bytes = RoundUpTo(slice_count / 8 + 8, page);
  const size_t span_bytes = RoundUpTo(slice_count * sizeof(Span), page);
  const size_t slice_bytes = RoundUpTo(slice_count * sizeof(SliceDescriptor), page);
  const size_t block_bytes =
      RoundUpTo(slice_count * block_bytes_per_slice +
                    std::min(kBlockBytesFixed, (slice_count << kSliceShift) / 8),
                page);
  const size_t info_bytes = RoundUpTo(BlockStore::InfoBytes(block_bytes), page);
  const size_t metadata_bytes =
      2 * page + apart_bytes + 2 * bits_bytes + span_bytes + slice_bytes + info_bytes + block_bytes;
  const size_t first_bytes = 2 * bits_bytes + std::min(span_bytes, kStep);
  const Room metadata =
      FindRoom(metadata_bytes, page, random, RandomHint(random), others, [&](const Room& room) {
        return pages_->Commit(reinterpret_cast<void*>(room.start + page + apart_bytes), first_bytes,
                              room.state) == prim::Commitment::kDone;
      });
  if (metadata.start == 0) return false;
  metadata_ = metadata.start;
  metadata_bytes_ = metadata_bytes;

  uintptr_t next = metadata_ + page;
  const auto carve = [&](size_t bytes, size_t committed = 0) {
    const CommittedRange range{next, next + committed, next + bytes, metadata.state};
    next += bytes;
    return range;
  };
  const uintptr_t apart_start = next;
  next += apart_bytes;
  dirty_ = reinterpret_cast<uint64_t*>(next);
  committed_ = reinterpret_cast<uint64_t*>(next + bits_bytes);
  bits_range_ = carve(2 * bits_bytes, 2 * bits_bytes);
  span_range_ = carve(span_bytes, first_bytes - 2 * bits_bytes);
  spans_ = reinterpret_cast<Span*>(span_range_.start);
  slice_range_ = carve(slice_bytes);
  slice_range_.before = prim::PageState::kReadable;
  const CommittedRange info_range = carve(info_bytes);
  blocks_.Initialise(*pages_, info_range, carve(block_bytes));
  if (!pages_->MakeReadable(reinterpret_cast<void*>(slice_range_.start), slice_bytes,
                            metadata.state)) {
    return false;
  }
  slices_ = reinterpret_cast<SliceDescriptor*>(slice_range_.start);
  next = apart_start;
  for (ApartPages& pages : apart) {
    CommittedRange range = carve(RoundUpTo(pages.bytes, page));
    next += page;
    if (range.start == range.end) continue;
    if (!range.Ensure(*pages_, range.end, page, /*exclude=*/false)) return false;
    pages.start = reinterpret_cast<void*>(range.start);
  }
  const uintptr_t end = blocks_.CommitFirst();
  pages_->ExcludeFromDumps(reinterpret_cast<void*>(metadata_), end - metadata_);
  for (int i = 0; i < kSpanPurposes; ++i) {
    indexes_[static_cast<size_t>(i)].Reset(spans_, static_cast<SpanPurpose>(i));
  }
  return true;
}

void Arena::ReleaseRooms(std::span<const ApartPages> apart) {
  const auto release = [this](uintptr_t start, size_t bytes) {
    if (bytes > 0) pages_->Release(reinterpret_cast<void*>(start), bytes);
  };
  // Of places nothing but what was mapped there: the rest may have become somebody else's.
  if (before_ == prim::PageState::kReserved) {
    release(base_, heap_bytes_);
  } else if (committed_slices_ > 0) {
    ReleaseCommitted();
  }
  if (span_range_.before == prim::PageState::kReserved) {
    if (metadata_ != 0) release(metadata_, metadata_bytes_);
  } else if (metadata_ != 0) {
    for (const ApartPages& room : apart) {
      if (room.start == nullptr) continue;
      pages_->Release(room.start, RoundUpTo(room.bytes, prim::PageSize()));
    }
    release(bits_range_.start, bits_range_.committed_bytes() + span_range_.committed_bytes());
    if (slices_ != nullptr) release(slice_range_.start, slice_range_.end - slice_range_.start);
    blocks_.Release();
  }
  base_ = metadata_ = 0;
  heap_bytes_ = metadata_bytes_ = 0;
  slices_ = nullptr;
  grown_slices_ = committed_slices_ = 0;
}

void Arena::Destroy() {
  const prim::LockGuard guard(lock_);
  HARDENED_CHECK(used_slices_ == 0);
  ReleaseRooms();
  home_ = false;
}

bool Arena::CommitAll() {
  const prim::LockGuard guard(lock_);
  HARDENED_CHECK(grown_slices_ == 0);
  const uint32_t slices = static_cast<uint32_t>(heap_bytes_ >> kSliceShift) - 1;
  return Grow(slices, SpanPurpose::kSlabs) == Growth::kGrown &&
         Commit(1, slices, slices + 1) == prim::Commitment::kDone;
}

Arena::Growth Arena::Grow(uint32_t slices, SpanPurpose purpose) {
  const uint32_t total = static_cast<uint32_t>(heap_bytes_ >> kSliceShift);
  // The first slice of an arena stays without access: nothing underflows out of it.
  const uint32_t grown = grown_slices_;
  const uint32_t start = grown == 0 ? 1 : grown;
  if (slices > total - start) return Growth::kNoRoom;
  LookAtLimits();
  const uint32_t least =
      static_cast<uint32_t>(RoundUpTo(size_t{start} + slices, kSlicesPerSegment));
  for (const uint32_t wanted : {GrowthSegments(grown) * kSlicesPerSegment, 0u}) {
    uint32_t end = static_cast<uint32_t>(RoundUpTo(size_t{start} + wanted, kSlicesPerSegment));
    if (end < least) end = least;
    if (end > total) end = total;
    // One more span than slices: the walk may look at the slice behind the last.
    if (!slice_range_.Ensure(*pages_, slice_range_.start + end * sizeof(SliceDescriptor), kStep) ||
        !span_range_.Ensure(*pages_, span_range_.start + end * sizeof(Span), kStep)) {
      continue;
    }
    if (grown == 0) IndexOf(purpose).Mark(0, 1, SpanState::kUsed);
    grown_slices_.store(end, std::memory_order_release);
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
  if (behind < grown_slices_ && merges(spans_[behind])) {
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

// The first slice from `slice` on, below `end`, whose bit is `value`; `end` when there is none.
uint32_t NextWith(const uint64_t* bits, bool value, uint32_t slice, uint32_t end) {
  while (slice < end) {
    const uint64_t word = (value ? bits[slice / 64] : ~bits[slice / 64]) >> slice % 64;
    if (word != 0) return std::min(slice + static_cast<uint32_t>(std::countr_zero(word)), end);
    slice = (slice / 64 + 1) * 64;
  }
  return end;
}

// Returns: by how many the number of set bits changed.
int32_t SetBits(uint64_t* bits, uint32_t first, uint32_t length, bool value) {
  int32_t change = 0;
  ForEachWord(bits, first, length, [&](uint64_t& word, uint64_t mask) {
    const uint64_t updated = value ? word | mask : word & ~mask;
    change += std::popcount(updated) - std::popcount(word);
    word = updated;
    return false;
  });
  return change;
}

}  // namespace

int32_t Arena::SetDirty(uint32_t first, uint32_t length, bool dirty) {
  const int32_t change = SetBits(dirty_, first, length, dirty);
  dirty_slices_ += static_cast<uint32_t>(change);
  return change;
}

uint32_t Arena::CommittedOf(uint32_t first, uint32_t slices) const {
  int count = 0;
  ForEachWord(committed_, first, slices, [&count](uint64_t word, uint64_t mask) {
    count += std::popcount(word & mask);
    return false;
  });
  return static_cast<uint32_t>(count);
}

bool Arena::TakeDirty(uint32_t first, uint32_t slices, uint32_t committed) {
  const uint32_t dirty = static_cast<uint32_t>(-SetDirty(first, slices, false));
  reuse_.NoteReused(dirty);
  if (reuse_.watching()) reuse_.NoteFaulted(committed - dirty, MostReuse());
  return dirty == 0;
}

void Arena::NoteCommitted(uint32_t first, uint32_t slices) {
  SetBits(committed_, first, slices, true);
  committed_slices_ += slices;
}

void Arena::ReleaseCommitted() {
  const uint32_t end = static_cast<uint32_t>(heap_bytes_ >> kSliceShift);
  for (uint32_t from = 1; (from = NextWith(committed_, true, from, end)) < end;) {
    const uint32_t to = NextWith(committed_, false, from, end);
    pages_->Release(reinterpret_cast<void*>(AddressOf(from)), size_t{to - from} << kSliceShift);
    from = to;
  }
}

prim::Commitment Arena::Commit(uint32_t first, uint32_t slices, uint32_t limit) {
  const uint32_t end = first + slices;
  const uint32_t ahead = std::clamp(committed_slices_ / kAheadShare, kLeastAhead, kMostAhead);
  uint32_t most = std::min(end + ahead, limit);
  for (uint32_t from = first; (from = NextWith(committed_, false, from, end)) < end;) {
    const uint32_t to = NextWith(committed_, true, from, most);
    const prim::Commitment result = pages_->Commit(reinterpret_cast<void*>(AddressOf(from)),
                                                   size_t{to - from} << kSliceShift, before_);
    if (result != prim::Commitment::kDone) {
      if (result != prim::Commitment::kRefused || to <= end) return result;
      // Perhaps without what is ahead.
      most = end;
      continue;
    }
    NoteCommitted(from, to - from);
    from = to;
  }
  return prim::Commitment::kDone;
}

uint32_t Arena::AllocateSpan(uint32_t slices, uint32_t alignment, uint32_t lead, bool* zero,
                             SpanPurpose purpose) {
  HARDENED_CHECK(slices > 0 && alignment > 0);
  if (abandoned()) return kNoSpan;
  const prim::LockGuard guard(lock_);
  if (alignment > UINT32_MAX / 2 || slices > UINT32_MAX / 2) return kNoSpan;
  const uint32_t wanted = slices + (alignment - 1);
  SpanIndex& index = IndexOf(purpose);
  for (;;) {
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
    const uint32_t committed = CommittedOf(first, slices);
    const prim::Commitment commitment = Commit(first, slices, found + length);
    if (commitment == prim::Commitment::kRefused) {
      index.Insert(found, length);
      return kRefusedSpan;
    }
    if (commitment == prim::Commitment::kTaken) {
      // Somebody mapped something in here: never used again.
      index.Mark(found, length, SpanState::kUsed);
      used_slices_ += length;
      absent_slices_ += length;
      continue;
    }
    index.Mark(first, slices, SpanState::kUsed);
    if (skipped > 0) InsertFree(found, skipped, purpose);
    if (length > skipped + slices) {
      InsertFree(first + slices, length - skipped - slices, purpose);
    }
    *zero = TakeDirty(first, slices, committed);
    used_slices_ += slices;
    return first;
  }
}

bool Arena::ExtendSpan(uint32_t first, uint32_t slices, bool* zero) {
  if (abandoned()) return false;
  const prim::LockGuard guard(lock_);
  const uint32_t length = spans_[first].length;
  HARDENED_CHECK(spans_[first].state == SpanState::kUsed && slices > length);
  const uint32_t behind = first + length;
  const uint32_t wanted = slices - length;
  const SpanPurpose purpose = spans_[first].purpose;
  if (behind >= grown_slices_ || spans_[behind].state != SpanState::kFree ||
      spans_[behind].purpose != purpose || spans_[behind].length < wanted) {
    return false;
  }
  const uint32_t free_length = spans_[behind].length;
  const uint32_t committed = CommittedOf(behind, wanted);
  if (Commit(behind, wanted, behind + free_length) != prim::Commitment::kDone) return false;
  SpanIndex& index = IndexOf(purpose);
  index.Remove(behind);
  index.Mark(first, slices, SpanState::kUsed);
  if (free_length > wanted) index.Insert(first + slices, free_length - wanted);
  *zero = TakeDirty(behind, wanted, committed);
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
  if (pages_->rationed()) {
    const uint32_t idle = IdleSlices();
    kept_slices_ = std::min(kept_slices_, idle);
    if (idle - kept_slices_ > kIdleSlices + used_slices_ / 8) UncommitFree();
  }
  KeepDirtyLimit();
}

void Arena::KeepDirtyLimit() {
  const size_t limit = purge_policy_.dirty_limit_bytes >> kSliceShift;
  const size_t large =
      std::min(size_t{large_dirty_slices_}, std::max(purge_policy_.large_limit_bytes >> kSliceShift,
                                                     size_t{UsedSlices() / kLargeDirtyShare}));
  const size_t reuse = reuse_.Now(MostReuse());
  if (dirty_slices_ <= limit + large + reuse) return;
  // Not much less than was allowed: it would be made again. Small spans take a call each.
  PurgeLocked(limit / 2 + (large + reuse) / 8 * 7, purge_policy_.calls_per_pass);
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
  for (uint32_t first = slice == 0 ? 1 : slice; first < grown_slices_;) {
    const Span& span = spans_[first];
    HARDENED_CHECK(span.length > 0);
    *behind = first + span.length;
    if (span.state == SpanState::kUsed) return first;
    first = *behind;
  }
  return kNoSpan;
}

uint32_t Arena::FindUsedSpan(uint32_t slice) const {
  if (slice >= grown_slices_) return kNoSpan;
  for (uint32_t first = 0; first <= slice;) {
    const uint32_t length = spans_[first].length;
    if (length == 0) return kNoSpan;
    if (slice - first < length) return spans_[first].state == SpanState::kUsed ? first : kNoSpan;
    first += length;
  }
  return kNoSpan;
}

size_t Arena::PurgeLocked(size_t keep_slices, uint32_t calls) {
  const uint32_t words = grown_slices_ / 64 + 1;
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
    const uint32_t end = NextWith(dirty_, false, first, grown_slices_);
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
    reuse_.NoteGivenBack(end - first);
    purged += bytes;
  }
  return purged;
}

size_t Arena::Uncommit(uint32_t first, uint32_t slices) {
  if (!pages_->Uncommit(reinterpret_cast<void*>(AddressOf(first)), size_t{slices} << kSliceShift,
                        before_)) {
    return 0;
  }
  SetBits(committed_, first, slices, false);
  SetDirty(first, slices, false);
  committed_slices_ -= slices;
  return size_t{slices} << kSliceShift;
}

size_t Arena::UncommitFree() {
  // Each hole may be one mapping more.
  const uint32_t least = committed_slices_ / kMostHoles + 1;
  size_t bytes = 0;
  for (uint32_t first = 0; first < grown_slices_; first += spans_[first].length) {
    const uint32_t end = first + spans_[first].length;
    if (spans_[first].state != SpanState::kFree) continue;
    for (uint32_t from = first; (from = NextWith(committed_, true, from, end)) < end;) {
      const uint32_t to = NextWith(committed_, false, from, end);
      if (to - from >= least) bytes += Uncommit(from, to - from);
      from = to;
    }
  }
  kept_slices_ = IdleSlices();
  return bytes;
}

bool Arena::DropUsed(uint32_t first, uint32_t slices) {
  if (!abandoned()) {
    const prim::LockGuard guard(lock_);
    if (pages_->rationed() && Uncommit(first, slices) != 0) {
      absent_slices_ += slices;
      return true;
    }
  }
  return pages_->Drop(reinterpret_cast<void*>(AddressOf(first)), size_t{slices} << kSliceShift);
}

bool Arena::MakeUsable(uint32_t first, uint32_t slices) {
  if (abandoned()) return false;
  const prim::LockGuard guard(lock_);
  const uint32_t before = committed_slices_;
  const bool usable = Commit(first, slices, first + slices) == prim::Commitment::kDone;
  absent_slices_ -= committed_slices_ - before;
  return usable;
}

void Arena::LookAtLimits() {
  if (committed_slices_ >= kIdleSlices) pages_->LookAtLimits();
}

size_t Arena::Purge(uint64_t now_ms, bool force) {
  if (abandoned()) return 0;
  const prim::LockGuard guard(lock_);
  LookAtLimits();
  const bool late = force || now_ms - dirty_since_ms_ >= purge_policy_.delay_ms;
  size_t uncommitted = 0;
  if (late && pages_->rationed() && IdleSlices() > kept_slices_) uncommitted = UncommitFree();
  if (!late) return uncommitted;
  const size_t keep_slices = reuse_.EndPeriod();
  dirty_since_ms_ = now_ms;
  if (dirty_slices_ == 0) return uncommitted;
  const size_t purged =
      PurgeLocked(force ? 0 : keep_slices, force ? UINT32_MAX : purge_policy_.calls_per_pass);
  return uncommitted + purged;
}

void Arena::Normalise() {
  if (abandoned()) return;
  const prim::LockGuard guard(lock_);
  purge_cursor_ = 0;
  PurgeLocked(0, UINT32_MAX);
  reuse_ = {};
  for (int i = 0; i < kSpanPurposes; ++i) {
    indexes_[static_cast<size_t>(i)].Reset(spans_, static_cast<SpanPurpose>(i));
  }
  // Backwards: the last span that is filed is the first to be taken.
  for (uint32_t end = grown_slices_; end > 0;) {
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
      .grown_bytes = size_t{grown_slices_} << kSliceShift,
      .committed_bytes = size_t{committed_slices_} << kSliceShift,
      .used_bytes = size_t{used_slices_} << kSliceShift,
      .dirty_bytes = size_t{dirty_slices_} << kSliceShift,
      .metadata_bytes = slice_range_.committed_bytes() + span_range_.committed_bytes() +
                        bits_range_.committed_bytes() + blocks_.committed_bytes(),
  };
}

void Arena::ValidateForTest() {
  const prim::LockGuard guard(lock_);
  uint32_t used = 0;
  uint32_t dirty = 0;
  SpanState previous = SpanState::kUsed;
  SpanPurpose previous_purpose = SpanPurpose::kSlabs;
  for (uint32_t first = 0; first < grown_slices_;) {
    const uint32_t length = spans_[first].length;
    const SpanState state = spans_[first].state;
    HARDENED_CHECK(length > 0 && length <= grown_slices_ - first);
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
