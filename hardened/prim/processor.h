// processor: what the processor has beyond what the compiler may count on.
//
// Threads: any.

#ifndef HARDENED_PRIM_PROCESSOR_H_
#define HARDENED_PRIM_PROCESSOR_H_

#include <atomic>
#include <cstdint>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"

namespace hardened::prim {

#if defined(__x86_64__)
namespace processor_internal {

enum class Known : uint8_t { kNothing, kNo, kYes };
[[gnu::visibility("hidden")]] extern std::atomic<Known> avx2;
[[gnu::cold]] bool DetectAvx2();

}  // namespace processor_internal

// Whether functions for the target "avx2" run here.
ABSL_ATTRIBUTE_ALWAYS_INLINE inline bool HasAvx2() {
  using processor_internal::Known;
  const Known known = processor_internal::avx2.load(std::memory_order_relaxed);
  if (ABSL_PREDICT_TRUE(known == Known::kYes)) return true;
  return known == Known::kNothing && processor_internal::DetectAvx2();
}
#endif

}  // namespace hardened::prim

#endif  // HARDENED_PRIM_PROCESSOR_H_
