#include "tests/stress/shadow_stress.h"

#include <pthread.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>
#include <random>
#include <vector>

#include "tests/preload/pattern.h"

namespace {

// How a block was obtained decides how it may be given back.
enum class Origin { kMalloc, kAlignedAlloc, kMemalign, kNew, kNewAligned };

struct Block {
  void* address = nullptr;
  size_t requested = 0;  // what the entry point was asked for
  size_t filled = 0;     // bytes that hold the pattern: requested, or all usable ones
  size_t alignment = 16;
  uint64_t seed = 0;
  Origin origin = Origin::kMalloc;
};

// What all threads of one run share.
//
// Locks: each guards the field below it; no two are held together.
struct Run {
  Run(const AllocationTable& table, const StressOptions& options)
      : table(table), options(options) {}

  const AllocationTable& table;
  const StressOptions& options;
  std::atomic<size_t> live_bytes = 0;
  std::atomic<bool> failed = false;

  std::mutex failure_lock;
  std::string failure;

  struct Mailbox {
    std::mutex lock;
    std::vector<Block> blocks;
  };
  static constexpr size_t kMailboxes = 32;
  Mailbox mailboxes[kMailboxes];

  std::map<uintptr_t, uintptr_t> live;  // start to end; one thread only

  void Fail(const char* what, const Block& block, size_t detail) {
    char text[256];
    std::snprintf(text, sizeof text, "%s: block %p, requested %zu, filled %zu, alignment %zu (%zu)",
                  what, block.address, block.requested, block.filled, block.alignment, detail);
    const std::lock_guard guard(failure_lock);
    if (failure.empty()) failure = text;
    failed = true;
  }
};

// One thread's walk: operations drawn from its own seed.
class Walker {
 public:
  Walker(Run& run, uint64_t seed) : run_(run), table_(run.table), random_(seed) {}

  void Walk() {
    for (uint64_t i = 0; i < run_.options.operations && !run_.failed; ++i) {
      const unsigned choice = Draw(100);
      if (choice < 45) {
        Allocate();
      } else if (choice < 65) {
        if (!mine_.empty()) Free(TakeMine());
      } else if (choice < 80) {
        if (!mine_.empty()) Reallocate();
      } else if (choice < 90) {
        if (!mine_.empty()) Send(TakeMine());
      } else {
        FreeFromMailbox(Draw(Run::kMailboxes));
      }
    }
    for (const Block& block : mine_) Send(block);  // the thread ends, its blocks live on
    mine_.clear();
  }

  // Frees what nobody has taken.
  void EmptyMailboxes() {
    for (size_t i = 0; i < Run::kMailboxes; ++i) {
      while (FreeFromMailbox(i)) {
      }
    }
  }

 private:
  uint64_t Draw(uint64_t bound) { return random_() % bound; }

  // Log-distributed; seven in eight draws stay within 32 KiB.
  size_t DrawSize() {
    const size_t limit = Draw(8) == 0 ? run_.options.largest : 32768;
    size_t bits = 0;
    while (limit >> (bits + 1) != 0) ++bits;
    const size_t low = size_t{1} << Draw(bits + 1);
    const size_t size = low + Draw(low);
    return size < limit ? size : limit;
  }

  Block TakeMine() {
    const size_t index = Draw(mine_.size());
    const Block block = mine_[index];
    mine_[index] = mine_.back();
    mine_.pop_back();
    return block;
  }

  void Send(const Block& block) {
    Run::Mailbox& mailbox = run_.mailboxes[Draw(Run::kMailboxes)];
    const std::lock_guard guard(mailbox.lock);
    mailbox.blocks.push_back(block);
  }

  bool FreeFromMailbox(size_t index) {
    Run::Mailbox& mailbox = run_.mailboxes[index];
    Block block;
    {
      const std::lock_guard guard(mailbox.lock);
      if (mailbox.blocks.empty()) return false;
      block = mailbox.blocks.back();
      mailbox.blocks.pop_back();
    }
    Free(block);
    return true;
  }

  void Allocate() {
    const size_t size = DrawSize();
    // Twice: a block may be filled to its usable size, and realloc holds two.
    if (run_.live_bytes + 2 * size > run_.options.live_limit) {
      if (!mine_.empty()) Free(TakeMine());
      return;
    }
    Block block = CallAnAllocator(size);
    if (Adopt(block)) mine_.push_back(block);
  }

