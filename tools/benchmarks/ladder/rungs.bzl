"""The rungs of tools/bench --ladder, in the order in which they are shown.

Each is a policy in ladder.h (exact_size is hardened::ladder::ExactSize) and a
library that reports the rung's name as its level. tools/bench reads this file
as Python, so it holds nothing but lists of strings.
"""

# Light with one protection more (and what that one cannot do without), or less.
ALONE = [
    "random_placement",
    "exact_size",
    "mismatch",
    "canary",
    "neighbours",
    "wipe_128",
    "wipe_1024",
    "wipe_all",
    "check_on_allocate",
    "quarantine",
    "isolate_classes",
    "zero_size_faults",
    "sampling_10000",
    "without_sampling",
    "without_explain_faults",
    "run_guards",
    "end_aligned_runs",
    "run_hold",
]

# Light, then each step on top of all before it; the last is all of standard.
TO_STANDARD = [
    "standard_random_placement",
    "standard_exact_size",
    "standard_canary",
    "standard_wipe",
    "standard_quarantine",
    "standard_run_guards",
    "standard_isolate_classes",
    "standard_sampling",
    "standard_zero_size_faults",
    "standard_all",
]

# Standard, then each step on top of all before it; the last is all of strict.
TO_STRICT = [
    "strict_neighbours",
    "strict_wipe",
    "strict_check_on_allocate",
    "strict_quarantine",
    "strict_end_aligned_runs",
    "strict_run_hold",
    "strict_guard_slabs",
    "strict_sampling",
    "strict_all",
]
