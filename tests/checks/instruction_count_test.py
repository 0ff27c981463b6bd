#!/usr/bin/env python3
"""What an operation executes at each level: no more than the golden table says, and not far less.

usage: instruction_count_test.py COMPILATION_MODE

Counted by valgrind, so it repeats exactly. On failure the table to put into
tests/golden/instruction_counts.txt is printed; `tools/bench --instructions --write` does it.
"""

import pathlib
import shutil
import sys
import unittest

sys.path[:0] = ["tests/checks", "tests/support", "tools/benchmarks"]
sys.dont_write_bytecode = True
import counts
import golden_build
from counts import Counts
from kernel_guards import kernel_has_guards

DRIVER = "tools/benchmarks/counted"
GOLDEN = "tests/golden/instruction_counts.txt"
LIBRARIES = {level: "hardened/shim/libhardened_%s.so" % level for level in counts.TOLERANCE}


class InstructionCountTest(unittest.TestCase):
    mode = "opt"

    def test_counts_are_those_of_the_golden_table(self):
        difference = golden_build.difference(self.mode, LIBRARIES["light"])
        if difference:
            self.skipTest(difference)
        # hardened/prim/random_stream.cc has other code without it.
        if "avx2" not in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").split():
            self.skipTest("the golden table is of processors with AVX2, this has none")
        if not kernel_has_guards():
            self.skipTest("the golden table is of kernels with guards as advice")
        if not shutil.which("valgrind"):
            self.skipTest("valgrind is not installed")
        found = counts.count(DRIVER, LIBRARIES)
        golden = counts.read_golden(pathlib.Path(GOLDEN).read_text(encoding="utf-8"))
        complaints = counts.complaints(found, golden)
        if complaints:
            self.fail("\n%s\n\n%s should be:\n%s\n" % ("\n".join(complaints), GOLDEN,
                                                     "\n".join(counts.golden_lines(found))))


class ComplaintTest(unittest.TestCase):
    GOLDEN = counts.read_golden("\n".join([
        counts.HEADER,
        "pair/64 light 70.00 0.000 0.000",
        "pair/64 strict 400.00 7.000 2.000",
    ]))

    def complaints(self, level, *figures):
        return counts.complaints({**self.GOLDEN, ("pair/64", level): Counts(*figures)}, self.GOLDEN)

    def test_the_same_is_right(self):
        self.assertEqual(counts.complaints(self.GOLDEN, self.GOLDEN), [])

    def test_another_choice_at_random_is_right(self):
        self.assertEqual(self.complaints("strict", 403, 7.001, 2.001), [])

    def test_one_more_instruction_is_named(self):
        self.assertEqual(self.complaints("light", 71, 0, 0),
                         ["pair/64 light: 71.00 instructions per operation, above 70.0"])

    def test_one_atomic_in_a_refill_of_128_slots_is_named(self):
        self.assertEqual(self.complaints("light", 70, 1 / 128, 0),
                         ["pair/64 light: 0.008 atomics per operation, above 0.0"])

    def test_a_system_call_is_named(self):
        self.assertEqual(self.complaints("strict", 400, 7, 3),
                         ["pair/64 strict: 3.000 syscalls per operation, above 2.0"])

    def test_a_table_that_allows_too_much_is_named(self):
        self.assertEqual(self.complaints("strict", 350, 6, 2), [
            "pair/64 strict: 350.00 instructions per operation, so far below that the table is stale: 400.0",
            "pair/64 strict: 6.000 atomics per operation, so far below that the table is stale: 7.0",
        ])

    def test_a_pattern_without_a_row_is_named(self):
        self.assertEqual(counts.complaints({**self.GOLDEN, ("pair/16", "light"): Counts(70, 0, 0)}, self.GOLDEN),
                         ["pair/16 light: in one of the tables only"])

    def test_what_is_written_is_read(self):
        self.assertEqual(counts.read_golden("\n".join(counts.golden_lines(self.GOLDEN))), self.GOLDEN)

    def test_a_table_to_read_for_each_figure(self):
        tables = counts.count_tables(self.GOLDEN)
        self.assertEqual([table.names for table in tables], [["light", "strict"]] * 3)
        self.assertEqual([table.rows for table in tables], [
            [("pair/64", ["70.00", "400.00"])], [("pair/64", ["0.000", "7.000"])],
            [("pair/64", ["0.000", "2.000"])],
        ])


class ProfileTest(unittest.TestCase):
    """Of a profile, only what the library does counts, and what libc does in its name."""

    PROFILE = """\
events: Ir sysCount sysTime

ob=/x/counted
fn=main
0x10 1000
cob=/x/lib.so
cfn=malloc
calls=5 0x100
0x14 900 7 3

ob=/x/lib.so
fn=malloc
0x100 5
0x104 6
cfn=slow
calls=1 0x200
0x108 500 3 1
cob=/x/libc.so.6
cfn=mmap
calls=2 0x300
0x10c 40 2 1
0x110 5

fn=slow
0x200 1 1 1

ob=/x/libc.so.6
fn=mmap
0x300 40 2 1
"""

    def test_counts(self):
        self.assertEqual(counts.read_profile(self.PROFILE.splitlines(), "lib.so", {0x104, 0x10}),
                         Counts(5 + 6 + 5 + 1, 6, 2 + 1))

    def test_atomic(self):
        self.assertTrue(counts.is_atomic("lock", "cmpxchg %rcx,(%rdx)"))
        self.assertTrue(counts.is_atomic("xchg", "%eax,0x10(%rdi)"))
        self.assertFalse(counts.is_atomic("xchg", "%ax,%ax"))
        self.assertFalse(counts.is_atomic("mov", "%rax,(%rdi)"))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        InstructionCountTest.mode = sys.argv.pop(1)
    unittest.main()
