// overflow: makes one call of a function that libhardened_bounds.so bounds, and says that it
// survived. Its blocks are allocated by malloc or not, as the words say.
//
// usage: overflow FUNCTION write|read|read_string PLACE SIZE OFFSET BYTES
//
// BYTES are written to, or read from, OFFSET bytes into a block of SIZE bytes; read_string: the
// block has no NUL. PLACE: heap, stack, global, freed, thread (another one allocated it).

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <string_view>
#include <thread>

#include "tests/bounds/calls.h"
#include "tests/misuse/exit_codes.h"

namespace {

constexpr size_t kMost = 1 << 20;
alignas(16) char other[2 * kMost];  // the side of the call that is large enough
alignas(16) char global[2 * kMost];

const Call* Find(std::string_view name) {
  for (const Call& call : AllCalls()) {
    if (name == call.name) return &call;
  }
  return nullptr;
}

// A string of `bytes` with its NUL; without the calls under test.
void MakeString(char* place, size_t bytes, size_t unit) {
  for (size_t i = 0; i < bytes; ++i) place[i] = i % unit == 0 && i + unit < bytes ? 'x' : 0;
}
// No NUL at all.
void MakeUnended(char* place, size_t bytes, size_t unit) {
  for (size_t i = 0; i < bytes; ++i) place[i] = i % unit == 0 ? 'x' : 0;
}

char* BlockAt(std::string_view place, size_t size, char* stack) {
  if (place == "stack") return stack;
  if (place == "global") return global;
  char* block = nullptr;
  if (place == "thread") {
    std::thread([&block, size] { block = static_cast<char*>(malloc(size)); }).join();
  } else {
    block = static_cast<char*>(malloc(size));
  }
  if (place == "freed") free(block);
  return block;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) return kBadArguments;
  const Call* call = Find(argv[1]);
  const std::string_view how = argv[2];
  const size_t size = strtoul(argv[4], nullptr, 10);
  const size_t offset = strtoul(argv[5], nullptr, 10);
  const size_t bytes = strtoul(argv[6], nullptr, 10);
  if (call == nullptr || size > kMost || bytes > kMost) return kBadArguments;
  char* stack = static_cast<char*>(__builtin_alloca(kMost + 4096));
  char* block = BlockAt(argv[3], size, stack);
  if (block == nullptr) return kNotCommitted;
  if (how == "write") {
    MakeString(other, bytes, call->unit);
    call->write(block + offset, other, bytes);
  } else if (how == "read" && call->read != nullptr) {
    MakeUnended(block, size, call->unit);
    MakeUnended(other, bytes, call->unit);
    call->read(other, block + offset, bytes);
  } else if (how == "read_string" && call->read_string != nullptr) {
    MakeUnended(block, size, call->unit);
    call->read_string(other, block + offset);
  } else {
    return kBadArguments;
  }
  return kSurvived;
}
