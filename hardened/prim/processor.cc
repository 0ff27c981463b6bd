#include "hardened/prim/processor.h"

#if defined(__x86_64__)
#include <cpuid.h>

namespace hardened::prim::processor_internal {
namespace {

// Asks the processor, not libgcc: __builtin_cpu_supports() brings a constructor along.
bool AskForAvx2() {
  uint32_t eax, ebx, ecx, edx;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0) return false;
  if ((ecx & bit_OSXSAVE) == 0) return false;
  uint32_t enabled, high;
  asm("xgetbv" : "=a"(enabled), "=d"(high) : "c"(0));
  constexpr uint32_t kSseAndAvxState = 6;
  if ((enabled & kSseAndAvxState) != kSseAndAvxState) return false;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (ebx & bit_AVX2) != 0;
}

}  // namespace

constinit std::atomic<Known> avx2{Known::kNothing};

// cpuid traps in virtual machines (microseconds), so it runs once. Racing threads agree.
bool DetectAvx2() {
  const bool has = AskForAvx2();
  avx2.store(has ? Known::kYes : Known::kNo, std::memory_order_relaxed);
  return has;
}

}  // namespace hardened::prim::processor_internal
#endif
