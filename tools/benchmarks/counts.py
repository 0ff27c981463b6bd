"""counts: what an allocator executes per operation, exactly and without a clock.

tools/benchmarks/counted runs under callgrind for N operations and for 2 N; the difference, divided
by N, has neither start-up nor warming up in it. Counted are the instructions inside the allocator's
library (not those of libc and of the driver), those of them that read, modify and write memory
atomically, and the system calls that the library makes, itself or through libc.
"""

import concurrent.futures
import dataclasses
import os
import pathlib
import re
import subprocess
import tempfile

import tables

# Pattern -> N. The longest quarantines are full after N: 32,768 slots, 4,096 runs of 256 KiB.
PATTERNS = {
    "pair/16": 40_000,
    "pair/64": 40_000,
    "pair/1024": 40_000,
    "pair/262144": 6_000,
    "batch/lifo-64": 40_000,
    "churn/1000": 40_000,
    "calloc/64": 40_000,
    "realloc/+64": 40_000,
    "new/64": 40_000,
    "remote/64": 40_000,
}
# Counts repeat exactly. Sampling is off because what is rare and dear would hide the rest.
SETTINGS = {"HARDENED_SEED": "1", "HARDENED_OPTIONS": "sample=0"}
# How far a count may be above its golden value: every change of the code may make random choices
# fall otherwise. So does another seed: with four, light moved by 0.00 % at most, standard by 0.21,
# strict by 0.45, paranoid by 1.30, and what is not an instruction by 0.001.
TOLERANCE = {"light": 0.002, "standard": 0.005, "strict": 0.01, "paranoid": 0.02}
SLACK = 0.002
# Below its golden value by more than this, the table does not guard what was won.
STALE = 0.10
HEADER = "# pattern level instructions atomics syscalls"
# At once: a run is one thread's work.
WORKERS = 2

INSTRUCTION = re.compile(r"^ *([0-9a-f]+):\t(\S+) *(.*)$")


class CountError(Exception):
    """What keeps us from counting, with a message for the reader."""


@dataclasses.dataclass(frozen=True)
class Counts:
    """Per operation; of a whole run before that."""
    instructions: float
    atomics: float
    syscalls: float

    def per_operation(self, of_start, operations):
        return Counts(*((count - start) / operations for count, start in
                        zip(dataclasses.astuple(self), dataclasses.astuple(of_start))))


def is_atomic(mnemonic, operands):
    """Whether the instruction is an atomic read-modify-write. xchg with memory needs no prefix."""
    return mnemonic == "lock" or (mnemonic == "xchg" and "(" in operands)


def atomic_addresses(library):
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", library], capture_output=True,
                          text=True, check=True).stdout
    found = map(INSTRUCTION.match, text.splitlines())
    return {int(match[1], 16) for match in found if match and is_atomic(match[2], match[3])}


def read_profile(lines, library, atomics):
    """Returns: the counts of a run, from callgrind's file with an address in each line."""
    instructions = atomic = syscalls = 0
    in_library = callee_in_library = is_call = False
    for line in lines:
        key, _, value = line.rstrip("\n").partition("=")
        if key == "ob":
            in_library = callee_in_library = pathlib.Path(value).name == library
        elif key == "cob":
            callee_in_library = pathlib.Path(value).name == library
        elif key == "calls":
            is_call = True
        elif line.startswith("0x"):
            address, own, calls = (line.split() + ["0", "0"])[:3]
            if in_library and is_call:
                # The costs of the callee and of all that it calls.
                syscalls += 0 if callee_in_library else int(calls)
            elif in_library:
                instructions += int(own)
                atomic += int(own) if int(address, 16) in atomics else 0
                syscalls += int(calls)
            if is_call:
                is_call, callee_in_library = False, in_library
    return Counts(instructions, atomic, syscalls)


