// corrupt_ops_fuzzer: correct operations on Heap<Policy> (heap_program.h), then one crime,
// committed in a forked child. The child must die of SIGABRT after the right report, and of nothing
// else; the heap of the parent goes on unharmed.
//
// Input: crime, operation, thread, block and two bytes of offset, then the program.
//
//   crime      d  the pointer of a block, freed a moment ago by the other thread or this one
//              s  the pointer of a block freed earlier in the program
//              v  the old pointer after a realloc that moved
//              i  a pointer into a block, aligned         m  the same, misaligned
//              w  a pointer from elsewhere                n  an address of the heap, any
//              l  the link overwritten of a block that a thread freed whose exit had begun, while
//                 it waits for its owner's collection
//   and, where the level looks for it:
//              o  a byte behind a block changed           a  a byte of a freed block changed
//              k  a block ended by the wrong call         z  a block ended with the wrong size
//   operation  f free   d delete   r realloc   u malloc_usable_size
//   thread     0 .. 3: bit 0: the crime, bit 1: the free before it, on another thread
//   block      which of the live (s: dead) blocks

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "fuzzers/failure_printer.h"
#include "fuzzers/heap_program.h"
#include "fuzzers/heap_runner.h"
#include "hardened/entry_point.h"
#include "hardened/prim/corruption_report.h"
#include "tests/support/late_free.h"
#include FUZZED_POLICY_HEADER

#define HARDENED_STRING_OF(text) #text
#define HARDENED_NAME_OF(macro) HARDENED_STRING_OF(macro)

