#!/usr/bin/env python3
"""The instructions of malloc and free as compiled: none that costs, and no more than the golden table.

usage: fast_path_test.py COMPILATION_MODE

Walks each function from its entry with no conditional branch taken, as a hit does: everything else
is out of line. On failure the table to put into tests/golden/fast_paths.txt is printed.
"""

import os
import pathlib
import re
import subprocess
import sys
import unittest

LEVELS = ("light", "standard", "strict")
FUNCTIONS = ("malloc", "calloc", "free", "_Znwm", "_ZdlPv")
GOLDEN = "tests/golden/fast_paths.txt"
GOLDEN_COMPILER = "GCC: (Debian 12."

LINE = re.compile(r"^\s*([0-9a-f]+):\s+(.*?)\s*$")
TARGET = re.compile(r"^([0-9a-f]+) <")
MEMORY = re.compile(r"\([^)]*\)|%fs:")


def library(level):
    return "hardened/shim/libhardened_%s.so" % level


def run(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def instructions(file, function):
    """Address -> (mnemonic, operands), in the order of addresses."""
    text = run("objdump", "-d", "--no-show-raw-insn", "--disassemble=" + function, file)
    body = text.partition("<%s>:" % function)[2].partition("\n\n")[0]
    found = {}
    for line in body.splitlines():
        match = LINE.match(line)
        if match:
            mnemonic, _, operands = match[2].partition(" ")
            if mnemonic in ("lock", "rep", "repz", "notrack", "bnd"):
                mnemonic, operands = match[2], ""
            found[int(match[1], 16)] = (mnemonic, operands.partition("#")[0].strip())
    return found


def fast_path(body):
    """The instructions from the entry to the first ret, no conditional branch taken."""
    order = sorted(body)
    after = dict(zip(order, order[1:]))
    path = []
    at = order[0]
    while True:
        mnemonic, operands = body[at]
        if not mnemonic.startswith(("nop", "endbr")):
            path.append((mnemonic, operands))
        if mnemonic.startswith("ret") or len(path) > 1000:
            return path
        target = TARGET.match(operands)
        if mnemonic == "jmp" and target and int(target[1], 16) in body:
            at = int(target[1], 16)
        elif mnemonic == "jmp":
            return path
        else:
            at = after[at]


def is_memory(mnemonic, operands):
    return mnemonic not in ("lea", "jmp", "call") and bool(MEMORY.search(operands))


def counts(path):
    """(instructions, conditional branches, memory operands)."""
    branches = sum(m.startswith("j") and m != "jmp" for m, _ in path)
    return len(path), branches, sum(is_memory(*i) for i in path)


def table(paths):
    lines = ["# level function instructions branches memory"]
    lines += ["%s %s %d %d %d" % (key + counts(path)) for key, path in paths.items()]
    return lines


class FastPathTest(unittest.TestCase):
    mode = "opt"

    @classmethod
    def setUpClass(cls):
        cls.paths = {
            (level, function): fast_path(instructions(library(level), function))
            for level in LEVELS
            for function in FUNCTIONS
        }

    def each(self):
        """(place, function, path) for every level and function."""
        return [("%s %s" % key, key[1], path) for key, path in self.paths.items()]

    def optimized_only(self):
        if self.mode != "opt":
            self.skipTest("fast paths are those of -c opt, this is " + self.mode)

    def test_every_path_ends_in_a_return(self):
        self.optimized_only()
        for place, function, path in self.each():
            # calloc ends in memset for what is not known to be zero.
            ends = ("ret", "jmp") if function == "calloc" else ("ret",)
            self.assertIn(path[-1][0], ends, place)
            self.assertGreater(len(path), 10, place)

    def test_nothing_is_atomic_or_slow(self):
        for place, _, path in self.each():
            for mnemonic, operands in path:
                where = "%s: %s %s" % (place, mnemonic, operands)
                self.assertNotRegex(mnemonic, r"^(lock|[ml]fence|sfence|syscall|cpuid|i?div)", where)
                self.assertFalse(mnemonic.startswith("xchg") and is_memory(mnemonic, operands), where)

    def test_nothing_is_called(self):
        self.optimized_only()
        for place, _, path in self.each():
            self.assertEqual([o for m, o in path if m == "call"], [], place)

    def test_one_thread_local_load(self):
        self.optimized_only()
        for place, _, path in self.each():
            loads = [operands for _, operands in path if "%fs:" in operands]
            self.assertEqual(len(loads), 1, (place, loads))
            # %fs:0x28 would be the stack protector.
            self.assertNotIn("0x28", loads[0], place)

    def test_counts_are_those_of_the_golden_table(self):
        self.optimized_only()
        compiler = run("readelf", "-p", ".comment", library("light"))
        if GOLDEN_COMPILER not in compiler or "clang" in compiler:
            self.skipTest("the golden table is of %s, this is %s" % (GOLDEN_COMPILER, compiler))
        golden = pathlib.Path(GOLDEN).read_text(encoding="utf-8").splitlines()
        found = table(self.paths)
        self.assertEqual(found, golden, "%s should be:\n%s\n" % (GOLDEN, "\n".join(found)))


class WalkTest(unittest.TestCase):
    """The walk itself sees what it is to refuse."""

    BODY = {
        0: ("cmp", "$0x1,%rdi"),
        1: ("ja", "9 <f+0x9>"),
        2: ("mov", "%fs:(%rdx),%rsi"),
        3: ("lock cmpxchg %rcx,(%rax)", ""),
        4: ("jmp", "6 <f+0x6>"),
        5: ("call", "100 <g>"),
        6: ("nopl", "0x0(%rax)"),
        7: ("mov", "%rdi,0x10(%rdx)"),
        8: ("ret", ""),
        9: ("jmp", "200 <h>"),
    }

    def test_follows_jumps_but_not_branches(self):
        path = fast_path(self.BODY)
        self.assertEqual([m for m, _ in path][-3:], ["jmp", "mov", "ret"])
        self.assertNotIn(("call", "100 <g>"), path)

    def test_counts(self):
        self.assertEqual(counts(fast_path(self.BODY)), (7, 1, 2))


if __name__ == "__main__":
    os.chdir(pathlib.Path(os.environ.get("TEST_SRCDIR", "."), os.environ.get("TEST_WORKSPACE", "")))
    if len(sys.argv) > 1:
        FastPathTest.mode = sys.argv.pop(1)
    unittest.main()
