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

/* The version of this header; hardened_version() is that of the library. Before 1.0 another minor
 * version may change what is below. */
#define HARDENED_VERSION "0.1.0"

/* Chooses the program's own default, in the language of HARDENED_OPTIONS. Once, at file scope:
 *
 *   HARDENED_DEFAULT_OPTIONS("level=strict:quarantine=4M");
 *
 * It counts more than the build, less than the environment, and never goes below what the system's
 * policy files set. A preloaded library sees it only where the executable exports it: link with
 * -Wl,--export-dynamic-symbol=hardened_default_options, as the pkg-config and CMake files do, or
 * with -rdynamic. */
#ifdef __cplusplus
#define HARDENED_DEFAULT_OPTIONS(options)                                                         \
  extern "C" __attribute__((used, visibility("default"))) const char hardened_default_options[] = \
      options
#else
#define HARDENED_DEFAULT_OPTIONS(options) \
  __attribute__((used, visibility("default"))) const char hardened_default_options[] = options
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Sums over all threads since the start of the process. Exact while the other threads do not
 * allocate or free; otherwise each figure may be slightly behind. Sizes are in bytes. Later
 * versions add figures at the end and change none of these. */
typedef struct hardened_counters {
  uint64_t allocations;    /* successful requests for memory */
  uint64_t deallocations;  /* allocations whose life has ended */
  uint64_t live_slots;     /* allocations up to 64 KiB */
  uint64_t live_runs;      /* larger or highly aligned allocations */
  uint64_t live_bytes;     /* of live slots and runs, by the size of the slot or its pages */
  uint64_t mapped_bytes;   /* committed memory of the heap, and metadata */
  uint64_t segments;       /* of 4 MiB, to which the heap has grown */
  uint64_t mismatches;     /* allocations ended by the wrong call or with the wrong size */
  uint64_t guards_refused; /* guards that the system did not allow */
  uint64_t bad_pointers;   /* double, invalid and foreign frees that the policy let pass */
  uint64_t damages;        /* damaged canaries and writes after free that the policy let pass */
} hardened_counters;

/* Fills `size` bytes at `out`: as many of the counters as fit, and zeros behind those that this
 * library knows. So sizeof(hardened_counters) is right whatever the version of the library. Returns
 * 0, or -1 when out is null. */
int hardened_get_counters(hardened_counters* out, size_t size);

/* The version of the library, as HARDENED_VERSION. Never null. */
const char* hardened_version(void);

/* The level in force: "light", "standard", "strict", "paranoid", the name of a custom level, or "off"
 * where the system's policy leaves the program on libc's malloc. Never null. */
const char* hardened_level(void);

/* All that holds in this process and is not the level's own value, in the language of
 * HARDENED_OPTIONS: "level=strict:quarantine=4M:mismatch=report". Never null, never changes. */
const char* hardened_policy(void);

/* Bytes from `pointer`, which may lie anywhere in an allocation, to its end: what may be written or
 * read there. Exact where the level keeps sizes (standard and above), else up to the end of the slot
 * or of the pages. 0 behind the end of an allocation, as far as nothing else begins. SIZE_MAX where
 * there is no live allocation: on the stack, in a global variable, in freed memory, or where this
 * heap is not in use. */
size_t hardened_bytes_from(const void* pointer);

/* Reports that `function` was to write (or, if `writes` is 0, to read) `bytes` from `pointer` on,
 * more than there are. `function` must live for ever. Returns when the policy lets that pass. */
void hardened_report_overflow(const char* function, const void* pointer, size_t bytes, int writes);

/* What HARDENED_DEFAULT_OPTIONS defines, in the program. */
extern const char hardened_default_options[];

#ifdef __cplusplus
}
#endif

#endif /* HARDENED_HARDENED_H_ */
