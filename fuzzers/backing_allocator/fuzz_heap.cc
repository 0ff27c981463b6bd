#include "fuzzers/backing_allocator/fuzz_heap.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include <array>
#include <atomic>
#include <string_view>

#include "fuzzers/backing_allocator/backing_allocator.h"
#include "fuzzers/backing_allocator/input.h"
#include "fuzzers/backing_allocator/options.h"
#include "hardened/core/heap_registry.h"
#include "hardened/fault_report.h"
#include "hardened/prim/environment.h"
#include "hardened/prim/lock.h"
#include "hardened/prim/raw_writer.h"
#include "hardened/prim/stack_trace.h"
#include "hardened/prim/system_info.h"

// The program's own words; absent in most.
extern "C" [[gnu::weak, gnu::visibility("default")]] const char hardened_fuzz_default_options[];

namespace hardened::fuzzing {

constinit thread_local bool in_input = false;
constinit HomeRange home_range;

namespace {

using core::AllocationKind;

// Address space of the home arena: enough for any budget, and for a slice around each sample.
constexpr size_t kHomeBytes = size_t{64} << 30;
constexpr size_t kLeastHomeBytes = size_t{1} << 30;
// The cage and its metadata lie below 66 TiB; programs, libraries and stacks above 80 TiB.
constexpr uintptr_t kHomeStart = uintptr_t{68} << 40;
constexpr uintptr_t kHomeChoices = (uintptr_t{8} << 40) / core::kSegmentSize;

// S. Vigna's splitmix64.
uint64_t Mix(uint64_t z) {
  z += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

uint64_t HashOf(const uint8_t* data, size_t size) {
  uint64_t hash = size;
  for (size_t i = 0; i < size; i += sizeof(uint64_t)) {
    uint64_t word = 0;
    const size_t left = size - i;
    __builtin_memcpy(&word, data + i, left < sizeof(word) ? left : sizeof(word));
    hash = Mix(hash ^ word);
  }
  return hash;
}

// ---- the stacks of an input that is run to find out who leaks

struct Allocated {
  static constexpr size_t kFrames = 8;
  uintptr_t address;
  uint64_t number;  // within the input
  std::array<uintptr_t, kFrames> stack;
};
constexpr size_t kMaxNotes = 16 * 1024;
// Of an input, in their order; more are forgotten.
constinit std::array<Allocated, kMaxNotes> notes{};
constinit size_t note_count = 0;

// What was live before that input, by address; of more than this some are taken for new.
constexpr size_t kMaxSeen = 4 * 1024;
constinit std::array<uintptr_t, kMaxSeen> seen{};
constinit size_t seen_count = 0;

// ---- the input under way

struct Input {
  hardened_fuzz_options options = {};
  uint64_t salt = 0;  // of the seed and the bytes of the input
  uint64_t allocations = 0;
  uint64_t refused = 0;
  uint64_t live_before = 0;
  bool noting = false;  // takes notes
  core::ThreadHeap* ordinary = nullptr;
};

constinit std::atomic<bool> busy{false};
constinit Input input;
constinit core::Arena* home = nullptr;
constinit core::ThreadHeap* heap = nullptr;
// Bytes that the input has live. Other threads may free.
constinit std::atomic<int64_t> live_bytes{0};

// ---- death: who handles it must find an ordinary heap

constexpr std::array kSignals = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
constinit std::array<struct sigaction, kSignals.size()> previous_actions{};

void LeaveInput() {
  if (!in_input) return;
  in_input = false;
  core::HeapRegistry::SwitchTo(*input.ordinary);
}

// Engines allocate when they write down what crashed, where no allocation may fail any more.
void OnDeath(int signal, siginfo_t* info, void* context) {
  if (signal == SIGSEGV) ExplainFault(*info);
  LeaveInput();
  for (size_t i = 0; i < kSignals.size(); ++i) {
    if (kSignals[i] != signal) continue;
    const struct sigaction& previous = previous_actions[i];
    if ((previous.sa_flags & SA_SIGINFO) != 0) return previous.sa_sigaction(signal, info, context);
    if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
      return previous.sa_handler(signal);
    }
    sigaction(signal, &previous, nullptr);
    raise(signal);
    return;
  }
}

void InstallHandlers() {
  for (size_t i = 0; i < kSignals.size(); ++i) {
    struct sigaction action = {};
    action.sa_sigaction = &OnDeath;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(kSignals[i], nullptr, &previous_actions[i]);
    sigaction(kSignals[i], &action, nullptr);
  }
}

// ---- walks over the memory of inputs

// Calls `slab(slice, first slice)` and `run(run)` for all that is in use.
template <class OnSlab, class OnRun>
void ForEachSpan(OnSlab on_slab, OnRun on_run) {
  uint32_t behind = 0;
  for (uint32_t first = home->NextUsedSpan(0, &behind); first != core::kNoSpan;
       first = home->NextUsedSpan(behind, &behind)) {
    for (uint32_t i = first; i < behind; ++i) {
      const core::SliceDescriptor& slice = home->slices()[i];
      if (slice.released) continue;
      if (slice.use == core::SliceUse::kSlab) {
        on_slab(slice, home->AddressOf(first));
        break;
      }
      // Only the slice where its data starts knows a run.
      if (slice.use != core::SliceUse::kRun) continue;
      core::Run& run = *core::Run::OfRecord(slice.records);
      if (run.arena != home || run.first_slice != first) continue;
      on_run(run);
      break;
    }
  }
}

// Calls `visit(address, size)` for each live allocation, in the order of addresses.
template <class Visit>
void ForEachLive(Visit visit) {
  ForEachSpan(
      [&visit](const core::SliceDescriptor& slice, uintptr_t base) {
        const size_t size = core::SlotSize(slice.size_class);
        for (uint32_t i = 0; i < slice.slot_count; ++i) {
          const core::RecordValue value = slice.RecordAt(i, FuzzHeap::kFeatures.core.record_shift)
                                              .load(std::memory_order_relaxed);
          if (core::IsLive(value)) visit(base + i * size, size - core::SlackOf(value));
        }
      },
      [&visit](const core::Run& run) {
        if (core::IsLive(run.record.load(std::memory_order_relaxed))) {
          visit(run.data, run.requested);
        }
      });
}

// Detects: damage of any canary and any write to freed memory that was not used again.
// Cost:    a pass over all slots that the input used.
void CheckEverything() {
  constexpr const char* kFoundBy = "the end of the input";
  ForEachSpan(
      [](const core::SliceDescriptor& slice, uintptr_t base) {
        const size_t size = core::SlotSize(slice.size_class);
        for (uint32_t i = 0; i < slice.slot_count; ++i) {
          CheckLiveCanary(slice, i, base + i * size, size, kFoundBy);
          CheckFreeSlot(slice, i, base + i * size, size, kFoundBy);
        }
      },
      [](const core::Run& run) {
        if (core::IsLive(run.record.load(std::memory_order_relaxed))) {
          FuzzHeap::UsableSize(reinterpret_cast<void*>(run.data));
        }
      });
}

struct Live {
  uint64_t count = 0;
  uint64_t bytes = 0;
};

Live CountLive() {
  Live live;
  ForEachLive([&live](uintptr_t, size_t size) {
    ++live.count;
    live.bytes += size;
  });
  return live;
}

// The bytes of the live allocation at `address`, which is of an input; 0 when there is none.
size_t LiveSizeAt(uintptr_t address) {
  const core::SliceDescriptor& slice = home->SliceAt(address);
  if (slice.use == core::SliceUse::kNone || slice.released) return 0;
  const uint32_t index = slice.IndexOf(address);
  if (index >= slice.slot_count) return 0;
  core::SlotRecord& record = slice.RecordAt(index, FuzzHeap::kFeatures.core.record_shift);
  const core::RecordValue value = record.load(std::memory_order_relaxed);
  if (!core::IsLive(value)) return 0;
  return slice.use == core::SliceUse::kRun
             ? core::Run::OfRecord(&record)->requested
             : core::SlotSize(slice.size_class) - core::SlackOf(value);
}

bool IsOfInput(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) - home_range.base < home_range.bytes;
}

// ---- options

void RejectWord(std::string_view word) {
  prim::RawWriter out;
  out.Text("hardened: HARDENED_FUZZ: not understood, ignored: '").Text(word).Text("'\n").Flush(2);
}

constinit prim::Lock options_lock;
constinit bool options_read = false;
constinit hardened_fuzz_options process_options = kDefaultOptions;

void ReadOptions() {
  const prim::LockGuard guard(options_lock);
  if (options_read) return;
  options_read = true;
  if (hardened_fuzz_default_options != nullptr) {
    ParseOptions(hardened_fuzz_default_options, &process_options, &RejectWord);
  }
  ParseOptions(prim::FindEnvironment("HARDENED_FUZZ", prim::ProcessEnvironment()), &process_options,
               &RejectWord);
}

// ---- begin and end

bool Setup(uint64_t seed) {
  if (heap != nullptr) return true;
  if (home == nullptr) {
    const uintptr_t hint = kHomeStart + Mix(seed) % kHomeChoices * core::kSegmentSize;
    for (size_t bytes = kHomeBytes; home == nullptr && bytes >= kLeastHomeBytes; bytes /= 2) {
      home = core::heap_state.MakeHomeArena(bytes, hint);
    }
    if (home == nullptr) return false;
    home_range = {home->base(), home->heap_bytes()};
    if (home->base() != hint) {
      prim::RawWriter out;
      out.Text(
          "hardened: the address of the seed is taken; addresses hold for this process only\n");
      out.Flush(2);
    }
  }
  core::ThreadHeap* made = core::heap_registry.MakeHeapAt(*home);
  if (made == nullptr) return false;
  InstallHandlers();
  heap = made;
  return true;
}

bool Begin(const hardened_fuzz_options& options, const uint8_t* data, size_t size) {
  if (!StartHeap(FuzzHeap::kFeatures)) return false;
  core::ThreadHeap* ordinary = core::CurrentHeapOrNew();
  if (ordinary == nullptr || busy.exchange(true, std::memory_order_acquire)) return false;
  if (!Setup(options.seed)) {
    busy.store(false, std::memory_order_release);
    return false;
  }
  // What is held, and the limit of samples, is shared with the ordinary heap: let it have none.
  StopSampling(*ordinary);
  // What the ordinary heap freed of earlier inputs counts as freed.
  ordinary->FlushOutgoing();
  input.options = options;
  input.salt = Mix(options.seed) ^ HashOf(data, size);
  input.allocations = input.refused = 0;
  input.ordinary = ordinary;
  core::HeapRegistry::SwitchTo(*heap);
  core::ReleaseHeldRuns(prim::CoarseMilliseconds());
  std::array<std::byte, prim::RandomStream::kKeyBytes> key{};
  __builtin_memcpy(key.data(), &options.seed, sizeof(options.seed));
  heap->Reset(key);
  // Samples differ from input to input: with the seed alone the first allocation would be one in
  // all inputs or in none.
  ResetPlugs(*heap, input.salt);
  input.live_before = CountLive().count;
  live_bytes.store(0, std::memory_order_relaxed);
  in_input = true;
  return true;
}

void End(hardened_fuzz_result* out) {
  CheckEverything();
  heap->ReleaseEverything(/*keep_one=*/false);
  core::ReleaseHeldRuns(prim::CoarseMilliseconds());
  const Live live = CountLive();
  LeaveInput();
  *out = {.allocations = input.allocations,
          .refused = input.refused,
          .live_before = input.live_before,
          .live_after = live.count,
          .bytes_after = live.bytes};
  busy.store(false, std::memory_order_release);
}

// ---- within an input

// Whether the next allocation is to succeed. `replaced` bytes go in exchange.
bool Admit(size_t bytes, size_t replaced) {
  const hardened_fuzz_options& options = input.options;
  const uint64_t number = ++input.allocations;
  bool refused = number == options.fail_at || bytes > options.fail_above;
  if (options.fail_of != 0) {
    refused |= Mix(input.salt + number) % options.fail_of < options.fail_hits;
  }
  if (options.budget_bytes != 0) {
    const int64_t live =
        live_bytes.load(std::memory_order_relaxed) - static_cast<int64_t>(replaced);
    refused |= bytes > options.budget_bytes ||
               (live > 0 && static_cast<uint64_t>(live) > options.budget_bytes - bytes);
  }
  input.refused += refused;
  return !refused;
}

[[gnu::noinline]] void TakeNote(void* pointer, void* caller) {
  asm volatile("" : : "r"(__builtin_frame_address(0)));
  if (pointer == nullptr || note_count == kMaxNotes) return;
  Allocated& note = notes[note_count++];
  note = {.address = reinterpret_cast<uintptr_t>(pointer),
          .number = input.allocations,
          .stack = {reinterpret_cast<uintptr_t>(caller)}};
  std::array<uintptr_t, Allocated::kFrames + 4> frames{};
  const size_t count = prim::CaptureStack(frames);
  // Of the allocator's own frames, how many there are depends on the compiler.
  size_t skipped = 0;
  while (skipped < count && frames[skipped] != note.stack[0]) ++skipped;
  skipped = skipped == count ? 3 : skipped + 1;
  for (size_t i = 1; i < Allocated::kFrames && skipped < count; ++i) {
    note.stack[i] = frames[skipped++];
  }
}

}  // namespace

