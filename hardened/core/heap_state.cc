#include "hardened/core/heap_state.h"

#include <sys/resource.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>

#include "hardened/prim/entropy.h"
#include "hardened/prim/page_source.h"
#include "hardened/prim/sandbox.h"
#include "hardened/prim/system_info.h"

namespace hardened::core {
namespace {

// Of address space. Each GiB has 512 KiB of descriptors, which are mapped from the start.
constexpr size_t kLargestCage = size_t{64} << 30;
// Each further cage has twice the size of the one before, up to this.
constexpr size_t kLargestArena = size_t{1} << 40;
// Spans from this share of a cage of full size on lie in further cages: what the fast walk of free
// looks up is in the first.
constexpr size_t kLargeShare = 16;
// With a limit on address space: no more held runs than this share of the cage.
constexpr size_t kHeldShare = 4;

// Blocks of metadata for each slice: the most that slabs of the smallest class need.
constexpr size_t kBlockBytesPerSlice = 20 * 1024;

uint64_t LinkKey(prim::RandomStream& random) {
  // Odd and not small, so that multiplication by it mixes.
  return random.Next64() | 1 | uint64_t{1} << 63;
}

}  // namespace

constinit prim::Sealed<HeapConstants> heap_constants;
constinit HeapState heap_state;

bool HeapState::Start(const CoreOptions& options, const char* level, bool (*before_first_use)()) {
  // After an attempt that failed late, the arena is there already.
  if (arena_count_.load(std::memory_order_relaxed) == 0 && !MakeFirstArena(options)) return false;
  if (before_first_use != nullptr && !before_first_use()) return false;
  first_arena_.set_purge_policy(options.purge);
  HeapConstants& constants = heap_constants.Writable();
  constants.options = options;
  constants.level = level;
  constants.cage_base = first_arena_.base();
  constants.cage_bytes = first_arena_.heap_bytes();
  constants.cage_slices = first_arena_.slices();
  // Where address space is limited: guards of slabs would take a third of it, held runs what slabs
  // need later.
  if (constants.cage_bytes < kLargestCage) {
    constants.options.guard_slab_interval = 0;
    constants.options.run_gap_slices = 0;
    constants.options.run_hold_bytes =
        std::min(options.run_hold_bytes, constants.cage_bytes / kHeldShare);
  }
  prim::linux_page_source.LookAtLimits();
  if (prim::linux_page_source.rationed()) constants.options.run_gap_slices = 0;
  {
    const prim::LockGuard guard(arenas_lock_);
    constants.link_keys.pad_key = LinkKey(*random_);
    constants.link_keys.tag_key = LinkKey(*random_);
  }
  heap_constants.Seal();
  // Pairs with the acquire load in started().
  started_.store(true, std::memory_order_release);
  return true;
}

bool HeapState::MakeFirstArena(const CoreOptions& options) {
  const prim::LockGuard guard(arenas_lock_);
  prim::linux_page_source.SettleGuards();
  if (random_ == nullptr) random_ = stream_store_.Take();
  if (random_ == nullptr) return false;
  // Where metadata lies and, later, the link keys.
  prim::linux_page_source.ExcludeFromDumps(this, sizeof(*this));
  prim::linux_page_source.ExcludeFromDumps(&heap_constants, sizeof(heap_constants));
  std::byte key[prim::RandomStream::kKeyBytes] = {};
  if (options.seeded) {
    prim::CountCallsAsTime();
    __builtin_memcpy(key, &options.seed, sizeof(options.seed));
  } else {
    prim::FillEntropy(key);
  }
  random_->Seed(key, 0);
  const size_t limit = std::max(prim::ResourceLimit(RLIMIT_AS), kSegmentSize);
  size_t bytes = limit < kLargestCage ? std::bit_floor(limit) : kLargestCage;
  while (!first_arena_.Create(prim::linux_page_source, bytes, kBlockBytesPerSlice, *random_)) {
    bytes /= 2;
    if (bytes < kSegmentSize) return false;
  }
  arenas_[0] = &first_arena_;
  MakeSpareArena(first_arena_);
  arena_count_.store(1, std::memory_order_release);
  return true;
}

Arena* HeapState::FindArena(uintptr_t address) const {
  if (!started()) return nullptr;
  if (first_arena_.Contains(address)) return arenas_[0];
  return segment_map_.Find(address);
}

bool HeapState::CreateArena(Arena& arena, size_t bytes, size_t least_bytes) {
  for (;; bytes /= 2) {
    bytes = RoundUpTo(bytes < least_bytes ? least_bytes : bytes, kSegmentSize);
    if (arena.Create(prim::linux_page_source, bytes, kBlockBytesPerSlice, *random_, Arenas())) {
      break;
    }
    if (bytes == RoundUpTo(least_bytes, kSegmentSize)) return false;
  }
  arena.set_purge_policy(heap_constants->options.purge);
  if (segment_map_.Register(arena.base(), arena.heap_bytes(), &arena, arena)) return true;
  segment_map_.Unregister(arena.base(), arena.heap_bytes(), arena);
  arena.Destroy();
  return false;
}

void HeapState::MakeSpareArena(Arena& source) {
  void* block = source.AllocateMetadata(sizeof(Arena) + alignof(Arena));
  spare_arena_ = block == nullptr ? nullptr
                                  : ::new (reinterpret_cast<void*>(RoundUpTo(
                                        reinterpret_cast<uintptr_t>(block), alignof(Arena)))) Arena;
}

bool HeapState::AddArena(size_t least_bytes, bool for_metadata, uint32_t seen) {
  const prim::LockGuard guard(arenas_lock_);
  const uint32_t count = arena_count_.load(std::memory_order_relaxed);
  if (count != seen) return true;
  if (count == kMaxArenas) return false;
  if (spare_arena_ == nullptr) return false;
  // An arena for the sake of its metadata is as small as can be: there is heap enough.
  const size_t bytes =
      for_metadata ? least_bytes
                   : std::min(first_arena_.heap_bytes() << std::min(count, 20u), kLargestArena);
  Arena& arena = *spare_arena_;
  if (!CreateArena(arena, bytes, least_bytes)) return false;
  AddSpareArena(arena, count);
  return true;
}

void HeapState::AddSpareArena(Arena& arena, uint32_t count) {
  arenas_[count] = &arena;
  MakeSpareArena(arena);
  arena_count_.store(count + 1, std::memory_order_release);
}

Arena* HeapState::MakeHomeArena(size_t bytes, uintptr_t hint) {
  const prim::LockGuard guard(arenas_lock_);
  const uint32_t count = arena_count_.load(std::memory_order_relaxed);
  if (count == kMaxArenas || spare_arena_ == nullptr) return nullptr;
  Arena& arena = *spare_arena_;
  // Blocks of metadata come from where there are some.
  if (!arena.Create(prim::linux_page_source, bytes, 0, *random_, hint, Arenas())) return nullptr;
  arena.set_purge_policy(heap_constants->options.purge);
  arena.set_home();
  if (!arena.CommitAll() ||
      !segment_map_.Register(arena.base(), arena.heap_bytes(), &arena, arena)) {
    segment_map_.Unregister(arena.base(), arena.heap_bytes(), arena);
    arena.Destroy();
    return nullptr;
  }
  AddSpareArena(arena, count);
  return &arena;
}

ArenaSpan HeapState::AllocateSpan(SpanPurpose purpose, uint32_t slices, uint32_t alignment,
                                  uint32_t lead) {
  if (!heap_constants->options.isolate_classes) purpose = SpanPurpose::kSlabs;
  ArenaSpan span;
  // Besides the span: the first slice, which stays unused, and what good fit rounds up.
  const size_t wanted = size_t{slices} + alignment;
  const size_t least = (wanted + wanted / SpanIndex::kSecondLevel + 2) << kSliceShift;
  uint32_t tried = heap_constants->cage_bytes == kLargestCage && least > kLargestCage / kLargeShare;
  do {
    for (; tried < arena_count_.load(std::memory_order_acquire); ++tried) {
      if (arenas_[tried]->home()) continue;
      span.arena = arenas_[tried];
      span.first = span.arena->AllocateSpan(slices, alignment, lead, &span.zero, purpose);
      // Refused memory is refused in any arena.
      if (span.first == kRefusedSpan) return ArenaSpan{};
      if (span.first != kNoSpan) return span;
    }
  } while (AddArena(least, /*for_metadata=*/false, tried));
  return ArenaSpan{};
}

void* HeapState::AllocateMetadata(size_t bytes, Arena** source) {
  uint32_t tried = 0;
  do {
    for (; tried < arena_count_.load(std::memory_order_acquire); ++tried) {
      void* block = arenas_[tried]->AllocateMetadata(bytes);
      if (block == nullptr) continue;
      if (source != nullptr) *source = arenas_[tried];
      return block;
    }
  } while (AddArena(kSegmentSize, /*for_metadata=*/true, tried));
  return nullptr;
}

size_t HeapState::Purge(uint64_t now_ms, bool force) {
  size_t purged = 0;
  const uint32_t count = arena_count_.load(std::memory_order_acquire);
  for (uint32_t i = 0; i < count; ++i) {
    // What a home arena holds must not depend on the time.
    if (force || !arenas_[i]->home()) purged += arenas_[i]->Purge(now_ms, force);
  }
  return purged;
}

ArenaCounters HeapState::Counters() {
  ArenaCounters sum;
  const uint32_t count = arena_count_.load(std::memory_order_acquire);
  for (uint32_t i = 0; i < count; ++i) {
    const ArenaCounters one = arenas_[i]->Counters();
    sum.grown_bytes += one.grown_bytes;
    sum.committed_bytes += one.committed_bytes;
    sum.used_bytes += one.used_bytes;
    sum.dirty_bytes += one.dirty_bytes;
    sum.metadata_bytes += one.metadata_bytes;
  }
  return sum;
}

void HeapState::SeedStream(prim::RandomStream& random) {
  const prim::LockGuard guard(arenas_lock_);
  std::byte key[prim::RandomStream::kKeyBytes];
  DrawKey(key);
  random.Seed(key, ++streams_);
}

void HeapState::DrawKey(std::span<std::byte, prim::RandomStream::kKeyBytes> out) {
  for (size_t i = 0; i < out.size(); i += sizeof(uint64_t)) {
    const uint64_t word = random_->Next64();
    __builtin_memcpy(&out[i], &word, sizeof(word));
  }
}

prim::RandomStream* HeapState::NewStream(DrawsInChild in_child) {
  prim::RandomStream* stream = nullptr;
  if (in_child == DrawsInChild::kOther) {
    const prim::LockGuard guard(arenas_lock_);
    stream = stream_store_.Take();
  } else {
    constexpr size_t kAlignment = alignof(prim::RandomStream);
    void* block = AllocateMetadata(sizeof(prim::RandomStream) + kAlignment);
    if (block == nullptr) return nullptr;
    stream =
        ::new (reinterpret_cast<void*>(RoundUpTo(reinterpret_cast<uintptr_t>(block), kAlignment)))
            prim::RandomStream;
  }
  if (stream != nullptr) SeedStream(*stream);
  return stream;
}

void HeapState::FreezeForFork() {
  arenas_lock_.Freeze();
  // The kernel cannot be asked in the child, and wipes the stream there. Held by this thread itself,
  // below a signal handler, the stream may be in the middle of a draw.
  if (random_ != nullptr && prim::CurrentSandbox() == prim::Sandbox::kEntered &&
      !arenas_lock_.IsHeld()) {
    DrawKey(fork_key_);
  }
  const uint32_t count = arena_count_.load(std::memory_order_relaxed);
  for (uint32_t i = 0; i < count; ++i) arenas_[i]->lock().Freeze();
}

void HeapState::ThawAfterFork() {
  const uint32_t count = arena_count_.load(std::memory_order_relaxed);
  for (uint32_t i = count; i > 0; --i) arenas_[i - 1]->lock().Thaw();
  explicit_bzero(fork_key_, sizeof(fork_key_));
  arenas_lock_.Thaw();
}

void HeapState::MendInChild() {
  const uint32_t count = arena_count_.load(std::memory_order_relaxed);
  for (uint32_t i = 0; i < count; ++i) {
    if (!arenas_[i]->lock().ForkReset()) arenas_[i]->Abandon();
  }
  if (!arenas_lock_.ForkReset()) {
    // Perhaps half made.
    spare_arena_ = nullptr;
    for (uint32_t i = 0; i < count && spare_arena_ == nullptr; ++i) MakeSpareArena(*arenas_[i]);
  }
  if (random_ == nullptr) return;
  // At once: the child may enter a sandbox before its first draw.
  if (prim::CurrentSandbox() != prim::Sandbox::kEntered) prim::FillEntropy(fork_key_);
  if (random_->seeded()) {
    random_->Rekey(fork_key_);
  } else {
    random_->Seed(fork_key_, 0);
  }
  explicit_bzero(fork_key_, sizeof(fork_key_));
}

}  // namespace hardened::core