  Block CallAnAllocator(size_t size) {
    Block block{.requested = size};
    const size_t alignment = size_t{16} << Draw(Draw(8) == 0 ? 18 : 9);  // to 4 KiB, rarely 2 MiB
    auto aligned = [&](Origin origin, size_t to) { block.origin = origin, block.alignment = to; };
    switch (Draw(12)) {
      case 0:
        block.address = table_.calloc(1, size);
        if (block.address != nullptr) CheckZero(block);
        return block;
      case 1:
        block.address = table_.realloc(nullptr, size);
        return block;
      case 2:
        // ISO C: the size is a multiple of the alignment (sanitizers insist).
        aligned(Origin::kAlignedAlloc, alignment);
        block.requested = (size + alignment - 1) / alignment * alignment;
        block.address = table_.aligned_alloc(alignment, block.requested);
        return block;
      case 3:
        if (table_.posix_memalign == nullptr) break;
        aligned(Origin::kMemalign, alignment);
        if (table_.posix_memalign(&block.address, alignment, size) != 0) block.address = nullptr;
        return block;
      case 4:
        if (table_.memalign == nullptr) break;
        aligned(Origin::kMemalign, alignment);
        block.address = table_.memalign(alignment, size);
        return block;
      case 5: {
        const bool whole_pages = Draw(2) == 0;
        const auto function = whole_pages ? table_.pvalloc : table_.valloc;
        if (function == nullptr) break;
        aligned(Origin::kMemalign, 4096);
        block.address = function(size);
        return block;
      }
      case 6:
      case 7:
        if (table_.operator_new == nullptr) break;
        block.origin = Origin::kNew;
        block.address = table_.operator_new(size);
        return block;
      case 8:
        if (table_.operator_new_aligned == nullptr) break;
        aligned(Origin::kNewAligned, alignment);
        block.address = table_.operator_new_aligned(size, alignment);
        return block;
      default:
        break;
    }
    block.address = table_.malloc(size);
    return block;
  }

  void CheckZero(const Block& block) {
    const size_t offset = FirstNonZero(block.address, block.requested);
    if (offset != block.requested) run_.Fail("calloc gave a byte that is not zero", block, offset);
  }

  // Checks a block that was just handed out, fills it and records it.
  // Returns: false when the run has failed.
  bool Adopt(Block& block) {
    if (block.address == nullptr) {
      run_.Fail("allocation failed", block, run_.live_bytes);
      return false;
    }
    const auto address = reinterpret_cast<uintptr_t>(block.address);
    if (address % block.alignment != 0) run_.Fail("misaligned", block, address % block.alignment);
    const size_t usable = table_.malloc_usable_size(block.address);
    if (usable < block.requested) run_.Fail("usable size too small", block, usable);
    if (run_.options.threads == 1) CheckDisjoint(block, address, usable);
    if (run_.failed) return false;
    block.filled = block.requested;
    if (Draw(8) == 0 && usable <= 2 * block.requested + 64) block.filled = usable;
    block.seed = random_();
    FillPattern(block.address, block.filled, block.seed);
    run_.live_bytes += block.filled;
    return true;
  }

  void CheckDisjoint(const Block& block, uintptr_t start, size_t usable) {
    const uintptr_t end = start + (usable > 0 ? usable : 1);
    const auto [place, is_new] = run_.live.emplace(start, end);
    if (!is_new) {
      run_.Fail("handed out twice", block, 0);
      return;
    }
    if (place != run_.live.begin() && std::prev(place)->second > start) {
      run_.Fail("overlaps the live block below", block, std::prev(place)->second - start);
    }
    if (std::next(place) != run_.live.end() && std::next(place)->first < end) {
      run_.Fail("overlaps the live block above", block, end - std::next(place)->first);
    }
  }

  // Checks a live block's contents and takes it out of the records.
  // Returns: false when the run has failed.
  bool Surrender(const Block& block) {
    const size_t offset = FirstDifference(block.address, block.filled, block.seed);
    if (offset != block.filled) {
      run_.Fail("contents changed", block, offset);
      return false;
    }
    run_.live_bytes -= block.filled;
    if (run_.options.threads == 1) run_.live.erase(reinterpret_cast<uintptr_t>(block.address));
    return true;
  }

