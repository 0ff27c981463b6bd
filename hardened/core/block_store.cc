#include "hardened/core/block_store.h"

#include <bit>
#include <cstring>

#include "hardened/core/geometry.h"
#include "hardened/prim/check.h"
#include "hardened/prim/system_info.h"

namespace hardened::core {
namespace {

// What is committed at once.
constexpr size_t kCommitStep = 256 << 10;

}  // namespace

bool CommittedRange::Ensure(prim::PageSource& pages, uintptr_t up_to, size_t chunk) {
  if (up_to <= committed_end) return true;
  if (up_to > end) return false;
  const size_t page = prim::PageSize();
  for (const size_t step : {chunk, page}) {
    uintptr_t target = start + RoundUpTo(up_to - start, step < page ? page : step);
    if (target > end) target = end;
    void* const fresh = reinterpret_cast<void*>(committed_end);
    const size_t bytes = target - committed_end;
    if (pages.Commit(fresh, bytes, before) != prim::Commitment::kDone) continue;
    // What is readable is excluded already.
    if (before != prim::PageState::kReadable) pages.ExcludeFromDumps(fresh, bytes);
    committed_end = target;
    return true;
  }
  return false;
}

void BlockStore::Initialise(prim::PageSource& pages, const CommittedRange& info,
                            const CommittedRange& blocks) {
  pages_ = &pages;
  info_ = info;
  blocks_ = blocks;
  chunks_ = empty_ = 0;
  large_next_ = large_end_ = 0;
  with_room_.fill(0);
}

void BlockStore::Release() {
  for (const CommittedRange* range : {&info_, &blocks_}) {
    if (range->committed_bytes() == 0) continue;
    pages_->Release(reinterpret_cast<void*>(range->start), range->committed_bytes());
  }
}

void BlockStore::Link(uint32_t number, uint32_t& list) {
  Chunk& chunk = At(number);
  chunk.previous = 0;
  chunk.next = list;
  if (list != 0) At(list).previous = number;
  list = number;
}

void BlockStore::Unlink(uint32_t number, uint32_t& list) {
  const Chunk& chunk = At(number);
  if (chunk.next != 0) At(chunk.next).previous = chunk.previous;
  (chunk.previous != 0 ? At(chunk.previous).next : list) = chunk.next;
}

uint32_t BlockStore::NewChunk(size_t block_bytes) {
  uint32_t number = empty_;
  if (number != 0) {
    empty_ = At(number).next;
  } else {
    number = chunks_ + 1;
    if (Start(number) >= blocks_.end ||
        !info_.Ensure(*pages_, info_.start + number * sizeof(Chunk), kCommitStep)) {
      return 0;
    }
    chunks_ = number;
  }
  Chunk& chunk = At(number);
  chunk = {};
  chunk.capacity = chunk.free_count = static_cast<uint32_t>(kChunkBytes / block_bytes);
  for (uint32_t i = 0; i < chunk.capacity; ++i) chunk.free[i / 64] |= uint64_t{1} << i % 64;
  return number;
}

void* BlockStore::AllocateLarge(size_t bytes) {
  const uintptr_t chunks_end = Start(chunks_ + 1);
  // Directly behind the last one, where no chunk came between.
  const uintptr_t start =
      bytes <= large_end_ - large_next_ || large_end_ == chunks_end ? large_next_ : chunks_end;
  const uintptr_t end = start + bytes;
  if (end > blocks_.end || end < start) return nullptr;
  if (end > chunks_end) {
    const uint32_t more = static_cast<uint32_t>((end - chunks_end + kChunkBytes - 1) / kChunkBytes);
    if (!info_.Ensure(*pages_, info_.start + (chunks_ + more) * sizeof(Chunk), kCommitStep) ||
        !blocks_.Ensure(*pages_, end, kCommitStep)) {
      return nullptr;
    }
    chunks_ += more;
    large_end_ = Start(chunks_ + 1);
  } else if (!blocks_.Ensure(*pages_, end, kCommitStep)) {
    return nullptr;
  }
  large_next_ = end;
  return reinterpret_cast<void*>(start);
}

void* BlockStore::Allocate(size_t bytes) {
  bytes = RoundUpTo(bytes, kUnit);
  if (bytes > kMaxBlock) return AllocateLarge(bytes);
  uint32_t& list = with_room_[bytes / kUnit];
  if (list == 0) {
    const uint32_t number = NewChunk(bytes);
    if (number == 0) return nullptr;
    Link(number, list);
  }
  Chunk& chunk = At(list);
  uint32_t word = 0;
  while (chunk.free[word] == 0) ++word;
  const uint32_t index = word * 64 + static_cast<uint32_t>(std::countr_zero(chunk.free[word]));
  const uintptr_t address = Start(list) + index * bytes;
  if (!blocks_.Ensure(*pages_, address + bytes, kCommitStep)) return nullptr;
  chunk.free[word] &= chunk.free[word] - 1;
  if (--chunk.free_count == 0) Unlink(list, list);
  void* block = reinterpret_cast<void*>(address);
  std::memset(block, 0, bytes);
  return block;
}

bool BlockStore::IsPageFree(const Chunk& chunk, size_t bytes, size_t page_offset, size_t page) {
  for (size_t i = page_offset / bytes; i < chunk.capacity && i * bytes < page_offset + page; ++i) {
    if ((chunk.free[i / 64] >> i % 64 & 1) == 0) return false;
  }
  return true;
}

void BlockStore::Free(void* block, size_t bytes) {
  bytes = RoundUpTo(bytes, kUnit);
  HARDENED_CHECK(bytes <= kMaxBlock);
  uint32_t& list = with_room_[bytes / kUnit];
  const uintptr_t distance = reinterpret_cast<uintptr_t>(block) - blocks_.start;
  const uint32_t number = static_cast<uint32_t>(distance / kChunkBytes + 1);
  const size_t offset = distance % kChunkBytes;
  const size_t index = offset / bytes;
  HARDENED_CHECK(number <= chunks_ && index * bytes == offset);
  Chunk& chunk = At(number);
  HARDENED_CHECK(index < chunk.capacity && (chunk.free[index / 64] >> index % 64 & 1) == 0);
  chunk.free[index / 64] |= uint64_t{1} << index % 64;
  if (++chunk.free_count == 1) Link(number, list);
  // The pages that it lay in; the first and the last may have others.
  const size_t page = prim::PageSize();
  size_t first = offset / page * page;
  size_t end = RoundUpTo(offset + bytes, page);
  if (!IsPageFree(chunk, bytes, first, page)) first += page;
  if (first < end && !IsPageFree(chunk, bytes, end - page, page)) end -= page;
  if (first < end) pages_->Drop(reinterpret_cast<void*>(Start(number) + first), end - first);
  // One chunk of a size stays.
  if (chunk.free_count < chunk.capacity || (chunk.next == 0 && chunk.previous == 0)) return;
  Unlink(number, list);
  chunk.next = empty_;
  empty_ = number;
}

}  // namespace hardened::core
