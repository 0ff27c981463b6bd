#include "hardened/prim/corruption_report.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>

#include "hardened/prim/check.h"
#include "hardened/prim/kernel.h"
#include "hardened/prim/system_info.h"

extern "C" {
[[gnu::used]] constinit hardened::prim::CorruptionReport hardened_last_corruption{};
}

namespace hardened::prim {
namespace {

struct KindText {
  std::string_view name;
  std::string_view meaning;
};

// In the order of CorruptionKind.
constexpr std::array<KindText, kCorruptionKinds> kKindTexts = {{
    {"double free", "this pointer was already freed"},
    {"stale pointer", "this pointer was freed before it was used here"},
    {"interior pointer", "this pointer points into an allocation, not at its start"},
    {"misaligned pointer", "no allocation ever starts at such an address"},
    {"foreign pointer", "this pointer did not come from this allocator"},
    {"unallocated pointer", "this part of the heap was never handed out"},
    {"canary clobbered", "something wrote outside the bounds of this allocation"},
    {"write after free", "something wrote to this memory after it was freed"},
    {"bad link", "something overwrote the links between free slots"},
    {"allocation kind mismatch",
     "this memory was allocated by one family of functions and freed by another"},
    {"size mismatch", "the size given here is not the size that was asked for"},
    {"access outside an allocation", "something touched the guard beside an allocation"},
    {"use after free", "something touched memory after it was freed"},
    {"heap overflow by a call", "this call would go beyond the end of this allocation"},
}};
static_assert(static_cast<int>(CorruptionKind::kOverflowingCall) + 1 == kCorruptionKinds);

const KindText& TextOf(CorruptionKind kind) {
  // A damaged kind must not take the report down with it.
  return kKindTexts[std::min<size_t>(static_cast<size_t>(kind), kCorruptionKinds - 1)];
}

// A report must not crash on a string that nobody filled in.
std::string_view OrEmpty(const char* text) { return text == nullptr ? "" : text; }

// The label column of every line after the first.
RawWriter& Line(RawWriter& out, std::string_view label) { return out.Text("  ").Padded(label, 10); }

void FormatPlace(const CorruptionReport& report, RawWriter& out) {
  Line(out, "pointer").Hex(report.address).Text("  (");
  if (report.in_slab) {
    out.Text("slot ").Decimal(report.slot_index);
    out.Text(" of a ").Decimal(report.slot_size).Text("-byte slab");
  } else if (report.in_run) {
    out.Text("run of ").Decimal(report.slot_size).Text(" bytes");
  } else {
    out.Text("not in the heap");
  }
  out.Text(")\n");
}

void FormatOffset(const CorruptionReport& report, RawWriter& out) {
  const intptr_t offset = report.offset();
  if (offset == 0) return;
  const size_t size = report.slot_size;
  uint64_t distance = static_cast<uint64_t>(offset);
  std::string_view relation = " bytes into the ";
  if (offset < 0) {
    distance = 0 - distance;
    relation = " bytes before the ";
  } else if (size != 0 && distance >= size) {
    distance -= size;
    relation = " bytes past the end of the ";
  }
  Line(out, "offset").Decimal(distance).Text(relation);
  out.Text(report.in_run ? "run\n" : "slot\n");
}

void FormatStack(std::string_view title, const uintptr_t* frames, uint32_t count, RawWriter& out) {
  // 16 frames of both stacks leave room for every other line in 2 KiB.
  constexpr uint32_t kMaxFrames = 16;
  if (frames == nullptr || count == 0) return;
  out.Text("  ").Text(title).Char('\n');
  for (uint32_t i = 0; i < std::min(count, kMaxFrames); ++i) {
    out.Text("    ").Hex(frames[i]).Char('\n');
  }
}

void CopyToGlobal(const CorruptionReport& report) {
  CorruptionReport copy = report;
  copy.alloc_stack = nullptr;
  copy.alloc_stack_size = 0;
  copy.free_stack = nullptr;
  copy.free_stack_size = 0;
  hardened_last_corruption = copy;
}

void WriteReport(const CorruptionReport& report) {
  RawWriter out;
  FormatCorruption(report, out);
  out.Flush(STDERR_FILENO);
}

// Gives the first reporter two seconds to end the process.
void WaitForFirstReporter() {
  for (int i = 0; i < 200; ++i) {
    const timespec pause = {.tv_sec = 0, .tv_nsec = 10'000'000};
    kernel::SystemCall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &pause, nullptr);
  }
}

// Thread id of the first fatal reporter, 0: none yet.
constinit std::atomic<uint64_t> g_reporter{0};
constinit std::atomic<uint64_t> g_printed{0};
// Keeps two PrintCorruption() calls from mixing their copies. Only ever tried: who comes second is
// written but not copied. A fatal report copies regardless, it is the last one.
constinit std::atomic<bool> g_copying{false};

}  // namespace

std::string_view CorruptionKindName(CorruptionKind kind) { return TextOf(kind).name; }
std::string_view CorruptionKindMeaning(CorruptionKind kind) { return TextOf(kind).meaning; }

void FormatCorruption(const CorruptionReport& report, RawWriter& out) {
  const KindText& text = TextOf(report.kind);
  out.Text("hardened: heap corruption: ").Text(text.name).Char('\n');
  FormatPlace(report, out);
  FormatOffset(report, out);
  if (report.requested_size != kUnknownSize) {
    Line(out, "asked for").Decimal(report.requested_size).Text(" bytes\n");
  }
  if (report.owner_thread != 0) {
    Line(out, "owner").Text("thread ").Decimal(report.owner_thread).Char('\n');
  }
  const std::string_view level = OrEmpty(report.level);
  const std::string_view detail = OrEmpty(report.detail);
  Line(out, "found by").Text(OrEmpty(report.found_by));
  if (!level.empty()) out.Text(", level ").Text(level);
  out.Char('\n');
  Line(out, "meaning").Text(text.meaning).Char('\n');
  if (!detail.empty()) Line(out, "detail").Text(detail).Char('\n');
  Line(out, "read").Text("SECURITY.md#");
  for (const char c : text.name) out.Char(c == ' ' ? '-' : c);
  out.Char('\n');
  FormatStack("allocated at", report.alloc_stack, report.alloc_stack_size, out);
  FormatStack("freed at", report.free_stack, report.free_stack_size, out);
}

void ReportCorruption(const CorruptionReport& report) {
  const uint64_t self = ThreadId();
  uint64_t first = 0;
  if (!g_reporter.compare_exchange_strong(first, self, std::memory_order_acq_rel)) {
    if (first != self) WaitForFirstReporter();
    AbortWithoutHandler();
  }
  MarkThreadDying();
  CopyToGlobal(report);
  WriteReport(report);
  abort();
}

void PrintCorruption(const CorruptionReport& report) {
  const int saved_errno = errno;
  const uint64_t earlier = g_printed.fetch_add(1, std::memory_order_relaxed);
  if (g_reporter.load(std::memory_order_acquire) == 0 &&
      !g_copying.exchange(true, std::memory_order_acquire)) {
    CopyToGlobal(report);
    g_copying.store(false, std::memory_order_release);
  }
  if (earlier < kMaxPrintedCorruptions) {
    WriteReport(report);
  } else if (earlier == kMaxPrintedCorruptions) {
    RawWriter out;
    out.Text("hardened: further heap corruption reports are counted, not written\n");
    out.Flush(STDERR_FILENO);
  }
  errno = saved_errno;
}

uint64_t PrintedCorruptions() { return g_printed.load(std::memory_order_relaxed); }

}  // namespace hardened::prim