[[gnu::noinline]] void* FuzzHeap::AllocateInInput(const Request& request) {
  asm volatile("" : : "r"(__builtin_frame_address(0)));
  if (!Admit(request.bytes, 0)) return nullptr;
  void* result = nullptr;
  if (request.alignment > 1) {
    result = Base::AllocateAligned(request.alignment, request.bytes, request.kind);
  } else {
    if (request.bytes <= core::kMaxSlotSize - Base::Canary::kRoom) {
      // A refill is never a sample. Before it: so that the first of a class can be one.
      const core::SizeClass size_class = core::SizeClassOf(request.bytes + Base::Canary::kRoom);
      if (heap->magazines[size_class].count() == 0) {
        const int saved_errno = errno;
        heap->Refill(size_class);
        errno = saved_errno;
      }
    }
    result = request.zeroed ? Base::AllocateZeroed(request.bytes)
                            : Base::Allocate(request.bytes, request.kind);
  }
  if (result != nullptr) {
    live_bytes.fetch_add(static_cast<int64_t>(request.bytes), std::memory_order_relaxed);
  }
  if (input.noting) TakeNote(result, request.caller);
  return result;
}

[[gnu::noinline]] void* FuzzHeap::ReallocateCounted(void* pointer, size_t bytes,
                                                    EntryPoint entry_point, void* caller) {
  asm volatile("" : : "r"(__builtin_frame_address(0)));
  const size_t before = IsOfInput(pointer) ? LiveSizeAt(reinterpret_cast<uintptr_t>(pointer)) : 0;
  if (in_input && !Admit(bytes, before)) return nullptr;
  void* result = Base::Reallocate(pointer, bytes, entry_point);
  if (result == nullptr) return nullptr;
  const int64_t after = IsOfInput(result) ? static_cast<int64_t>(bytes) : 0;
  live_bytes.fetch_add(after - static_cast<int64_t>(before), std::memory_order_relaxed);
  if (in_input && input.noting) TakeNote(result, caller);
  return result;
}

