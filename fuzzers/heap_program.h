// HeapProgram: the language of heap_ops and corrupt_ops inputs, a sequence of heap operations.
//
// One byte an operation, then one byte for each argument; whitespace before an operation is
// skipped, any other byte means something. Lower case: by the main thread, upper case: by the
// helper thread.
//
//   a slot count size         allocate                 f slot count        free
//   n slot count size         allocate as operator new u slot count        verify, usable size
//   z slot count size         allocate zeroed          t                   trim, as malloc_trim
//   g slot count align size   allocate aligned         x                   the helper thread ends
//   r slot count size         reallocate               c                   check counters
//
// A number is byte - '0'. slot: times 16. count: 0 and 1 are one block, 2 .. 31 as many, 32 .. 63
// are 16, 32 .. 512. align: a power of two. size: a form and a number N:
//
//   b  N bytes                          k  N KiB                 s  N slices less two pages
//   c  the slot size of class N         w  N M: 256 N + M bytes  t  one more
//   +  one more          -  one less    j  32 N KiB              m  around 1, 4, 32 MiB ...
//   p  64 KiB and N pages               h  more than there is
//   q  one more          o  one less
//
// Blocks live in kSlots slots; an operation works on `count` of them, wrapping around.

#ifndef FUZZERS_HEAP_PROGRAM_H_
#define FUZZERS_HEAP_PROGRAM_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace hardened::fuzzers {

inline constexpr uint32_t kSlots = 1024;
inline constexpr size_t kMaxOperations = 256;

enum class OperationKind : uint8_t {
  kAllocate,
  kAllocateNew,
  kAllocateZeroed,
  kAllocateAligned,
  kReallocate,
  kFree,
  kInspect,
  kTrim,
  kEndHelper,
  kCheckCounters,
};

struct Operation {
  OperationKind kind = OperationKind::kTrim;
  bool on_helper = false;
  uint32_t slot = 0;
  uint32_t count = 1;
  size_t alignment = 1;
  size_t bytes = 0;
};

// Reads bytes one by one; past the end every byte is '0'.
class ByteReader {
 public:
  explicit ByteReader(std::span<const uint8_t> bytes) : bytes_(bytes) {}
  bool empty() const { return bytes_.empty(); }
  uint8_t Next();
  // Next() as a number: '0' is 0.
  uint8_t Number() { return static_cast<uint8_t>(Next() - '0'); }
  std::span<const uint8_t> rest() const { return bytes_; }

 private:
  std::span<const uint8_t> bytes_;
};

// At most kMaxOperations; what follows is ignored.
std::vector<Operation> ParseHeapProgram(std::span<const uint8_t> bytes);

// One step that was made: an operation on one slot.
struct Step {
  OperationKind kind;
  bool on_helper;
  uint32_t slot;
  size_t alignment;
  size_t bytes;

  friend bool operator==(const Step&, const Step&) = default;
};

// Writes the steps to stderr as C++ code that makes them again. `policy`: the name of its type.
// For use in a signal handler: allocates nothing.
void PrintSteps(std::span<const Step> steps, const char* policy);

}  // namespace hardened::fuzzers

#endif  // FUZZERS_HEAP_PROGRAM_H_
