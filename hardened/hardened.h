/* The public interface of hardened, beyond the malloc family itself.
 *
 * A program that runs on a preloaded library finds these functions with dlsym(RTLD_DEFAULT, ...);
 * a program that links the library calls them. All of them are safe to call from any thread and
 * allocate nothing.
 */
#ifndef HARDENED_HARDENED_H_
#define HARDENED_HARDENED_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Sums over all threads since the start of the process. Exact while the other threads do not
 * allocate or free; otherwise each figure may be slightly behind. Sizes are in bytes. */
typedef struct hardened_counters {
  uint64_t allocations;    /* successful requests for memory */
  uint64_t deallocations;  /* allocations whose life has ended */
  uint64_t live_slots;     /* allocations up to 64 KiB */
  uint64_t live_runs;      /* larger or highly aligned allocations */
  uint64_t live_bytes;     /* of live slots and runs, by the size of the slot or its pages */
  uint64_t mapped_bytes;   /* committed heap segments and metadata */
  uint64_t segments;       /* committed heap segments of 4 MiB */
  uint64_t mismatches;     /* allocations ended by the wrong call or with the wrong size */
  uint64_t guards_refused; /* guards that the system did not allow */
  uint64_t bad_pointers;   /* double, invalid and foreign frees that the policy let pass */
  uint64_t damages;        /* damaged canaries and writes after free that the policy let pass */
} hardened_counters;

/* Fills *out. Returns 0, or -1 when out is null. */
int hardened_get_counters(hardened_counters* out);

/* The level in force: "light", "standard", "strict", "paranoid", the name of a custom level, or
 * "off" where the system's policy leaves the program on libc's malloc. Never null. */
const char* hardened_level(void);

/* All that holds in this process and is not the level's own value, in the language of
 * HARDENED_OPTIONS: "level=strict:quarantine=4M:mismatch=report". Never null, never changes. */
const char* hardened_policy(void);

/* Bytes from `pointer`, which may lie anywhere in an allocation, to its end: what may be written or
 * read there. Exact where the level keeps sizes (standard and above), else up to the end of the
 * slot or of the pages. 0 behind the end of an allocation, as far as nothing else begins. SIZE_MAX
 * where there is no live allocation: on the stack, in a global variable, in freed memory, or where
 * this heap is not in use. */
size_t hardened_bytes_from(const void* pointer);

/* Reports that `function` was to write (or, if `writes` is 0, to read) `bytes` from `pointer` on,
 * more than there are. `function` must live for ever. Returns when the policy lets that pass. */
void hardened_report_overflow(const char* function, const void* pointer, size_t bytes, int writes);

/* A program may define this to choose its own default, in the same language. It counts more than
 * the build, less than the environment, and never goes below what the system's policy files set.
 * The executable must export it (-Wl,--export-dynamic-symbol=hardened_default_options) for a
 * preloaded library to see it. */
extern const char hardened_default_options[];

#ifdef __cplusplus
}
#endif

#endif /* HARDENED_HARDENED_H_ */
