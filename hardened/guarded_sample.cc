#include "hardened/guarded_sample.h"

#include <algorithm>
#include <atomic>

#include "absl/base/attributes.h"
#include "hardened/heap_plugs.h"
#include "hardened/prim/stack_trace.h"
#include "hardened/prim/system_info.h"

namespace hardened {
namespace {

constexpr uint32_t kRemembered = 640'000;
constexpr uint32_t kLeastHeld = 64;

// Samples that live or are held at the same time: each takes a slice of address space. A sixteenth
// of a small cage at the most.
size_t MostSamples() {
  constexpr size_t kMost = 16 * 1024;
  return std::min(kMost, core::heap_constants->cage_bytes >> core::kSliceShift >> 4);
}

// Samples whose address space is in use.
constinit std::atomic<uint32_t> samples{0};

// Its caller needs a frame pointer for the walk to pass through it.
ABSL_ATTRIBUTE_ALWAYS_INLINE inline void Capture(Stack& stack) {
  asm volatile("" : : "r"(__builtin_frame_address(0)));
  stack.size = static_cast<uint32_t>(prim::CaptureStack(stack.frames));
}

}  // namespace

uint64_t DrawInterval(core::ThreadHeap& heap, uint32_t interval) {
  return 1 + heap.random().Below(2 * interval - 1);
}

core::Run* AllocateSample(core::ThreadHeap& heap, size_t bytes, size_t alignment) {
  if (samples.load(std::memory_order_relaxed) >= MostSamples()) return nullptr;
  const bool at_end = heap.random().Next16() % 2 == 0;
  core::Run* run = core::AllocateRun(
      heap, bytes, alignment, at_end ? core::RunPlacement::kEnd : core::RunPlacement::kStart);
  if (run == nullptr) return nullptr;
  core::Arena* arena = nullptr;
  Trace* trace = static_cast<Trace*>(core::heap_state.AllocateMetadata(sizeof(Trace), &arena));
  // Without memory for it the sample has guards but no stacks.
  if (trace != nullptr) {
    samples.fetch_add(1, std::memory_order_relaxed);
    trace->metadata_arena = arena;
    Capture(trace->allocated);
  }
  run->trace = trace;
  return run;
}

size_t SampleHoldBytes() {
  const size_t wanted = std::max(kRemembered / active_features->sample_interval, kLeastHeld);
  return std::min(wanted, MostSamples() / 2) * prim::PageSize();
}

void NoteSampleFreed(core::Run& run) { Capture(static_cast<Trace*>(run.trace)->freed); }

void ForgetTrace(void* trace) {
  samples.fetch_sub(1, std::memory_order_relaxed);
  static_cast<Trace*>(trace)->metadata_arena->FreeMetadata(trace, sizeof(Trace));
}

}  // namespace hardened
