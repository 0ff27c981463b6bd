// Crime: what the crimes of the detection matrix have in common.
//
//   crimes CRIME VARIANT SIZE
//
// VARIANT is a list of words separated by colons; what they mean is said at each crime. Words that
// name a call are those of kMakers and kEnders. Programs end with a MisuseExitCode: kSurvived when
// nobody stopped them, kPrevented when the crime gained nothing, kNotCommitted when it could not be
// staged. Built with -O0 -fno-builtin: every access below is made as written.

#ifndef TESTS_DETECTION_CRIME_H_
#define TESTS_DETECTION_CRIME_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "tests/misuse/staging.h"

struct Crime {
  const char* name;
  void (*commit)();
};

extern const std::span<const Crime> kOverflowCrimes;
extern const std::span<const Crime> kCanaryCrimes;
extern const std::span<const Crime> kUseAfterFreeCrimes;
extern const std::span<const Crime> kReuseCrimes;
extern const std::span<const Crime> kCallCrimes;
extern const std::span<const Crime> kSampleCrimes;

// ---- what the arguments chose

extern size_t size;

// The word at `index` of the variant; "" when there are fewer.
const char* Word(size_t index);
bool WordIs(size_t index, const char* text);
size_t Number(size_t index);

// ---- how blocks are made and ended

inline constexpr size_t kAlignment = 64;

struct Maker {
  const char* name;
  void* (*make)(size_t bytes);
  const char* ender;  // the right one
};

struct Ender {
  const char* name;
  void (*end)(void* block, size_t bytes);
};

// Both exit with kBadArguments when there is none of this name; Make() also when memory is out.
const Maker& MakerNamed(const char* name);
void End(const char* ender, void* block, size_t bytes);
void* Make(const char* maker, size_t bytes);

inline void* Malloc(size_t bytes) { return Make("malloc", bytes); }

// ---- staging

// Writes to `bytes` bytes so that each one changes.
void Flip(void* start, size_t bytes);
// Writes secrets, and looks for any byte of them.
void FillWithSecrets(void* start, size_t bytes);
bool HoldsSecrets(const void* start, size_t bytes);

// Live blocks of one slab, one behind the other. Requires: `size` is that of a slot.
struct Neighbours {
  unsigned char* left;
  unsigned char* victim;
  unsigned char* right;
  size_t slot;  // bytes from one to the next
};
// As many blocks follow the victim as it takes for `beyond` bytes.
Neighbours MakeNeighbours(const char* maker, size_t beyond);

// Allocates and frees `bytes` bytes, `times` times: the quarantine moves on.
void Churn(size_t bytes, size_t times);
// Churns until `block`, which was freed, is handed out again, and returns it.
void* ChurnUntil(void* block, size_t bytes);
// Turns of Churn() after which a freed slot of `bytes` bytes has left the quarantine of any level.
size_t TurnsToLeave(size_t bytes);

// Commits the crime in a forked child; this process then ends as the child did.
template <typename Function>
void InAForkedChild(Function function);
// For InAForkedChild: 0 in the child. The parent does not return.
void ForkAndEndAsTheChild();

template <typename Function>
void InAForkedChild(Function function) {
  ForkAndEndAsTheChild();
  function();
}

#endif  // TESTS_DETECTION_CRIME_H_
