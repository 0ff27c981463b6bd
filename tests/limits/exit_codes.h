// How a limits program ends.

#ifndef TESTS_LIMITS_EXIT_CODES_H_
#define TESTS_LIMITS_EXIT_CODES_H_

enum LimitsExitCode : int {
  kGood = 0,
  kFailed = 1,
  kBadArguments = 2,
  kCannotRunHere = 3,  // stderr says why
};

#endif  // TESTS_LIMITS_EXIT_CODES_H_