void FuzzHeap::CountEnd(void* pointer) {
  const size_t bytes = LiveSizeAt(reinterpret_cast<uintptr_t>(pointer));
  live_bytes.fetch_sub(static_cast<int64_t>(bytes), std::memory_order_relaxed);
}

// ---- input.h

bool Refused() { return input.refused > 0; }

void NoteAllocations() {
  seen_count = note_count = 0;
  input.noting = true;
  ForEachLive([](uintptr_t address, size_t) {
    if (seen_count < kMaxSeen) seen[seen_count++] = address;
  });
}

void ReportLeak(const hardened_fuzz_result& result) {
  constexpr uint64_t kShown = 4;
  input.noting = false;
  Live leaked;
  prim::RawWriter lines;
  size_t passed = 0;
  ForEachLive([&](uintptr_t address, size_t size) {
    while (passed < seen_count && seen[passed] < address) ++passed;
    if (passed < seen_count && seen[passed] == address) return;
    ++leaked.count;
    leaked.bytes += size;
    if (leaked.count > kShown) return;
    lines.Text("  leaked    ").Decimal(size).Text(" bytes at ").Hex(address);
    for (size_t i = note_count; i > 0; --i) {
      const Allocated& note = notes[i - 1];
      if (note.address != address) continue;
      lines.Text(", allocation ").Decimal(note.number).Text(" of the input\n  allocated at\n");
      for (const uintptr_t frame : note.stack) {
        if (frame != 0) lines.Text("    ").Hex(frame).Char('\n');
      }
      return;
    }
    lines.Char('\n');
  });
  prim::RawWriter out;
  out.Text("hardened: leak\n  count     ").Decimal(leaked.count).Text(" allocations, ");
  out.Decimal(leaked.bytes).Text(" bytes\n  found by  the end of the input, level ");
  out.Text(FuzzHeap::kFeatures.name).Text("\n  meaning   the input was run twice, and left ");
  out.Decimal(result.live_after - result.live_before).Text(" more live each time\n");
  out.Flush(2);
  lines.Flush(2);
  abort();
}

void StopNoting() { input.noting = false; }

}  // namespace hardened::fuzzing

// ---- backing_allocator.h

extern "C" {

[[gnu::visibility("default")]] void hardened_fuzz_get_options(hardened_fuzz_options* out) {
  hardened::fuzzing::ReadOptions();
  *out = hardened::fuzzing::process_options;
}

[[gnu::visibility("default")]] int hardened_fuzz_begin_input(const hardened_fuzz_options* options,
                                                             const uint8_t* data, size_t size) {
  const int saved_errno = errno;
  const bool begun = !hardened::fuzzing::in_input && hardened::fuzzing::Begin(*options, data, size);
  errno = saved_errno;
  return begun ? 0 : -1;
}

[[gnu::visibility("default")]] int hardened_fuzz_end_input(hardened_fuzz_result* out) {
  if (!hardened::fuzzing::in_input) return -1;
  const int saved_errno = errno;
  hardened_fuzz_result result;
  hardened::fuzzing::End(&result);
  if (out != nullptr) *out = result;
  errno = saved_errno;
  return 0;
}

}  // extern "C"
