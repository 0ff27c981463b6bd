#include "hardened/guarded_sample.h"

#include <bit>

#include "hardened/prim/stack_trace.h"

namespace hardened {
namespace {

void Capture(Stack& stack) {
  stack.size = static_cast<uint32_t>(prim::CaptureStack(stack.frames));
}

}  // namespace

uint64_t DrawInterval(core::ThreadHeap& heap, uint32_t interval) {
  return 1 + heap.random().Below(2 * interval - 1);
}

core::Run* AllocateSample(core::ThreadHeap& heap, size_t bytes, bool* zero) {
  const bool at_end = heap.random().Next16() % 2 == 0;
  // Small requests need no more alignment than their size.
  const size_t alignment =
      bytes >= core::kSlotAlignment ? core::kSlotAlignment : std::bit_floor(bytes | 1);
  core::Run* run = core::AllocateRun(
      heap, bytes, alignment, zero,
      at_end ? core::RunPlacement::kEnd : core::RunPlacement::kStart);
  if (run == nullptr) return nullptr;
  core::Arena* arena = nullptr;
  Trace* trace = static_cast<Trace*>(core::heap_state.AllocateMetadata(sizeof(Trace), &arena));
  // Without memory for it the sample has guards but no stacks.
  if (trace != nullptr) {
    trace->metadata_arena = arena;
    Capture(trace->allocated);
  }
  run->trace = trace;
  return run;
}

void NoteSampleFreed(core::Run& run) { Capture(static_cast<Trace*>(run.trace)->freed); }

void ForgetTrace(void* trace) {
  static_cast<Trace*>(trace)->metadata_arena->FreeMetadata(trace, sizeof(Trace));
}

}  // namespace hardened
