#include "fuzzers/heap_program.h"

#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdio>

#include "hardened/core/geometry.h"
#include "hardened/core/size_class.h"
#include "hardened/prim/raw_writer.h"
#include "hardened/prim/system_info.h"

namespace hardened::fuzzers {
namespace {

struct Letter {
  char letter;
  OperationKind kind;
};

// Doubled: what makes most of a useful program.
constexpr std::array kLetters = {
    Letter{'a', OperationKind::kAllocate},        Letter{'f', OperationKind::kFree},
    Letter{'r', OperationKind::kReallocate},      Letter{'z', OperationKind::kAllocateZeroed},
    Letter{'g', OperationKind::kAllocateAligned}, Letter{'n', OperationKind::kAllocateNew},
    Letter{'u', OperationKind::kInspect},         Letter{'t', OperationKind::kTrim},
    Letter{'x', OperationKind::kEndHelper},       Letter{'c', OperationKind::kCheckCounters},
    Letter{'a', OperationKind::kAllocate},        Letter{'f', OperationKind::kFree},
    Letter{'r', OperationKind::kReallocate},
};

constexpr std::array kSizeForms = {'b', 'c', '+', '-', 'p', 'q', 'o', 'k',
                                   'w', 's', 't', 'j', 'm', 'h', 'c', 'p'};

bool IsUpper(uint8_t byte) { return byte >= 'A' && byte <= 'Z'; }
bool IsLower(uint8_t byte) { return byte >= 'a' && byte <= 'z'; }

OperationKind KindOf(uint8_t byte) {
  const char lower = static_cast<char>(IsUpper(byte) ? byte - 'A' + 'a' : byte);
  for (const Letter& letter : kLetters) {
    if (letter.letter == lower) return letter.kind;
  }
  return kLetters[byte % kLetters.size()].kind;
}

char FormOf(uint8_t byte) {
  for (const char form : kSizeForms) {
    if (form == static_cast<char>(byte)) return form;
  }
  return kSizeForms[byte % kSizeForms.size()];
}

size_t Size(ByteReader& in) {
  const char form = FormOf(in.Next());
  const size_t n = in.Number();
  const size_t page = prim::PageSize();
  const size_t slot = core::SlotSize(static_cast<core::SizeClass>(n % core::kSizeClassCount));
  const size_t slices = (n % 64 + 2) * core::kSliceSize - 2 * page;
  const size_t pages = core::kMaxSlotSize + n * page;
  switch (form) {
    case 'b':
      return n;
    case 'c':
      return slot;
    case '+':
      return slot + 1;
    case '-':
      return slot - 1;
    case 'p':
      return pages;
    case 'q':
      return pages + 1;
    case 'o':
      return pages - 1;
    case 'k':
      return n << 10;
    case 'w':
      return n << 8 | in.Number();
    case 's':
      return slices;
    case 't':
      return slices + 1;
    case 'j':
      return n << 15;
    case 'm': {
      constexpr std::array<size_t, 8> kThresholds = {1 << 20, 4 << 20,  512 << 10, 2 << 20,
                                                     8 << 20, 16 << 20, 32 << 20,  3 << 20};
      constexpr std::array<ptrdiff_t, 4> kDistances = {0, 1, -1, -4096};
      return kThresholds[n % 8] + static_cast<size_t>(kDistances[n / 8 % 4]);
    }
    default: {
      constexpr std::array<size_t, 6> kImpossible = {SIZE_MAX,           SIZE_MAX / 2,
                                                     SIZE_MAX / 2 + 257, SIZE_MAX - 4096,
                                                     SIZE_MAX >> 16,     SIZE_MAX >> 12};
      return kImpossible[n % 6] - n / 6;
    }
  }
}

}  // namespace

uint8_t ByteReader::Next() {
  if (bytes_.empty()) return '0';
  const uint8_t byte = bytes_.front();
  bytes_ = bytes_.subspan(1);
  return byte;
}

std::vector<Operation> ParseHeapProgram(std::span<const uint8_t> bytes) {
  ByteReader in(bytes);
  std::vector<Operation> program;
  while (!in.empty() && program.size() < kMaxOperations) {
    const uint8_t letter = in.Next();
    if (letter <= ' ') continue;
    Operation operation{.kind = KindOf(letter)};
    operation.on_helper = IsUpper(letter) || (!IsLower(letter) && letter % 4 == 0);
    switch (operation.kind) {
      case OperationKind::kTrim:
      case OperationKind::kEndHelper:
      case OperationKind::kCheckCounters:
        program.push_back(operation);
        continue;
      default:
        break;
    }
    operation.slot = in.Number() % 64 * (kSlots / 64);
    const uint32_t count = in.Number() % 64;
    operation.count = count == 0 ? 1 : count < 32 ? count : (count - 31) * 16;
    if (operation.kind == OperationKind::kAllocateAligned) {
      operation.alignment = size_t{1} << in.Number() % 24;
    }
    if (operation.kind != OperationKind::kFree && operation.kind != OperationKind::kInspect) {
      operation.bytes = Size(in);
    }
    program.push_back(operation);
  }
  return program;
}

// ---- printing

namespace {

using prim::RawWriter;

void WriteCall(const Step& step, std::string_view slot, RawWriter& out) {
  const auto assign = [&](std::string_view call) -> RawWriter& {
    return out.Text("block[").Text(slot).Text("] = Heap::").Text(call);
  };
  switch (step.kind) {
    case OperationKind::kAllocate:
      assign("Allocate(").Decimal(step.bytes).Text("u, AllocationKind::kMalloc);");
      break;
    case OperationKind::kAllocateNew:
      assign("Allocate(").Decimal(step.bytes).Text("u, AllocationKind::kNew);");
      break;
    case OperationKind::kAllocateZeroed:
      assign("AllocateZeroed(").Decimal(step.bytes).Text("u);");
      break;
    case OperationKind::kAllocateAligned:
      assign("AllocateAligned(").Decimal(step.alignment).Text("u, ").Decimal(step.bytes);
      out.Text("u, AllocationKind::kAligned);");
      break;
    case OperationKind::kReallocate:
      assign("Reallocate(block[").Text(slot).Text("], ").Decimal(step.bytes);
      out.Text("u, EntryPoint::kRealloc);");
      break;
    case OperationKind::kFree:
      out.Text("Free(block[").Text(slot).Text("]);");
      break;
    case OperationKind::kInspect:
      out.Text("Heap::UsableSize(block[").Text(slot).Text("]);");
      break;
    case OperationKind::kTrim:
      out.Text("Trim();");
      break;
    case OperationKind::kEndHelper:
      out.Text("helper.End();");
      break;
    case OperationKind::kCheckCounters:
      out.Text("CheckCounters();");
      break;
  }
}

// The steps from `first` that are the same operation on slots that follow each other.
size_t RepeatedSteps(std::span<const Step> steps, size_t first) {
  size_t count = 1;
  for (; first + count < steps.size(); ++count) {
    Step expected = steps[first];
    expected.slot += static_cast<uint32_t>(count);
    if (!(steps[first + count] == expected)) break;
  }
  return count;
}

}  // namespace

void PrintSteps(std::span<const Step> steps, const char* policy) {
  RawWriter out;
  out.Text("\n// ---- ").Decimal(steps.size()).Text(" steps; the last one failed\n");
  out.Text(
      "// HARDENED_SEED was set, blocks were filled. Free(): the call that fits, for odd slots "
      "its\n");
  out.Text("// sized form. Trim(): as malloc_trim() in shim/statistics.cc.\n");
  out.Text("using Heap = hardened::Heap<").Text(policy).Text(">;\n");
  out.Text("using hardened::core::AllocationKind;\n");
  out.Text("hardened::fuzzers::HelperThread helper;\n");
  out.Text("void* block[").Decimal(kSlots).Text("] = {};\n");
  out.Flush(STDERR_FILENO);
  for (size_t i = 0; i < steps.size();) {
    const Step& step = steps[i];
    const size_t count = RepeatedSteps(steps, i);
    if (step.on_helper) out.Text("helper.Run([&] { ");
    char slot[16];
    std::snprintf(slot, sizeof(slot), "%u", step.slot);
    if (count > 1) {
      out.Text("for (int i = ").Text(slot).Text("; i < ").Decimal(step.slot + count);
      out.Text("; ++i) { ");
      std::snprintf(slot, sizeof(slot), "i");
    }
    WriteCall(step, slot, out);
    if (count > 1) out.Text(" }");
    if (step.on_helper) out.Text(" });");
    out.Char('\n');
    out.Flush(STDERR_FILENO);
    i += count;
  }
  out.Text("// ----\n");
  out.Flush(STDERR_FILENO);
}

}  // namespace hardened::fuzzers
