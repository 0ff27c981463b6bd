#include "hardened/prim/corruption_report.h"

#include <time.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <new>

#include "hardened/prim/check.h"
#include "hardened/prim/error_stream.h"
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
  WriteMessage(out.view());
}

// Tells the reports of one place from those of others; never 0. Damage is done elsewhere than where
// it is found: the size of what is damaged stands for that place.
uint64_t PlaceOf(const CorruptionReport& report) {
  const bool is_damage = report.kind == CorruptionKind::kCanaryClobbered ||
                         report.kind == CorruptionKind::kWriteAfterFree ||
                         report.kind == CorruptionKind::kOverflowingCall;
  const uint64_t words[] = {
      static_cast<uint64_t>(report.kind),
      reinterpret_cast<uintptr_t>(report.found_by),
      report.caller,
      is_damage ? report.slot_size : 0,
  };
  uint64_t mixed = 0;
  for (const uint64_t word : words) {
    mixed = (mixed ^ word) * 0x9e3779b97f4a7c15u;
    mixed ^= mixed >> 32;
  }
  return mixed | 1;
}

// Places whose report was written; 0: a free entry.
constinit std::array<std::atomic<uint64_t>, kMaxPrintedCorruptions> g_places{};
constinit std::atomic<bool> g_said_full{false};

enum class Place : uint8_t { kKnown, kNew, kTooMany };

// Enters the place where it is new.
Place EnterPlace(uint64_t place) {
  for (std::atomic<uint64_t>& entry : g_places) {
    uint64_t there = entry.load(std::memory_order_relaxed);
    if (there == 0 && entry.compare_exchange_strong(there, place, std::memory_order_relaxed)) {
      return Place::kNew;
    }
    if (there == place) return Place::kKnown;
  }
  return Place::kTooMany;
}

// Gives the first reporter two seconds to end the process.
void WaitForFirstReporter() {
  for (int i = 0; i < 200; ++i) {
    const timespec pause = {.tv_sec = 0, .tv_nsec = 10'000'000};
    kernel::SystemCall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &pause, nullptr);
  }
}

// The first fatal reporter, 0: none yet. With its process: the word of another one, that it left in
// the memory of a fork or of vfork, says nothing about this one.
constinit std::atomic<uint64_t> g_reporter{0};

constexpr int kThreadBits = 32;
uint64_t ProcessOf(uint64_t reporter) { return reporter >> kThreadBits; }
uint64_t ThisReporter() {
  return static_cast<uint64_t>(kernel::SystemCall(SYS_getpid)) << kThreadBits | ThreadId();
}

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
  const uint64_t self = ThisReporter();
  uint64_t first = g_reporter.load(std::memory_order_acquire);
  while (ProcessOf(first) != ProcessOf(self) &&
         !g_reporter.compare_exchange_weak(first, self, std::memory_order_acq_rel)) {
  }
  if (ProcessOf(first) == ProcessOf(self)) {
    if (first != self) WaitForFirstReporter();
    AbortWithoutHandler();
  }
  MarkThreadDying();
  CopyToGlobal(report);
  WriteReport(report);
  Abort();
}

void PrintCorruption(const CorruptionReport& report) {
  g_printed.fetch_add(1, std::memory_order_relaxed);
  if (g_reporter.load(std::memory_order_acquire) == 0 &&
      !g_copying.exchange(true, std::memory_order_acquire)) {
    CopyToGlobal(report);
    g_copying.store(false, std::memory_order_release);
  }
  switch (EnterPlace(PlaceOf(report))) {
    case Place::kKnown:
      break;
    case Place::kNew:
      WriteReport(report);
      break;
    case Place::kTooMany:
      if (!g_said_full.exchange(true, std::memory_order_relaxed)) {
        WriteMessage("hardened: further heap corruption reports are counted, not written\n");
      }
  }
}

void PrintLastCorruption(const CorruptionReport& report) {
  alignas(RawWriter) static constinit char room[sizeof(RawWriter)] = {};
  RawWriter& out = *::new (room) RawWriter;
  CopyToGlobal(report);
  FormatCorruption(report, out);
  WriteMessage(out.view());
}

uint64_t PrintedCorruptions() { return g_printed.load(std::memory_order_relaxed); }

}  // namespace hardened::prim
