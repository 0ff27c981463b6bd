// chi_square: how far counts are from uniform, and how far chance alone takes them.

#ifndef TESTS_SUPPORT_CHI_SQUARE_H_
#define TESTS_SUPPORT_CHI_SQUARE_H_

#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

namespace hardened {

inline double ChiSquare(const std::vector<uint64_t>& counts) {
  const double total =
      static_cast<double>(std::accumulate(counts.begin(), counts.end(), uint64_t{0}));
  const double expected = total / static_cast<double>(counts.size());
  double sum = 0;
  for (const uint64_t count : counts) {
    const double distance = static_cast<double>(count) - expected;
    sum += distance * distance / expected;
  }
  return sum;
}

// The mean of the statistic over uniform counts and five of its standard deviations: passed by
// chance with a probability below 1e-6 from 50 cells on.
inline double ChiSquareBound(size_t cells) {
  const double freedom = static_cast<double>(cells - 1);
  return freedom + 5 * std::sqrt(2 * freedom);
}

}  // namespace hardened

#endif  // TESTS_SUPPORT_CHI_SQUARE_H_
