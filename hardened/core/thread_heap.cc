#include "hardened/core/thread_heap.h"

#include <algorithm>
#include <new>

#include "absl/base/attributes.h"
#include "hardened/core/empty_slabs.h"
#include "hardened/core/heap_registry.h"
#include "hardened/core/link.h"
#include "hardened/core/run.h"
#include "hardened/prim/check.h"
#include "hardened/prim/corruption_report.h"
#include "hardened/prim/sandbox.h"

namespace hardened::core {
namespace {

constexpr uint64_t kHousekeepingMs = 50;
// More allocations than a process can make.
constexpr uint64_t kNoCountdown = uint64_t{1} << 62;
// Slots of other threads' frees that one refill takes back.
constexpr uint32_t kCollectAtOnce = 1024;
// From this on, what waits is filed by who frees, in parts: of more than a batch brings.
constexpr size_t kWaitingLimit = 512 << 10;
// The same for a thread that came for it a moment ago, and will again if it does not sleep.
constexpr size_t kWaitingLimitAtOnce = 4 << 20;
// What a slot counts for at least: at random places each keeps a page.
constexpr size_t kLeastWeight = 128;
constexpr uint32_t kFiledAtOnce = 256;
// Empty batches that a thread keeps: what brings somewhat more than one refill takes back.
constexpr uint32_t kEmptyBatches = 24;
constexpr size_t kFiledBytesAtOnce = 256 << 10;
// Slots of one refill: of a thread's first of a class, unless a placement window is longer, and at
// most. Each refill doubles the next one: many threads live for a few allocations of each class.
constexpr uint32_t kFirstRefill = 8;
constexpr uint32_t kMaxRefill = 128;
// A full magazine is looked at whenever so many times what it holds came to it.
constexpr size_t kManyOverflows = 16;
// What it then keeps: one in so many.
constexpr size_t kShrunkShare = 16;
// Magazines with no more slots are left alone by housekeeping.
constexpr size_t kLeastTrimmed = 8;

constinit const MagazineEntry empty_magazine_stop = {nullptr, nullptr};

// `last`: of the refill before, 0 for the first.
uint32_t NextRefill(uint32_t last, SizeClass size_class) {
  if (last != 0) return std::min(2 * last, kMaxRefill);
  const size_t window = heap_constants->options.placement.window_bytes / SlotSize(size_class);
  return static_cast<uint32_t>(std::clamp<size_t>(window, kFirstRefill, kMaxRefill));
}

unsigned RecordShift() { return heap_constants->options.record_shift; }

constexpr HeapFront MakeEmptyHeap() {
  HeapFront front{};
  for (Magazine& magazine : front.magazines) {
    magazine.top = magazine.limit = magazine.bottom =
        const_cast<MagazineEntry*>(&empty_magazine_stop);
  }
  return front;
}

}  // namespace

constinit const HeapFront kEmptyHeap = MakeEmptyHeap();
constinit const HeapFront kExitedHeap = MakeEmptyHeap();
constinit thread_local HeapFront* current_heap = const_cast<HeapFront*>(&kEmptyHeap);

void ThreadHeap::Initialise(prim::RandomStream& random) {
  MagazineEntry* next = reinterpret_cast<MagazineEntry*>(this + 1);
  for (unsigned c = 0; c < kSizeClassCount; ++c) {
    Magazine& magazine = magazines[c];
    magazine.bottom = magazine.top = magazine.own = next;
    magazine.limit = next + MagazineCapacity(static_cast<SizeClass>(c));
    next = magazine.limit + 1;
    RestartCountdown(static_cast<SizeClass>(c), kNoCountdown);
  }
  random_ = &random;
  random_->SetMark();
}

// ---- bins

void ThreadHeap::Link(Slab& slab, Bin& bin) {
  // Behind the head: the slab that is being drawn from stays in front.
  Slab* after = bin.head;
  slab.listed = true;
  ++bin.listed;
  if (after == nullptr) {
    slab.previous = slab.next = nullptr;
    bin.head = &slab;
    return;
  }
  slab.previous = after;
  slab.next = after->next;
  if (after->next != nullptr) after->next->previous = &slab;
  after->next = &slab;
}

void ThreadHeap::Unlink(Slab& slab, Bin& bin) {
  if (slab.previous != nullptr) {
    HARDENED_CHECK(slab.previous->next == &slab);
    slab.previous->next = slab.next;
  } else {
    HARDENED_CHECK(bin.head == &slab);
    bin.head = slab.next;
  }
  if (slab.next != nullptr) {
    HARDENED_CHECK(slab.next->previous == &slab);
    slab.next->previous = slab.previous;
  }
  slab.next = slab.previous = nullptr;
  slab.listed = false;
  --bin.listed;
}

Slab* ThreadHeap::NewSlab(SizeClass size_class) {
  const CoreOptions& options = heap_constants->options;
  ArenaSpan span;
  if (IsolatesClasses()) {
    Slab* waiting = empty_slabs->Take(size_class);
    if (waiting != nullptr) {
      SetSlabOwner(*waiting, this);
      return waiting;
    }
    span = empty_slabs->TakeSpan(size_class);
  }
  const bool reused = span.arena != nullptr;
  const uint32_t slices = SlabSlices(size_class);
  const bool may_guard = options.guard_slab_interval != 0 && home_ == nullptr && !reused;
  const bool guarded = may_guard && ++new_slabs_ % options.guard_slab_interval == 0;
  if (!reused) span = AllocateSpan(SpanPurpose::kSlabs, slices + guarded);
  if (span.arena == nullptr) return nullptr;
  Arena* metadata_arena = nullptr;
  void* block =
      heap_state.AllocateMetadata(Slab::MetadataBytes(size_class, RecordShift()), &metadata_arena);
  if (block == nullptr) {
    if (reused) {
      empty_slabs->PutSpan(span, size_class);
    } else {
      span.arena->FreeSpan(span.first, !span.zero, prim::CoarseMilliseconds());
    }
    return nullptr;
  }
  Slab* slab = ::new (block) Slab;
  slab->Initialise(*span.arena, *metadata_arena, span.first, size_class, RecordShift(), span.zero);
  if (may_guard) GuardBehind(*slab, slices + guarded);
  DescribeSlab(*slab, this);
  return slab;
}

ArenaSpan ThreadHeap::AllocateSpan(SpanPurpose purpose, uint32_t slices, uint32_t alignment,
                                   uint32_t lead) {
  if (home_ == nullptr) return heap_state.AllocateSpan(purpose, slices, alignment, lead);
  ArenaSpan span;
  span.first = home_->AllocateSpan(slices, alignment, lead, &span.zero);
  if (span.first != kNoSpan && span.first != kRefusedSpan) span.arena = home_;
  return span;
}

void ThreadHeap::GuardBehind(const Slab& slab, uint32_t slices) {
  // What the slots leave of the slab's last page on, and the guard slice.
  const uintptr_t used_end =
      slab.base() + uintptr_t{slab.slot_count()} * SlotSize(slab.size_class());
  const uintptr_t start = RoundUpTo(used_end, prim::PageSize());
  const uintptr_t end = slab.arena().AddressOf(slab.first_slice() + slices);
  // Refused: the slab has no guard, and the page source counts it.
  if (start < end) {
    slab.arena().pages().InstallGuard(reinterpret_cast<void*>(start), end - start,
                                      prim::GuardChange::kWhole);
  }
}

void ThreadHeap::RetireSlab(Slab& slab, Bin& bin) {
  Unlink(slab, bin);
  sparse_slabs_.Forget(slab);
  const uint64_t now = prim::CoarseMilliseconds();
  SetSlabOwner(slab, nullptr);
  if (IsolatesClasses()) return empty_slabs->Put(slab, now, heap_constants->options.purge);
  Arena& arena = slab.arena();
  const uint32_t first = slab.first_slice();
  FreeSlabMetadata(slab);
  arena.FreeSpan(first, /*dirty=*/true, now);
}

void ThreadHeap::Refile(Slab& slab) {
  Bin& bin = bins_[slab.size_class()];
  if (!slab.listed) Link(slab, bin);
  // One slab with free slots stays, so that a class at its edge does not make and retire slabs.
  if (slab.empty() && bin.listed > 1) return RetireSlab(slab, bin);
  if (slab.free_count() >= slab.notice) sparse_slabs_.Note(slab);
}

void ThreadHeap::ReturnToSlabs(const MagazineEntry* entries, size_t count) {
  // Neighbours in a magazine often share their slab; a slab is looked up and filed once for each
  // such group.
  for (size_t i = 0; i < count;) {
    const SliceDescriptor& slice =
        *heap_state.FindSlice(reinterpret_cast<uintptr_t>(entries[i].slot));
    Slab& slab = *Slab::OfRecords(slice.records);
    const size_t group = i;
    uint32_t index = slab.IndexOfRecord(entries[i].record);
    do {
      slab.Return(index);
      ++i;
    } while (i < count && (index = slab.IndexOfRecord(entries[i].record)) < slab.slot_count());
    bins_[slab.size_class()].taken -= i - group;
    Refile(slab);
  }
}

Slab* ThreadHeap::OpenSlab(SizeClass size_class) {
  Bin& bin = bins_[size_class];
  uint64_t taken = 0;
  Slab* slab = home_ == nullptr ? heap_registry.Adopt(*this, size_class, &taken) : nullptr;
  if (slab == nullptr) {
    slab = NewSlab(size_class);
    if (slab == nullptr) return nullptr;
    // The place of the first one after a fork is known to the parent.
    slab->generation = bin.generation;
    bin.generation = heap_state.generation();
  }
  bin.taken += taken;
  Link(*slab, bin);
  return slab;
}

void ThreadHeap::FileDrawn(Slab& slab, uint32_t count) {
  Bin& bin = bins_[slab.size_class()];
  bin.taken += count;
  if (slab.free_count() < slab.sparse_from()) sparse_slabs_.Forget(slab);
  if (slab.free_count() == 0) Unlink(slab, bin);
}

const Placement& ThreadHeap::PlacementIn(const Slab& slab) const {
  static constexpr Placement kUniform;
  const bool known = home_ == nullptr && slab.generation != heap_state.generation();
  return known ? kUniform : heap_constants->options.placement;
}

uint32_t ThreadHeap::DrawFromLanes(SizeClass size_class, uint32_t count, MagazineEntry* out) {
  const Placement& placement = heap_constants->options.placement;
  Slab* lanes[Placement::kMaxLanes];
  uint32_t open = 0;
  for (Slab* slab = bins_[size_class].head; slab != nullptr && open < placement.lanes;
       slab = slab->next) {
    lanes[open++] = slab;
  }
  while (open < placement.lanes) {
    Slab* slab = OpenSlab(size_class);
    if (slab == nullptr) break;
    lanes[open++] = slab;
  }
  uint32_t drawn = 0;
  while (drawn < count && open > 0) {
    Slab*& lane = lanes[random_->Below16(open)];
    lane->Draw(PlacementIn(*lane), *random_, 1, &out[drawn++]);
    FileDrawn(*lane, 1);
    if (lane->free_count() == 0) lane = lanes[--open];
  }
  return drawn;
}

bool ThreadHeap::Refill(SizeClass size_class) {
  // A child of clone(), say: nobody but the kernel took notice of the fork.
  if (!random_->mark()) [[unlikely]] {
    heap_state.NextGeneration();
    MakeStockStale();
  }
  const uint64_t now = prim::CoarseMilliseconds();
  Housekeep(now);
  ReturnStale(size_class);
  const HeapPlug& plug = heap_constants->options.plug;
  if (plug.refill != nullptr && plug.refill(*this, size_class)) return true;
  const SlowSide slow_side(*this);
  Magazine& magazine = magazines[size_class];
  Bin& bin = bins_[size_class];
  if (HasIncoming()) {
    attended_ms_.store(now, std::memory_order_relaxed);
    Collect(kCollectAtOnce);
    if (magazine.count() > 0) return true;
    if (plug.refill != nullptr && plug.refill(*this, size_class)) return true;
  }
  Slab* slab = bin.head != nullptr ? bin.head : OpenSlab(size_class);
  if (slab == nullptr) return false;
  magazine.limit = magazine.bottom + MagazineCapacity(size_class);
  const size_t half = (magazine.capacity() + 1) / 2;
  const Placement& placement = heap_constants->options.placement;
  bin.refill = NextRefill(bin.refill, size_class);
  const uint32_t wanted = half < bin.refill ? static_cast<uint32_t>(half) : bin.refill;
  // The magazine is empty.
  MagazineEntry* const drawn = magazine.bottom + 1;
  uint32_t count = 0;
  if (placement.lanes > 1 && placement.window_bytes != 0) {
    count = DrawFromLanes(size_class, wanted, drawn);
  } else {
    count = slab->Draw(PlacementIn(*slab), *random_, wanted, drawn);
    FileDrawn(*slab, count);
  }
  HARDENED_CHECK(count > 0);
  std::reverse(drawn, drawn + count);
  magazine.top = magazine.bottom + count;
  return true;
}

void ThreadHeap::Flush(SizeClass size_class) {
  {
    const SlowSide slow_side(*this);
    ReturnStale(size_class);
    const Magazine& magazine = magazines[size_class];
    const uint32_t half = static_cast<uint32_t>(magazine.count() / 2);
    if (!NoteOverflow(size_class, half) || magazine.top == magazine.limit) FlushHalf(size_class);
  }
  Housekeep(prim::CoarseMilliseconds());
}

bool ThreadHeap::NoteOverflow(SizeClass size_class, uint32_t slots) {
  Bin& bin = bins_[size_class];
  Magazine& magazine = magazines[size_class];
  const size_t capacity = magazine.capacity();
  bin.overflows += slots;
  if (bin.overflows < kManyOverflows * capacity) return false;
  bin.overflows = 0;
  const uint64_t before = bin.allocations_at_overflow;
  bin.allocations_at_overflow = AllocationsOf(size_class);
  if (bin.allocations_at_overflow != before || capacity < 2 * kShrunkShare) return false;
  const size_t stays = capacity / kShrunkShare;
  if (magazine.count() > stays) FlushOldest(size_class, magazine.count() - stays);
  magazine.limit = magazine.bottom + stays;
  return true;
}

void ThreadHeap::FlushHalf(SizeClass size_class) {
  FlushOldest(size_class, (magazines[size_class].count() + 1) / 2);
}

void ThreadHeap::FlushOldest(SizeClass size_class, size_t leaving) {
  Magazine& magazine = magazines[size_class];
  ReturnToSlabs(magazine.bottom + 1, leaving);
  const size_t staying = magazine.count() - leaving;
  for (size_t i = 1; i <= staying; ++i) magazine.bottom[i] = magazine.bottom[leaving + i];
  magazine.top = magazine.bottom + staying;
}

void ThreadHeap::TrimMagazines() {
  const SlowSide slow_side(*this);
  for (unsigned c = 0; c < kSizeClassCount; ++c) {
    const uint64_t allocations = AllocationsOf(static_cast<SizeClass>(c));
    const uint64_t taken = allocations - allocations_at_trim_[c];
    allocations_at_trim_[c] = allocations;
    const size_t count = magazines[c].count();
    if (count > kLeastTrimmed && taken < count / 4) FlushHalf(static_cast<SizeClass>(c));
  }
}

void ThreadHeap::Housekeep(uint64_t now) {
  if (now - last_housekeeping_ms_ < kHousekeepingMs || prim::IsStrictThread()) return;
  last_housekeeping_ms_ = now;
  // What a heap with a home hands out must not depend on the time.
  if (home_ == nullptr) {
    TrimMagazines();
    const HeapPlug& plug = heap_constants->options.plug;
    if (plug.groom != nullptr) plug.groom(*this);
  }
  held_runs->Age(now, heap_constants->options.purge.delay_ms);
  run_cache->Purge(now, heap_constants->options.purge.delay_ms);
  heap_state.Purge(now, /*force=*/false);
  empty_slabs->Purge(now, /*force=*/false, heap_constants->options.purge);
  FlushOutgoing();
  TrimBatches(kEmptyBatches);
  heap_registry.Reclaim(now);
}

// ---- remote frees

void ThreadHeap::SendRemote(ThreadHeap* owner, void* slot, SizeClass size_class) {
  OutgoingBatch& out = OutgoingFor(owner);
  if (out.owner != owner && !BeginBatch(out, owner)) {
    ++remote_sent_slots_;
    remote_sent_bytes_ += SlotSize(size_class);
    // Nobody comes for what is an orphan's: its record stays what it is.
    if (!owner->orphan_) PushAlone(*owner, slot, size_class);
    return;
  }
  out.batch->addresses[out.count++] = reinterpret_cast<uintptr_t>(slot);
  out.bytes += static_cast<uint32_t>(SlotSize(size_class));
  if (out.count == RemoteBatch::kSlots || out.bytes >= kBatchBytes) PushBatch(out);
}

bool ThreadHeap::BeginBatch(OutgoingBatch& out, ThreadHeap* owner) {
  if (owner->orphan_) return false;
  RemoteBatch* const batch = TakeBatch();
  if (batch == nullptr) return false;
  if (out.owner != nullptr) PushBatch(out);
  out = {.owner = owner, .batch = batch, .count = 0, .bytes = 0};
  return true;
}

RemoteBatch* ThreadHeap::TakeBatch() {
  if (empty_batches_ == nullptr) {
    uint64_t count;
    empty_batches_ = returned_.TakeAll(&count);
    empty_batch_count_ = static_cast<uint32_t>(count);
  }
  if (empty_batches_ != nullptr) {
    RemoteBatch* const batch = empty_batches_;
    empty_batches_ = batch->next;
    --empty_batch_count_;
    return batch;
  }
  // Where there is no memory, not every free asks for some.
  if (alone_left_ != 0) {
    --alone_left_;
    return nullptr;
  }
  Arena* arena = nullptr;
  void* const block = heap_state.AllocateMetadata(sizeof(RemoteBatch), &arena);
  if (block == nullptr) {
    alone_left_ = RemoteBatch::kSlots;
    return nullptr;
  }
  RemoteBatch* const batch = static_cast<RemoteBatch*>(block);
  batch->sender = this;
  batch->arena = arena;
  return batch;
}

void ThreadHeap::ReturnBatch(RemoteBatch& batch) {
  if (batch.sender->orphan_ || !batch.sender->returned_.Return(batch)) FreeBatch(batch);
}

void ThreadHeap::FreeBatch(RemoteBatch& batch) {
  batch.arena->FreeMetadata(&batch, sizeof(RemoteBatch));
}

void ThreadHeap::TrimBatches(uint32_t stay) {
  while (empty_batch_count_ > stay) {
    RemoteBatch& batch = *empty_batches_;
    empty_batches_ = batch.next;
    --empty_batch_count_;
    FreeBatch(batch);
  }
  uint64_t count;
  for (RemoteBatch* batch = returned_.TakeAll(&count); batch != nullptr;) {
    RemoteBatch* const next = batch->next;
    if (empty_batch_count_ < stay) {
      batch->next = empty_batches_;
      empty_batches_ = batch;
      ++empty_batch_count_;
    } else {
      FreeBatch(*batch);
    }
    batch = next;
  }
}

void ThreadHeap::PushBatch(OutgoingBatch& out) {
  ThreadHeap& owner = *out.owner;
  RemoteBatch& batch = *out.batch;
  batch.count = out.count;
  batch.bytes = out.bytes;
  remote_sent_slots_ += out.count;
  remote_sent_bytes_ += out.bytes;
  out = {};
  const size_t weight =
      std::max<size_t>({batch.bytes, batch.count * kLeastWeight, sizeof(RemoteBatch)});
  NoteWaiting(owner, owner.incoming_.Push(batch, weight));
}

void ThreadHeap::PushAlone(ThreadHeap& owner, void* slot, SizeClass size_class) {
  const size_t weight = std::max(SlotSize(size_class), kLeastWeight);
  NoteWaiting(owner, owner.incoming_.PushAlone(reinterpret_cast<uintptr_t>(slot), weight));
}

void ThreadHeap::NoteWaiting(ThreadHeap& owner, size_t waiting) {
  if (waiting > kWaitingLimit) [[unlikely]]
    heap_registry.Relieve(owner, /*at_once=*/waiting > kWaitingLimitAtOnce);
}

void ThreadHeap::FlushOutgoing() {
  for (OutgoingBatch& out : outgoing_) {
    if (out.owner != nullptr) PushBatch(out);
  }
}

void ThreadHeap::CheckPending(uintptr_t address) {
  const SliceDescriptor* slice = heap_state.FindSlice(address);
  const uint32_t index = slice == nullptr ? 0 : slice->IndexOf(address);
  const bool is_slot = slice != nullptr && slice->use == SliceUse::kSlab && !slice->released &&
                       index < slice->slot_count;
  const RecordValue record =
      is_slot ? slice->RecordAt(index, RecordShift()).load(std::memory_order_relaxed)
              : kUnusedZeroRecord;
  // See Receive(). Detects as well: a forged link that passed its tag.
  if (record == kPendingRecord) return;
  prim::ReportCorruption(
      {.kind = is_slot ? prim::CorruptionKind::kDoubleFree : prim::CorruptionKind::kBadLink,
       .address = address,
       .slot_start = is_slot ? address : 0,
       .slot_size = is_slot ? SlotSize(slice->size_class) : 0,
       .slot_index = index,
       .in_slab = is_slot,
       .found_by = "collection",
       .level = heap_constants->level});
}

uintptr_t ThreadHeap::TakeOutOfList(uintptr_t address) {
  CheckPending(address);
  uint64_t word;
  __builtin_memcpy(&word, reinterpret_cast<void*>(address), sizeof(word));
  uintptr_t next = 0;
  // Detects: a write over the first 8 bytes of a slot that came alone, before it was collected; one
  //          in 2^21 random words passes here and then fails at the next slot.
  // Misses:  a write elsewhere in the slot; a write after the collection.
  // Cost:    two multiplications and one comparison for such a slot.
  if (!DecodeLink(heap_constants->link_keys, address, word, &next)) {
    prim::ReportCorruption({.kind = prim::CorruptionKind::kBadLink,
                            .address = address,
                            .found_by = "collection",
                            .level = heap_constants->level});
  }
  const uint64_t cleared = 0;
  __builtin_memcpy(reinterpret_cast<void*>(address), &cleared, sizeof(cleared));
  return next;
}

void ThreadHeap::Collect(uint32_t most) {
  for (uint32_t collected = 0; collected < most;) {
    if (backlog_ == nullptr) backlog_ = incoming_.TakeBatches();
    if (backlog_ == nullptr) break;
    RemoteBatch& batch = *backlog_;
    backlog_ = batch.next;
    collected += batch.count;
    remote_sent_slots_ -= batch.count;
    remote_sent_bytes_ -= batch.bytes;
    CollectSlots(batch.slots());
    ReturnBatch(batch);
  }
  for (; most > 0; --most) {
    if (backlog_alone_ == 0) backlog_alone_ = incoming_.TakeAlone();
    const uintptr_t address = backlog_alone_;
    if (address == 0) break;
    backlog_alone_ = TakeOutOfList(address);
    --remote_sent_slots_;
    remote_sent_bytes_ -= SlotSize(heap_state.FindSlice(address)->size_class);
    CollectSlots({&address, 1});
  }
}

void ThreadHeap::CollectSlots(std::span<const uintptr_t> slots) {
  const CoreOptions& options = heap_constants->options;
  if (options.plug.keep != nullptr) return options.plug.keep(*this, slots);
  for (const uintptr_t address : slots) {
    MagazineEntry entry;
    SizeClass size_class;
    if (!Receive(address, &entry, &size_class)) [[unlikely]]
      continue;
    entry.record->store(kFreedRecord, std::memory_order_relaxed);
    Magazine& magazine = magazines[size_class];
    if (options.collect_into_magazine && magazine.top != magazine.limit) [[likely]] {
      *++magazine.top = entry;
    } else {
      ReturnSlot(entry, size_class);
    }
  }
}

void ThreadHeap::PassOn(uintptr_t address) {
  CheckPending(address);
  const SliceDescriptor& slice = *heap_state.FindSlice(address);
  SendRemote(slice.owner.load(std::memory_order_relaxed), reinterpret_cast<void*>(address),
             slice.size_class);
}

bool ThreadHeap::FileWaiting() {
  uint64_t slots = 0;
  uint64_t bytes = 0;
  const auto enough = [&] { return slots >= kFiledAtOnce || bytes >= kFiledBytesAtOnce; };
  while (backlog_ != nullptr && !enough()) {
    RemoteBatch& batch = *backlog_;
    backlog_ = batch.next;
    slots += batch.count;
    bytes += batch.bytes;
    for (const uintptr_t address : batch.slots()) {
      CheckPending(address);
      FileForOwner(address);
    }
    ReturnBatch(batch);
  }
  while (backlog_alone_ != 0 && !enough()) {
    const uintptr_t address = backlog_alone_;
    backlog_alone_ = TakeOutOfList(address);
    ++slots;
    bytes += SlotSize(heap_state.FindSlice(address)->size_class);
    FileForOwner(address);
  }
  // The counters of this heap are its thread's.
  if (slots != 0) heap_registry.CountSentAlone(-slots, -bytes);
  if (backlog_ != nullptr || backlog_alone_ != 0) return true;
  backlog_ = incoming_.TakeBatches();
  backlog_alone_ = incoming_.TakeAlone();
  helped_ms_ = prim::CoarseMilliseconds();
  return false;
}

void ThreadHeap::FileForOwner(uintptr_t address) {
  const SliceDescriptor& slice = *heap_state.FindSlice(address);
  void* const slot = reinterpret_cast<void*>(address);
  ThreadHeap* const owner = slice.owner.load(std::memory_order_relaxed);
  if (owner != this) return SendRemoteAlone(owner, slot, slice.size_class);
  const MagazineEntry entry = {slot, &slice.RecordAt(slice.IndexOf(address), RecordShift())};
  const HeapPlug& plug = heap_constants->options.plug;
  if (plug.settle == nullptr) {
    entry.record->store(kFreedRecord, std::memory_order_relaxed);
  } else if (!plug.settle(entry, slice.size_class)) {
    return;
  }
  ReturnSlot(entry, slice.size_class);
}

void ThreadHeap::SendRemoteAlone(ThreadHeap* owner, void* slot, SizeClass size_class) {
  heap_registry.CountSentAlone(1, SlotSize(size_class));
  PushAlone(*owner, slot, size_class);
}

void ThreadHeap::ReleaseEverything(bool keep_one) {
  const SlowSide slow_side(*this);
  Collect(UINT32_MAX);
  FlushOutgoing();
  for (unsigned c = 0; c < kSizeClassCount; ++c) {
    ReturnStale(static_cast<SizeClass>(c));
    while (magazines[c].count() > 0) FlushHalf(static_cast<SizeClass>(c));
    bins_[c].refill = bins_[c].overflows = 0;
    bins_[c].allocations_at_overflow = UINT64_MAX;
  }
  const HeapPlug& plug = heap_constants->options.plug;
  if (plug.drain != nullptr) plug.drain(*this);
  RetireEmptySlabs(keep_one);
  TrimBatches(0);
}

void ThreadHeap::SortByAddress(Bin& bin) {
  Slab* sorted = nullptr;
  for (Slab* slab = bin.head; slab != nullptr;) {
    Slab* const next = slab->next;
    Slab** link = &sorted;
    while (*link != nullptr && (*link)->base() < slab->base()) link = &(*link)->next;
    slab->next = *link;
    *link = slab;
    slab = next;
  }
  Slab* previous = nullptr;
  for (Slab* slab = sorted; slab != nullptr; slab = slab->next) {
    slab->previous = previous;
    previous = slab;
  }
  bin.head = sorted;
}

void ThreadHeap::Reset(std::span<const std::byte, prim::RandomStream::kKeyBytes> key) {
  HARDENED_CHECK(home_ != nullptr);
  ReleaseEverything(/*keep_one=*/false);
  for (Bin& bin : bins_) SortByAddress(bin);
  home_->Normalise();
  random_->Seed(key, 0);
}

void ThreadHeap::RenewAfterFork() {
  heap_state.SeedStream(*random_);
  MakeStockStale();
}

void ThreadHeap::MakeStockStale() {
  random_->SetMark();
  for (unsigned c = 0; c < kSizeClassCount; ++c) {
    const Magazine& magazine = magazines[c];
    Bin& bin = bins_[c];
    // Cut before, or at its end in this very moment, below a signal handler.
    if (bin.cut_countdown != 0 || magazine.countdown == 0 || magazine.count() == 0) continue;
    bin.cut_countdown = magazine.countdown;
    RestartCountdown(static_cast<SizeClass>(c), 1);
  }
}

bool ThreadHeap::ReturnStale(SizeClass size_class) {
  Bin& bin = bins_[size_class];
  if (bin.cut_countdown == 0) return false;
  const SlowSide slow_side(*this);
  RestartCountdown(size_class, bin.cut_countdown);
  bin.cut_countdown = 0;
  Magazine& magazine = magazines[size_class];
  ReturnToSlabs(magazine.bottom + 1, magazine.count());
  magazine.top = magazine.bottom;
  return true;
}

void ThreadHeap::RetireEmptySlabs(bool keep_one) {
  for (Bin& bin : bins_) {
    for (Slab* slab = bin.head; slab != nullptr;) {
      Slab* next = slab->next;
      if (slab->empty() && (!keep_one || bin.listed > 1)) RetireSlab(*slab, bin);
      slab = next;
    }
  }
}

// Reads what the owner writes without synchronisation; the sums are exact when it is quiet.
__attribute__((no_sanitize("thread"))) void ThreadHeap::AddTo(Tally& tally) const {
  for (unsigned c = 0; c < kSizeClassCount; ++c) {
    // At this moment top and bottom may be those of different blocks.
    const size_t count = magazines[c].count();
    const uint64_t held = bins_[c].taken - (count <= kMostInMagazine ? count : 0);
    tally.allocations += started_countdowns_[c] - magazines[c].countdown;
    tally.taken_slots += held;
    tally.taken_bytes += held * SlotSize(static_cast<SizeClass>(c));
  }
  tally.remote_sent_slots += remote_sent_slots_;
  tally.remote_sent_bytes += remote_sent_bytes_;
  for (const OutgoingBatch& out : outgoing_) {
    tally.remote_sent_slots += out.count;
    tally.remote_sent_bytes += out.bytes;
  }
  tally.run_allocations += run_allocations_;
  tally.live_runs += live_runs_;
  tally.live_run_bytes += live_run_bytes_;
  const HeapPlug& plug = heap_constants->options.plug;
  if (plug.count_held == nullptr) return;
  uint64_t slots = 0;
  uint64_t bytes = 0;
  plug.count_held(*this, &slots, &bytes);
  tally.taken_slots -= slots;
  tally.taken_bytes -= bytes;
}

}  // namespace hardened::core
