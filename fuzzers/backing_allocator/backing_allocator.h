// Backing allocator: malloc for programs under a fuzzer.
//
// Each input gets a heap of its own that starts from the same state: the same input gets the same
// addresses, in any process with the same seed. Within an input allocations can be made to fail,
// and may not exceed a budget. At its end everything is checked, and what is still live is counted.
//
// A libFuzzer target needs none of these functions: with //fuzzers/backing_allocator linked, each
// call of LLVMFuzzerTestOneInput is an input. They are for other harnesses. C and C++.
//
// Threads: one input at a time in a process. Begin and end it on the same thread; what other
// threads allocate meanwhile is ordinary memory. Memory may be freed by any thread at any time.

#ifndef FUZZERS_BACKING_ALLOCATOR_BACKING_ALLOCATOR_H_
#define FUZZERS_BACKING_ALLOCATOR_BACKING_ALLOCATOR_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hardened_fuzz_options {
  uint64_t seed;          // of the placement; also of the choice that fail_hits makes
  uint64_t budget_bytes;  // what an input may have live at a time; more fails. 0: any amount
  uint64_t fail_at;       // this allocation of each input fails, counted from 1; 0: none
  uint64_t fail_above;    // allocations of more bytes fail; UINT64_MAX: none
  uint64_t fail_hits;     // of fail_of allocations so many fail, chosen by the seed and the bytes
  uint64_t fail_of;       // of the input; 0: none
  int leaks;              // hardened_fuzz_run_input() looks for leaks
} hardened_fuzz_options;

typedef struct hardened_fuzz_result {
  uint64_t allocations;  // attempts in this input
  uint64_t refused;      // of these, by the options
  uint64_t live_before;  // allocations that earlier inputs left
  uint64_t live_after;   // the same at its end
  uint64_t bytes_after;  // their bytes
} hardened_fuzz_result;

// The options of the process: defaults, then those of the program (below), then the environment's
// HARDENED_FUZZ=word:word, as README.md lists them. What does not parse is named on stderr, once.
void hardened_fuzz_get_options(hardened_fuzz_options* out);

// A program may define it: the words that hold where HARDENED_FUZZ says nothing.
extern const char hardened_fuzz_default_options[];

// From here on the calling thread's allocations belong to the input `data`.
// Returns: 0; -1 when an input is under way already or there is no memory.
int hardened_fuzz_begin_input(const hardened_fuzz_options* options, const uint8_t* data,
                              size_t size);

// Ends the input: checks all its memory, live and freed. `out` may be null.
// Returns: 0; -1 when no input is under way on this thread.
int hardened_fuzz_end_input(hardened_fuzz_result* out);

// Calls `target` with the input between the two. When that leaves more live allocations than there
// were, it does so once more: what is left again is a leak, which is reported and ends the process;
// else it was made once for all. A std::bad_alloc that leaves `target` after an allocation was
// refused ends the input quietly.
// Returns: what `target` returned the first time; 0 when it ended by std::bad_alloc.
int hardened_fuzz_run_input(const hardened_fuzz_options* options,
                            int (*target)(const uint8_t* data, size_t size), const uint8_t* data,
                            size_t size);

#ifdef __cplusplus
}
#endif

#endif  // FUZZERS_BACKING_ALLOCATOR_BACKING_ALLOCATOR_H_
