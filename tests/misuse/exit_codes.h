// How a misuse program ends when the library does not end it.
#ifndef TESTS_MISUSE_EXIT_CODES_H_
#define TESTS_MISUSE_EXIT_CODES_H_

enum MisuseExitCode : int {
  kSurvived = 40,       // the crime went unnoticed
  kNotCommitted = 41,   // the crime could not be staged
  kControlFailed = 42,  // a correct program saw something wrong
  kWrongLibrary = 43,   // the expected level is not in charge
  kBadArguments = 44,
  kPrevented = 45,      // the crime was committed and gained nothing
  kMeasured = 46,       // many crimes; stdout says "D of N": D of them were reported
};

#endif  // TESTS_MISUSE_EXIT_CODES_H_