namespace hardened::fuzzers {
namespace {

using core::AllocationKind;
using prim::CorruptionKind;
using Policy = Reproducible<FUZZED_POLICY>;
using Runner = HeapRunner<Policy>;
using H = Heap<Policy>;

constexpr unsigned kChildSeconds = 20;

// Never destroyed: the heap is used until the process ends.
Runner& GlobalRunner() {
  static auto& runner = *new Runner;
  return runner;
}

enum class Crime {
  kDoubleFree,
  kStale,
  kMovedByRealloc,
  kInterior,
  kMisaligned,
  kForeign,
  kNoBlock,
  kBadLink,
  kOverflow,
  kWriteAfterFree,
  kWrongCall,
  kWrongSize,
};
constexpr std::string_view kCrimes = "dsvimwnloakz";  // in this order
constexpr std::array kUses = {EntryPoint::kFree, EntryPoint::kDelete, EntryPoint::kRealloc,
                              EntryPoint::kUsableSize};

struct Plan {
  Crime crime = Crime::kDoubleFree;
  EntryPoint use = EntryPoint::kFree;
  bool crime_elsewhere = false;  // on a thread of its own
  bool free_elsewhere = false;
  uint8_t block = 0;
  uint16_t offset = 0;
};

Plan ParsePlan(ByteReader& in) {
  const auto choose = [&in](std::string_view letters) {
    const uint8_t byte = in.Next();
    const size_t found = letters.find(static_cast<char>(byte));
    return found == std::string_view::npos ? byte % letters.size() : found;
  };
  Plan plan;
  plan.crime = static_cast<Crime>(choose(kCrimes));
  plan.use = kUses[choose("fdru")];
  const uint8_t threads = in.Number();
  plan.crime_elsewhere = (threads & 1) != 0;
  plan.free_elsewhere = (threads & 2) != 0;
  plan.block = in.Number();
  plan.offset = in.Number();
  plan.offset = static_cast<uint16_t>(plan.offset << 8 | in.Number());
  return plan;
}

void Commit(EntryPoint use, void* pointer) {
  switch (use) {
    case EntryPoint::kRealloc:
      static_cast<void>(H::Reallocate(pointer, 100, use));
      return;
    case EntryPoint::kUsableSize:
      static_cast<void>(H::UsableSize(pointer));
      return;
    default:
      return H::Free(pointer, use);
  }
}

// The call that ends a block of this kind.
EntryPoint FittingFree(AllocationKind kind) {
  return kind == AllocationKind::kNew ? EntryPoint::kDelete : EntryPoint::kFree;
}
EntryPoint FittingSizedFree(AllocationKind kind) {
  return kind == AllocationKind::kNew       ? EntryPoint::kDelete
         : kind == AllocationKind::kAligned ? EntryPoint::kFreeAlignedSized
                                            : EntryPoint::kFreeSized;
}

void OnThread(bool elsewhere, const auto& task) {
  if (!elsewhere) return task();
  std::thread(task).join();
}

// The kind of a pointer to a block that is dead and was not handed out again.
CorruptionKind DeadKind(EntryPoint use) {
  return FactsOf(use).frees ? CorruptionKind::kDoubleFree : CorruptionKind::kStalePointer;
}

// A crime with everything chosen: what the child does and how it must end.
struct Charge {
  Plan plan;
  void* pointer = nullptr;   // that the crime is about; kBadLink: none yet
  void* reported = nullptr;  // that the report must name
  size_t bytes = 0;          // of the block; kBadLink: to allocate
  AllocationKind kind = AllocationKind::kMalloc;
  std::vector<CorruptionKind> expected;
  const char* found_by = "";
  bool survives = false;  // reported, and the program goes on
};

char g_global[64];
thread_local char g_thread_local[64];

void* ForeignPointer(uint16_t choice, void* on_stack) {
  static void* const on_system_heap = std::malloc(100);
  static void* const mapped =
      mmap(nullptr, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const auto& constants = *core::heap_constants;
  const uintptr_t cage_end = constants.cage_base + constants.cage_bytes;
  const std::array<uintptr_t, 16> all = {
      reinterpret_cast<uintptr_t>(on_stack),
      reinterpret_cast<uintptr_t>(g_global),
      reinterpret_cast<uintptr_t>(g_thread_local),
      reinterpret_cast<uintptr_t>(on_system_heap),
      reinterpret_cast<uintptr_t>(mapped),
      reinterpret_cast<uintptr_t>(&ForeignPointer),
      reinterpret_cast<uintptr_t>(constants.cage_slices),
      reinterpret_cast<uintptr_t>(core::current_heap),
      constants.cage_base - 16,
      cage_end,
      1,
      4096,
      uintptr_t{1} << 47,
      uintptr_t{1} << 63,
      16,
      UINTPTR_MAX - 15,
  };
  return reinterpret_cast<void*>(all[choice % all.size()] + choice / all.size() % 16);
}

core::SliceDescriptor& SliceOf(const void* pointer) {
  return *core::heap_state.FindSlice(reinterpret_cast<uintptr_t>(pointer));
}

// Chooses what the plan leaves open. Returns: false when the program left nothing to do it with.
bool Prepare(const Plan& plan, const Runner& runner, void* on_stack, Charge* charge) {
  charge->plan = plan;
  charge->found_by = FactsOf(plan.use).name;
  constexpr const Features& kFeatures = Policy::kFeatures;
  std::vector<const Block*> live;
  for (const Block& block : runner.blocks()) {
    if (block.live) live.push_back(&block);
  }
  const Block* const block = live.empty() ? nullptr : live[plan.block % live.size()];
  const auto at = [&charge](const void* start, size_t offset) {
    charge->pointer = reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(start) + offset);
    charge->reported = charge->pointer;
  };
  const auto about_block = [&] {
    at(block->start, 0);
    charge->bytes = block->requested;
    charge->kind = block->kind;
  };
  // What a pointer into a part of the heap that was used for something else may be called.
  const std::vector<CorruptionKind> anything_of_the_heap = {
      DeadKind(plan.use), CorruptionKind::kUnallocatedPointer, CorruptionKind::kInteriorPointer};
  switch (plan.crime) {
    case Crime::kDoubleFree:
    case Crime::kMovedByRealloc:
      if (block == nullptr) return false;
      about_block();
      charge->expected = {DeadKind(plan.use)};
      return true;
    case Crime::kStale: {
      if (runner.dead().empty()) return false;
      // Mostly the youngest.
      const size_t age = (plan.offset + plan.block) % runner.dead().size();
      at(runner.dead()[runner.dead().size() - 1 - age], 0);
      charge->expected = anything_of_the_heap;
      return runner.LiveAt(charge->pointer) == nullptr;
    }
    case Crime::kInterior:
      if (block == nullptr || block->requested <= 16) return false;
      at(block->start, 16 + plan.offset * size_t{64} % ((block->requested - 1) / 16) * 16);
      charge->expected = {CorruptionKind::kInteriorPointer};
      return true;
    case Crime::kMisaligned: {
      if (block == nullptr || block->requested <= 1) return false;
      const size_t offset = 1 + plan.offset * size_t{63} % (block->requested - 1);
      at(block->start, offset);
      charge->expected = {CorruptionKind::kMisalignedPointer};
      return offset % 16 != 0;
    }
    case Crime::kForeign:
      if (!core::heap_state.started()) return false;
      at(ForeignPointer(plan.offset, on_stack), 0);
      charge->expected = {CorruptionKind::kForeignPointer};
      return true;
    case Crime::kNoBlock: {
      if (!core::heap_state.started()) return false;
      // Near the blocks or far away.
      const size_t range =
          plan.block % 2 == 0 ? size_t{64} << 20 : core::heap_constants->cage_bytes;
      const size_t offset = plan.offset * (range >> 16) + plan.block / 2 % 4 * 8;
      at(reinterpret_cast<void*>(core::heap_constants->cage_base), offset);
      charge->expected = anything_of_the_heap;
      charge->expected.push_back(CorruptionKind::kMisalignedPointer);
      return runner.LiveAt(charge->pointer) == nullptr;
    }
    case Crime::kBadLink:
      charge->bytes = plan.offset % core::kMaxSlotSize + 1;
      charge->expected = {CorruptionKind::kBadLink};
      charge->found_by = "collection";
      return true;
    case Crime::kOverflow: {
      if (!kFeatures.canary || block == nullptr) return false;
      const core::SliceUse use = SliceOf(block->start).use;
      if (use == core::SliceUse::kZeroSize) return false;
      const bool is_run = use == core::SliceUse::kRun;
      // A run whose pages are full has no canary.
      if (is_run && block->requested % core::kSlotAlignment == 0) return false;
      about_block();
      if ((KindBit(block->kind) & FactsOf(plan.use).accepts) == 0) {
        charge->plan.use = FittingFree(block->kind);
        charge->found_by = FactsOf(charge->plan.use).name;
      }
      // The first two bytes are canary in every slot.
      const size_t behind = is_run ? 0 : plan.offset % 2;
      charge->reported = static_cast<char*>(block->start) + block->requested + behind;
      charge->expected = {CorruptionKind::kCanaryClobbered};
      return true;
    }
    case Crime::kWriteAfterFree: {
      if (!kFeatures.check_on_allocate || block == nullptr || block->requested == 0) return false;
      const core::SliceDescriptor& slice = SliceOf(block->start);
      if (slice.use != core::SliceUse::kSlab || slice.owner.load() != core::current_heap) {
        return false;
      }
      about_block();
      charge->reported =
          static_cast<char*>(block->start) + plan.offset * size_t{61} % block->requested;
      charge->expected = {CorruptionKind::kWriteAfterFree};
      charge->found_by = "quarantine";
      return true;
    }
    case Crime::kWrongCall:
    case Crime::kWrongSize:
      if (kFeatures.actions[Event::kMismatch] == EventAction::kIgnore || block == nullptr)
        return false;
      about_block();
      charge->survives = kFeatures.actions[Event::kMismatch] == EventAction::kReport;
      if (plan.crime == Crime::kWrongCall) {
        charge->expected = {CorruptionKind::kKindMismatch};
        return (KindBit(block->kind) & FactsOf(plan.use).accepts) == 0;
      }
      if (!kFeatures.exact_size) return false;
      charge->plan.use = FittingSizedFree(block->kind);
      charge->found_by = FactsOf(charge->plan.use).name;
      charge->expected = {CorruptionKind::kSizeMismatch};
      return true;
  }
  return false;
}

// ---- the child

// Tells the parent which pointer the report must name.
void TellPointer(const void* pointer) {
  char text[64];
  const int length = std::snprintf(text, sizeof(text), "pointer %p\n", pointer);
  static_cast<void>(!write(STDERR_FILENO, text, static_cast<size_t>(length)));
}

constexpr int kNotCommitted = 77;

void CommitBadLink(const Charge& charge) {
  void* const pointer = H::Allocate(charge.bytes, AllocationKind::kMalloc);
  HARDENED_CHECK(pointer != nullptr);
  // With its canary the largest is a run.
  if (SliceOf(pointer).use != core::SliceUse::kSlab) _exit(kNotCommitted);
  // What other threads free comes to its owner without a link (ARCHITECTURE.md, D64).
  static void* freed_late;
  freed_late = pointer;
  const auto use = [] { H::Free(H::Allocate(1, AllocationKind::kMalloc), EntryPoint::kFree); };
  const auto late = [] { H::Free(freed_late, EntryPoint::kFree); };
  HARDENED_CHECK(AtTheEndOfAThread(use, late));
  TellPointer(pointer);
  uint64_t word;
  std::memcpy(&word, pointer, sizeof(word));
  word ^= (charge.plan.offset | uint64_t{1}) << charge.plan.block % 48;
  std::memcpy(pointer, &word, sizeof(word));
  static_cast<core::ThreadHeap*>(core::current_heap)->Collect(UINT32_MAX);
}

void CommitInChild(const Charge& charge) {
  const Plan& plan = charge.plan;
  if (plan.crime == Crime::kBadLink) return CommitBadLink(charge);
  if (plan.crime == Crime::kDoubleFree) {
    OnThread(plan.free_elsewhere, [&] { H::Free(charge.pointer, FittingFree(charge.kind)); });
  }
  if (plan.crime == Crime::kMovedByRealloc) {
    if (charge.kind == AllocationKind::kNew) _exit(kNotCommitted);
    OnThread(plan.free_elsewhere, [&] {
      const size_t bytes = charge.bytes * 2 + 200 + plan.offset;
      if (H::Reallocate(charge.pointer, bytes, EntryPoint::kRealloc) == charge.pointer)
        _exit(kNotCommitted);
    });
  }
  TellPointer(charge.reported);
  const auto change = [&] {
    *static_cast<char*>(charge.reported) ^= static_cast<char>(1 + plan.offset % 255);
  };
  switch (plan.crime) {
    case Crime::kWriteAfterFree:
      // Freed elsewhere, it waits for its owner, wiped and without a link.
      OnThread(plan.free_elsewhere, [&] { H::Free(charge.pointer, FittingFree(charge.kind)); });
      change();
      static_cast<core::ThreadHeap*>(core::current_heap)->ReleaseEverything(/*keep_one=*/false);
      return;
    case Crime::kWrongSize:
      OnThread(plan.crime_elsewhere, [&] {
        H::FreeSized(charge.pointer, charge.bytes ^ (plan.offset + size_t{1}), plan.use);
      });
      return;
    case Crime::kOverflow:
      change();
      [[fallthrough]];
    default:
      OnThread(plan.crime_elsewhere, [&] { Commit(plan.use, charge.pointer); });
  }
}

[[noreturn]] void RunChild(const Charge& charge, int output) {
  RestoreDefaultActions();
  dup2(output, STDERR_FILENO);
  alarm(kChildSeconds);
  CommitInChild(charge);
  _exit(0);
}

// ---- the parent

std::string ReadAll(int fd) {
  std::string text;
  char buffer[4096];
  for (;;) {
    const ssize_t got = read(fd, buffer, sizeof(buffer));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return text;
    if (text.size() < 1 << 20) text.append(buffer, static_cast<size_t>(got));
  }
}

// Returns: what is wrong with how the child ended; empty: nothing.
std::string Verdict(const Charge& charge, int status, const std::string& output) {
  if (WIFEXITED(status) && WEXITSTATUS(status) == kNotCommitted) return "";
  if (WIFEXITED(status)) {
    if (WEXITSTATUS(status) != 0) return "exit with " + std::to_string(WEXITSTATUS(status));
    if (!charge.survives) return "the crime passed in silence";
  } else {
    if (charge.survives) return "signal " + std::to_string(WTERMSIG(status)) + ", not a report";
    if (WTERMSIG(status) != SIGABRT) return "signal " + std::to_string(WTERMSIG(status));
  }

  const size_t end_of_pointer = output.find('\n');
  if (output.compare(0, 8, "pointer ") != 0 || end_of_pointer == std::string::npos) {
    return "SIGABRT before the crime";
  }
  const std::string pointer = output.substr(8, end_of_pointer - 8);
  const std::string report = output.substr(end_of_pointer + 1);
  const auto is_kind = [&report](CorruptionKind kind) {
    const std::string first =
        "hardened: heap corruption: " + std::string(prim::CorruptionKindName(kind)) + "\n";
    return report.compare(0, first.size(), first) == 0;
  };
  if (std::none_of(charge.expected.begin(), charge.expected.end(), is_kind)) {
    return "expected " + std::string(prim::CorruptionKindName(charge.expected[0]));
  }
  if (report.find("\n  pointer   " + pointer + "  (") == std::string::npos) {
    return "the report does not name " + pointer;
  }
  const std::string found_by = charge.found_by;
  if (report.find("\n  found by  " + found_by + ", level " + Policy::kFeatures.name + "\n") ==
      std::string::npos) {
    return "not found by " + found_by;
  }
  return "";
}

void CommitAndJudge(const Charge& charge) {
  int ends[2];
  HARDENED_CHECK(pipe(ends) == 0);
  const pid_t pid = fork();
  HARDENED_CHECK(pid >= 0);
  if (pid == 0) RunChild(charge, ends[1]);
  close(ends[1]);
  const std::string output = ReadAll(ends[0]);
  close(ends[0]);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0) HARDENED_CHECK(errno == EINTR);