def run(driver, library, atomics, pattern, operations):
    """Runs the driver with the library once. Returns: the counts of the whole run."""
    what = f"{pattern} under {pathlib.Path(library).name}"
    with tempfile.TemporaryDirectory(prefix="counts-") as folder:
        profile = pathlib.Path(folder, "profile")
        command = ["valgrind", "--tool=callgrind", "--vgdb=no", "--dump-instr=yes",
                   "--dump-line=no", "--compress-pos=no", "--compress-strings=no",
                   "--collect-systime=yes", f"--callgrind-out-file={profile}", driver, pattern,
                   str(operations)]
        try:
            result = subprocess.run(command, capture_output=True, text=True, timeout=240,
                                    stdin=subprocess.DEVNULL,
                                    env={"PATH": os.defpath, "LC_ALL": "C",
                                         "LD_PRELOAD": os.path.abspath(library), **SETTINGS})
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CountError(f"{what}: {error}") from error
        if result.returncode:
            raise CountError(f"{what}: exit status {result.returncode}\n{result.stderr}")
        with profile.open(encoding="utf-8") as lines:
            return read_profile(lines, pathlib.Path(library).name, atomics)


def count(driver, libraries, patterns=tuple(PATTERNS)):
    """Counts every pattern with every library; `libraries` is level -> path.

    Returns: (pattern, level) -> Counts per operation, in the order of a golden table.
    """
    atomics = {level: atomic_addresses(path) for level, path in libraries.items()}

    def count_one(place):
        pattern, level = place
        operations = PATTERNS[pattern]
        once, twice = (run(driver, libraries[level], atomics[level], pattern, times * operations)
                       for times in (1, 2))
        if twice.instructions <= once.instructions:
            raise CountError(f"{pattern}: {libraries[level]} did not serve the driver")
        return twice.per_operation(once, operations)

    places = [(pattern, level) for pattern in patterns for level in libraries]
    with concurrent.futures.ThreadPoolExecutor(max_workers=WORKERS) as pool:
        return dict(zip(places, pool.map(count_one, places)))


# --- Tables ---------------------------------------------------------------------


def figures(counts):
    """Returns: name -> text."""
    return {"instructions": f"{counts.instructions:.2f}", "atomics": f"{counts.atomics:.3f}",
            "syscalls": f"{counts.syscalls:.3f}"}


def count_tables(counts):
    """Returns: a table for each figure, with a column for each level."""
    patterns, levels = (list(dict.fromkeys(of_place)) for of_place in zip(*counts))
    titles = {"instructions": "Instructions inside the library per operation",
              "atomics": "Of these, atomic read-modify-writes",
              "syscalls": "System calls of the library per operation"}
    return [tables.Table(title, levels,
                         [(pattern, [figures(counts[pattern, level])[figure] for level in levels])
                          for pattern in patterns])
            for figure, title in titles.items()]


def golden_lines(counts):
    return [HEADER] + [" ".join([*place, *figures(of_place).values()])
                       for place, of_place in counts.items()]


def read_golden(text):
    rows = [line.split() for line in text.splitlines() if not line.startswith("#")]
    return {(pattern, level): Counts(*map(float, row)) for pattern, level, *row in rows}


def complaints(counts, golden):
    """Returns: a line for each count that is above its golden value, or far below."""
    found = [f"{pattern} {level}: in one of the tables only"
             for pattern, level in sorted(counts.keys() ^ golden.keys())]
    for pattern, level in (place for place in counts if place in golden):
        for figure, text in figures(counts[pattern, level]).items():
            value, wanted = float(text), getattr(golden[pattern, level], figure)
            verdict = ("above" if value > wanted * (1 + TOLERANCE[level]) + SLACK else
                       "so far below that the table is stale:"
                       if value < wanted * (1 - STALE) - SLACK else "")
            if verdict:
                found.append(f"{pattern} {level}: {text} {figure} per operation, "
                             f"{verdict} {wanted}")
    return found
