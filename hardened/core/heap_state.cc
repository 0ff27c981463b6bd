#include "hardened/core/heap_state.h"

#include <algorithm>
#include <new>

#include "hardened/prim/entropy.h"
#include "hardened/prim/page_source.h"
#include "hardened/prim/system_info.h"

namespace hardened::core {
namespace {

// Of address space. Larger would find everything in the first cage, but what the kernel does page
// by page with the readable descriptors (mlockall) grows with it; see ARCHITECTURE.md.
constexpr size_t kLargestCage = size_t{1} << 40;
// With a limit on address space: no cage beyond this share of what is left.
constexpr size_t kLimitShare = 4;
// ... and no more held runs than this share of the cage.
constexpr size_t kHeldShare = 4;

// Blocks of metadata for each slice: the most that slabs of the smallest class need. Where address
// space is limited, what a usual mix of sizes needs; AllocateMetadata() looks elsewhere for more.
size_t BlockBytesPerSlice(size_t address_space_left) {
  return address_space_left == SIZE_MAX ? 20 * 1024 : 4 * 1024;
}

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
    constants.options.run_hold_bytes =
        std::min(options.run_hold_bytes, constants.cage_bytes / kHeldShare);
  }
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
  size_t bytes = kLargestCage;
  const size_t left = prim::AddressSpaceLeft();
  while (bytes > kSegmentSize && bytes > left / kLimitShare) bytes /= 2;
  for (; !first_arena_.Create(prim::linux_page_source, bytes, BlockBytesPerSlice(left), *random_);
       bytes /= 2) {
    if (bytes <= kSegmentSize) return false;
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
  const size_t left = prim::AddressSpaceLeft();
  while (bytes > least_bytes && bytes > left / kLimitShare) bytes /= 2;
  for (;; bytes /= 2) {
    bytes = RoundUpTo(bytes < least_bytes ? least_bytes : bytes, kSegmentSize);
    if (arena.Create(prim::linux_page_source, bytes, BlockBytesPerSlice(left), *random_)) break;
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
  const size_t bytes = for_metadata ? least_bytes : first_arena_.heap_bytes();
  if (!CreateArena(*spare_arena_, bytes, least_bytes)) return false;
  AddSpareArena(count);
  return true;
}

void HeapState::AddSpareArena(uint32_t count) {
  arenas_[count] = spare_arena_;
  MakeSpareArena(*arenas_[count]);
  arena_count_.store(count + 1, std::memory_order_release);
}

Arena* HeapState::MakeHomeArena(size_t bytes, uintptr_t hint) {
  const prim::LockGuard guard(arenas_lock_);
  const uint32_t count = arena_count_.load(std::memory_order_relaxed);
  if (count == kMaxArenas || spare_arena_ == nullptr) return nullptr;
  Arena& arena = *spare_arena_;
  // Blocks of metadata come from where there are some.
  if (!arena.Create(prim::linux_page_source, bytes, 0, *random_, hint)) return nullptr;
  arena.set_purge_policy(heap_constants->options.purge);
  arena.set_home();
  if (!arena.CommitAll() ||
      !segment_map_.Register(arena.base(), arena.heap_bytes(), &arena, arena)) {
    segment_map_.Unregister(arena.base(), arena.heap_bytes(), arena);
    arena.Destroy();
    return nullptr;
  }
  AddSpareArena(count);
  return &arena;
}

ArenaSpan HeapState::AllocateSpan(SpanPurpose purpose, uint32_t slices, uint32_t alignment,
                                  uint32_t lead) {
  if (!heap_constants->options.isolate_classes) purpose = SpanPurpose::kSlabs;
  ArenaSpan span;
  // Besides the span: the first slice, which stays unused, and what good fit rounds up.
  const size_t wanted = size_t{slices} + alignment;
  const size_t least = (wanted + wanted / SpanIndex::kSecondLevel + 2) << kSliceShift;
  uint32_t tried = 0;
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
  for (size_t i = 0; i < sizeof(key); i += sizeof(uint64_t)) {
    const uint64_t word = random_->Next64();
    __builtin_memcpy(key + i, &word, sizeof(word));
  }
  random.Seed(key, ++streams_);
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

void HeapState::LockAll() {
  arenas_lock_.Acquire();
  const uint32_t count = arena_count_.load(std::memory_order_relaxed);
  for (uint32_t i = 0; i < count; ++i) arenas_[i]->lock().Acquire();
}

void HeapState::UnlockAll(bool in_child) {
  const auto release = [in_child](prim::Lock& lock) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    if (in_child) {
      lock.ForkReset();
    } else {
      lock.Release();
    }
  };
  const uint32_t count = arena_count_.load(std::memory_order_relaxed);
  for (uint32_t i = count; i > 0; --i) release(arenas_[i - 1]->lock());
  if (in_child && random_ != nullptr) {
    // At once: the child may enter a sandbox before its first draw.
    std::byte fresh[prim::RandomStream::kKeyBytes];
    prim::FillEntropy(fresh);
    if (random_->seeded()) {
      random_->Rekey(fresh);
    } else {
      random_->Seed(fresh, 0);
    }
  }
  release(arenas_lock_);
}

}  // namespace hardened::core