  const std::string verdict = Verdict(charge, status, output);
  if (!verdict.empty()) {
    std::fprintf(stderr,
                 "corrupt_ops_fuzzer: %s\n  crime \"%c\" %s, on threads %d after %d, pointer %p, "
                 "%zu bytes, offset %u\n%s\n",
                 verdict.c_str(), kCrimes[static_cast<size_t>(charge.plan.crime)], charge.found_by,
                 charge.plan.crime_elsewhere, charge.plan.free_elsewhere, charge.pointer,
                 charge.bytes, charge.plan.offset, output.c_str());
  }
  HARDENED_CHECK(verdict.empty());
}

}  // namespace
}  // namespace hardened::fuzzers

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hardened::fuzzers;
  // The same places for the same input; before the heap starts.
  [[maybe_unused]] static const int seeded = setenv("HARDENED_SEED", "1", /*overwrite=*/0);
  PrintOnFailure([] { PrintSteps(GlobalRunner().steps(), HARDENED_NAME_OF(FUZZED_POLICY)); });
  ByteReader in({data, size});
  const Plan plan = ParsePlan(in);
  Runner& runner = GlobalRunner();
  runner.Run(ParseHeapProgram(in.rest()));
  Charge charge;
  alignas(16) char on_stack[32];
  if (Prepare(plan, runner, on_stack, &charge)) CommitAndJudge(charge);
  runner.Finish();
  return 0;
}
