#include "hardened/guarded_sample.h"

#include "absl/base/attributes.h"
#include "hardened/prim/stack_trace.h"

namespace hardened {
namespace {

// Its caller needs a frame pointer for the walk to pass through it.
ABSL_ATTRIBUTE_ALWAYS_INLINE inline void Capture(Stack& stack) {
  asm volatile("" : : "r"(__builtin_frame_address(0)));
  stack.size = static_cast<uint32_t>(prim::CaptureStack(stack.frames));
}

}  // namespace

uint64_t DrawInterval(core::ThreadHeap& heap, uint32_t interval) {
  return 1 + heap.random().Below(2 * interval - 1);
}

core::Run* AllocateSample(core::ThreadHeap& heap, size_t bytes, bool* zero) {
  const bool at_end = heap.random().Next16() % 2 == 0;
  core::Run* run = core::AllocateRun(
      heap, bytes, core::kSlotAlignment, zero,
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
