// collisions: how often independent samples agree, and the entropy that this amounts to.

#ifndef TESTS_RANDOMNESS_COLLISIONS_H_
#define TESTS_RANDOMNESS_COLLISIONS_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace hardened {

// Pairs of equal samples, of all pairs: their ratio is an unbiased estimate of the probability that
// two samples agree.
struct Collisions {
  double equal = 0;
  double pairs = 0;

  void Add(std::vector<int64_t> samples) {
    const double count = static_cast<double>(samples.size());
    pairs += count * (count - 1) / 2;
    std::sort(samples.begin(), samples.end());
    for (size_t start = 0; start < samples.size();) {
      size_t end = start;
      while (end < samples.size() && samples[end] == samples[start]) ++end;
      const double group = static_cast<double>(end - start);
      equal += group * (group - 1) / 2;
      start = end;
    }
  }
  // Collision entropy in bits; infinite when no two samples agree.
  double Bits() const { return std::log2(pairs / equal); }
};

// Bits of the distance between the first two of `slots` slots drawn uniformly without replacement:
// P(d) = (slots - |d|) / (slots (slots - 1)), squared and summed over d.
inline double BitsOfUniformDistance(uint32_t slots) {
  const double n = slots;
  return std::log2(3 * n * (n - 1) / (2 * n - 1));
}

}  // namespace hardened

#endif  // TESTS_RANDOMNESS_COLLISIONS_H_
