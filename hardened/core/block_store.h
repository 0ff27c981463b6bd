// BlockStore: small blocks of metadata, which come and go with slabs, runs and threads.
//
// Memory is cut into chunks of 32 KiB, each for blocks of one size. Which of them are free is
// written down beside the chunks, so a page without a block in use goes back to the OS: after a
// burst the records of a million freed slots do not stay. Blocks too large for that are taken one
// behind the other and never given back.
//
// Threads: external; the lock of the arena.

#ifndef HARDENED_CORE_BLOCK_STORE_H_
#define HARDENED_CORE_BLOCK_STORE_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "hardened/prim/page_source.h"

namespace hardened::core {

// Pages that are committed from their start as they are used.
struct CommittedRange {
  uintptr_t start = 0;
  uintptr_t committed_end = 0;
  uintptr_t end = 0;
  prim::PageState before = prim::PageState::kUnmapped;

  // Commits up to `up_to`, if possible up to the next multiple of `chunk` bytes, kept out of core
  // dumps. Returns: false when it lies beyond the range, or when the kernel refuses.
  bool Ensure(prim::PageSource& pages, uintptr_t up_to, size_t chunk);
  size_t committed_bytes() const { return committed_end - start; }
};

class BlockStore {
 public:
  // Blocks beyond this are never given back.
  static constexpr size_t kMaxBlock = 20 * 1024 - 64;

  // Bytes of bookkeeping for blocks in a range of `bytes`.
  static size_t InfoBytes(size_t bytes) { return (bytes / kChunkBytes + 1) * sizeof(Chunk); }

  // `info` has InfoBytes() of `blocks`. Both read as zero where they are committed.
  void Initialise(prim::PageSource& pages, const CommittedRange& info,
                  const CommittedRange& blocks);

  // A zeroed block, 64-byte aligned. Null when there is no room, or when the kernel refuses.
  void* Allocate(size_t bytes);
  // The same `bytes` must be given. Requires: bytes <= kMaxBlock.
  void Free(void* block, size_t bytes);

  // Unmaps what was committed. Nothing else may be called before Initialise().
  void Release();

  size_t committed_bytes() const { return info_.committed_bytes() + blocks_.committed_bytes(); }

 private:
  static constexpr size_t kChunkBytes = 32 * 1024;
  static constexpr size_t kUnit = 64;
  static constexpr size_t kLists = kMaxBlock / kUnit + 1;

  struct Chunk {
    uint64_t free[kChunkBytes / kUnit / 64];  // a set bit is a block that may be taken
    uint32_t free_count;
    uint32_t capacity;
    uint32_t next;      // in the list of its size, or of the empty ones; numbers, 0: none
    uint32_t previous;  // in the list of its size
  };

  Chunk& At(uint32_t number) { return reinterpret_cast<Chunk*>(info_.start)[number - 1]; }
  uintptr_t Start(uint32_t number) const { return blocks_.start + (number - 1) * kChunkBytes; }
  void Link(uint32_t number, uint32_t& list);
  void Unlink(uint32_t number, uint32_t& list);
  // Returns: its number, 0 when there is none.
  uint32_t NewChunk(size_t block_bytes);
  // Whether no block of `bytes` in `chunk` that reaches into this page of it is in use.
  static bool IsPageFree(const Chunk& chunk, size_t bytes, size_t page_offset, size_t page);
  void* AllocateLarge(size_t bytes);

  prim::PageSource* pages_ = nullptr;
  CommittedRange info_;
  CommittedRange blocks_;
  uint32_t chunks_ = 0;  // in use or empty; what lies behind is untouched
  uint32_t empty_ = 0;
  uintptr_t large_next_ = 0;  // where the next large block may go, up to large_end_
  uintptr_t large_end_ = 0;
  std::array<uint32_t, kLists> with_room_{};  // for each size the chunks that have room
};

}  // namespace hardened::core

#endif  // HARDENED_CORE_BLOCK_STORE_H_