  void Reallocate() {
    Block block = TakeMine();
    const size_t size = Draw(4) == 0 ? block.requested + Draw(100) : DrawSize();
    const bool grows_beyond =
        size > block.filled && run_.live_bytes + 2 * size > run_.options.live_limit;
    if (block.origin == Origin::kNew || block.origin == Origin::kNewAligned || size == 0 ||
        grows_beyond) {
      Free(block);
      return;
    }
    if (!Surrender(block)) return;
    Block moved{.requested = size};
    moved.address = table_.reallocarray != nullptr && Draw(4) == 0
                        ? table_.reallocarray(block.address, 1, size)
                        : table_.realloc(block.address, size);
    if (moved.address == nullptr) {
      run_.Fail("realloc failed", block, size);
      return;
    }
    // Bytes beyond the request need not survive: nobody asked for them.
    const size_t kept = block.requested < size ? block.requested : size;
    const size_t offset = FirstDifference(moved.address, kept & ~size_t{7}, block.seed);
    if (offset != (kept & ~size_t{7})) run_.Fail("realloc lost contents", moved, offset);
    const uint64_t last = PatternStart(block.seed) + kept / 8;
    const auto* tail = static_cast<const char*>(moved.address) + (kept & ~size_t{7});
    if (std::memcmp(tail, &last, kept % 8) != 0) run_.Fail("realloc lost the tail", moved, kept);
    if (Adopt(moved)) mine_.push_back(moved);
  }

  void Free(const Block& block) {
    if (!Surrender(block)) return;
    const bool sized = Draw(2) == 0;
    switch (block.origin) {
      case Origin::kMalloc:
        if (sized && table_.free_sized != nullptr) {
          return table_.free_sized(block.address, block.requested);
        }
        break;
      case Origin::kAlignedAlloc:
        if (sized && table_.free_aligned_sized != nullptr) {
          return table_.free_aligned_sized(block.address, block.alignment, block.requested);
        }
        break;
      case Origin::kMemalign:
        break;
      case Origin::kNew:
        if (sized && table_.operator_delete_sized != nullptr) {
          return table_.operator_delete_sized(block.address, block.requested);
        }
        return table_.operator_delete(block.address);
      case Origin::kNewAligned:
        return table_.operator_delete_aligned(block.address, block.requested, block.alignment);
    }
    table_.free(block.address);
  }

  Run& run_;
  const AllocationTable& table_;
  std::mt19937_64 random_;
  std::vector<Block> mine_;
};

struct ThreadArgument {
  Run* run;
  uint64_t seed;
};

void* RunWalker(void* argument) {
  const auto* start = static_cast<ThreadArgument*>(argument);
  Walker(*start->run, start->seed).Walk();
  return nullptr;
}

// Runs `threads` walkers at a time; as each ends, another takes its place.
// Small stacks stay in libc's cache, whose memory then does not move the counters.
bool RunThreads(Run& run) {
  const StressOptions& options = run.options;
  std::vector<pthread_t> threads(options.threads);
  std::vector<ThreadArgument> arguments(options.threads);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 256 << 10);
  bool started = true;
  for (unsigned life = 0; life <= options.lives; ++life) {
    for (unsigned place = 0; place < options.threads; ++place) {
      if (life > 0) pthread_join(threads[place], nullptr);
      if (life == options.lives) continue;
      arguments[place] = {&run, options.seed * 1000003 + life * options.threads + place};
      started = started &&
                pthread_create(&threads[place], &attributes, RunWalker, &arguments[place]) == 0;
    }
    if (!started) break;
  }
  pthread_attr_destroy(&attributes);
  return started;
}

std::string RunOnce(const AllocationTable& table, const StressOptions& options) {
  Run run(table, options);
  if (options.threads == 1) {
    Walker(run, options.seed).Walk();
  } else if (!RunThreads(run)) {
    return "pthread_create failed";
  }
  Walker(run, options.seed).EmptyMailboxes();
  if (run.failure.empty() && run.live_bytes != 0) return "the stress itself lost a block";
  return run.failure;
}

}  // namespace

std::string RunShadowStress(const AllocationTable& table, const StressOptions& options) {
  // A short first run: libc's and the allocator's own lasting memory is in place.
  StressOptions first = options;
  first.lives = 1;
  first.operations = 100;
  std::string failure = RunOnce(table, first);
  hardened_counters before = {}, after = {};
  if (table.get_counters != nullptr) table.get_counters(&before);
  if (failure.empty()) failure = RunOnce(table, options);
  if (table.get_counters != nullptr) table.get_counters(&after);
  if (!failure.empty()) return failure;
  if (before.live_slots != after.live_slots || before.live_runs != after.live_runs ||
      before.live_bytes != after.live_bytes) {
    return "after freeing everything: live slots " + std::to_string(before.live_slots) + " -> " +
           std::to_string(after.live_slots) + ", runs " + std::to_string(before.live_runs) +
           " -> " + std::to_string(after.live_runs) + ", bytes " +
           std::to_string(before.live_bytes) + " -> " + std::to_string(after.live_bytes);
  }
  return "";
}
