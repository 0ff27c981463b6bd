// CorruptionReport: the facts of one heap corruption, as plain values, and their way out.
//
// The detecting line fills what it knows and calls ReportCorruption(). Nothing here points into the
// heap and nothing here is secret: canary values, link keys and random state must never be stored
// in it. The text is stable; programs may parse it.
//
// Threads: every function is safe from any thread and from a signal handler; no lock, no
// allocation.

#ifndef HARDENED_PRIM_CORRUPTION_REPORT_H_
#define HARDENED_PRIM_CORRUPTION_REPORT_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "hardened/prim/raw_writer.h"

namespace hardened::prim {

enum class CorruptionKind : uint8_t {
  kDoubleFree,          // free of a freed pointer
  kStalePointer,        // realloc or usable_size of a freed pointer
  kInteriorPointer,     // inside a live allocation, not its start
  kMisalignedPointer,   // not aligned as any allocation is
  kForeignPointer,      // not memory of this heap
  kUnallocatedPointer,  // memory of this heap that was never handed out
  kCanaryClobbered,     // bytes past the end of a request changed
  kWriteAfterFree,      // freed memory changed
  kBadLink,             // a link between free slots does not decode
  kKindMismatch,        // malloc met delete, new met delete[], ...
  kSizeMismatch,        // sized free with another size
  kHeapOverflow,        // a fault on a guard beside an allocation
  kUseAfterFree,        // a fault on freed, guarded memory
  kOverflowingCall,     // memcpy or its like was about to pass the end of an allocation
};
inline constexpr int kCorruptionKinds = 14;

// "double free".
std::string_view CorruptionKindName(CorruptionKind kind);
// One sentence: what the program did.
std::string_view CorruptionKindMeaning(CorruptionKind kind);

inline constexpr size_t kUnknownSize = SIZE_MAX;

// Strings must live for ever (literals). Sizes are in bytes.
struct CorruptionReport {
  CorruptionKind kind = CorruptionKind::kDoubleFree;
  uintptr_t address = 0;     // the pointer the program passed, or the damaged byte
  uintptr_t slot_start = 0;  // 0: unknown; else the start of the slot or run
  size_t slot_size = 0;      // of the slot or run
  uint32_t slot_index = 0;   // within its slab
  bool in_slab = false;      // slot_size and slot_index hold
  bool in_run = false;       // slot_size holds; neither flag: not in the heap
  size_t requested_size = kUnknownSize;
  uint64_t owner_thread = 0;  // kernel thread id, 0: unknown
  const char* found_by = "";  // entry point: "free", "malloc", "realloc"
  const char* level = "";
  const char* detail = "";  // one more line, optional
  // Return addresses, innermost first; optional. They must stay valid until the call returns and
  // are not kept in hardened_last_corruption.
  const uintptr_t* alloc_stack = nullptr;
  uint32_t alloc_stack_size = 0;
  const uintptr_t* free_stack = nullptr;
  uint32_t free_stack_size = 0;
  // The place in the program where it was found: a return address, 0: unknown.
  uintptr_t caller = 0;

  // From slot_start to address; 0 when slot_start is unknown. Negative: before the slot.
  constexpr intptr_t offset() const {
    return slot_start == 0 ? 0 : static_cast<intptr_t>(address - slot_start);
  }
};

// Writes the text of `report`, at most RawWriter::kInternalCapacity bytes. Pure.
void FormatCorruption(const CorruptionReport& report, RawWriter& out);

// Copies `report` to hardened_last_corruption, writes its text (error_stream.h) and aborts.
//
// The first reporter of the process wins: its abort unblocks SIGABRT and runs a handler that the
// program has installed, as every crash collector expects; when the handler returns, the process
// dies of SIGABRT regardless. Other reporters wait for it, at most two seconds, then end the
// process without a word and without that handler. So does, at once, a reporter that comes back on
// the same thread (a handler that touches the heap).
[[noreturn, gnu::cold, gnu::noinline]] void ReportCorruption(const CorruptionReport& report);

// Copies `report` to hardened_last_corruption, writes its text (error_stream.h) and returns. What
// one place in the program does again and again is written once: a report of the same kind, found
// by the same function for the same caller, damage also in slots or runs of the same size. Of a
// process and its forked children only the first kMaxPrintedCorruptions places are written, then
// one line that says so; the rest are counted. Keeps errno.
inline constexpr uint64_t kMaxPrintedCorruptions = 16;
[[gnu::cold, gnu::noinline]] void PrintCorruption(const CorruptionReport& report);

// The same, whatever was written before: for what ends the process without ReportCorruption().
// Takes little stack; one thread at a time.
[[gnu::cold, gnu::noinline]] void PrintLastCorruption(const CorruptionReport& report);

// How often PrintCorruption() was called in this process, written or not.
uint64_t PrintedCorruptions();

}  // namespace hardened::prim

// The last report, for debuggers and crash collectors. kind is meaningful once found_by is set.
extern "C" [[gnu::visibility("default")]] hardened::prim::CorruptionReport hardened_last_corruption;

#endif  // HARDENED_PRIM_CORRUPTION_REPORT_H_
