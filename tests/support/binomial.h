// Binomial tails: how likely chance alone takes a count as far as this from its mean.

#ifndef TESTS_SUPPORT_BINOMIAL_H_
#define TESTS_SUPPORT_BINOMIAL_H_

#include <cmath>
#include <cstdint>

namespace hardened {

// P(X = k) of n draws that succeed with probability p. Requires: 0 < p < 1; k <= n.
inline double BinomialPoint(uint64_t n, double p, uint64_t k) {
  const double draws = static_cast<double>(n);
  const double hits = static_cast<double>(k);
  return std::exp(std::lgamma(draws + 1) - std::lgamma(hits + 1) - std::lgamma(draws - hits + 1) +
                  hits * std::log(p) + (draws - hits) * std::log1p(-p));
}

// P(X <= k).
inline double BinomialAtMost(uint64_t n, double p, uint64_t k) {
  double sum = 0;
  for (uint64_t i = 0; i <= k; ++i) sum += BinomialPoint(n, p, i);
  return sum;
}

// P(X >= k).
inline double BinomialAtLeast(uint64_t n, double p, uint64_t k) {
  double sum = 0;
  for (uint64_t i = k; i <= n; ++i) sum += BinomialPoint(n, p, i);
  return sum;
}

}  // namespace hardened

#endif  // TESTS_SUPPORT_BINOMIAL_H_
