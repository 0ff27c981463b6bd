#!/usr/bin/env python3
"""The instructions of malloc and free as compiled: none that costs, and no more than the golden table.

usage: fast_path_test.py COMPILATION_MODE

The fast path is the shortest way from a function's entry to a return on which nothing is called: a
hit. What is slow must be out of line. On failure the table to put into tests/golden/fast_paths.txt
is printed.
"""

import os
import pathlib
import re
import subprocess
import sys
import unittest

sys.path.insert(0, "tests/checks")
sys.dont_write_bytecode = True
import golden_build

LEVELS = ("light", "standard", "strict")
FUNCTIONS = ("malloc", "calloc", "free", "_Znwm", "_ZdlPv")
GOLDEN = "tests/golden/fast_paths.txt"

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


def successors(body, after, at):
    """Where the instruction may go on within the body; nowhere after a call, whatever it returns."""
    mnemonic, operands = body[at]
    if mnemonic.startswith(("ret", "call", "ud2", "hlt")):
        return []
    target = TARGET.match(operands)
    jump = int(target[1], 16) if target and mnemonic.startswith("j") else None
    found = [after[at]] if mnemonic != "jmp" and at in after else []
    return found + ([jump] if jump in body else [])


def fast_path(body):
    """The instructions of the shortest way to a return without a call; [] when there is none."""
    order = sorted(body)
    after = dict(zip(order, order[1:]))
    came_from = {order[0]: None}
    queue = [order[0]]
    for at in queue:
        if body[at][0].startswith("ret"):
            path = []
            while at is not None:
                path.insert(0, body[at])
                at = came_from[at]
            return [i for i in path if not i[0].startswith(("nop", "endbr"))]
        for following in successors(body, after, at):
            if following not in came_from:
                came_from[following] = at
                queue.append(following)
    return []


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
        cls.bodies = {
            (level, function): instructions(library(level), function)
            for level in LEVELS
            for function in FUNCTIONS
        }
        cls.paths = {key: fast_path(body) for key, body in cls.bodies.items()}

    def optimized_only(self):
        if self.mode != "opt":
            self.skipTest("fast paths are those of -c opt, this is " + self.mode)

    def test_there_is_a_path_without_a_call(self):
        self.optimized_only()
        for place, path in self.paths.items():
            self.assertGreater(len(path), 10, place)
            self.assertTrue(path[-1][0].startswith("ret"), place)

    # In the whole body: whatever may be slow is a function of its own.
    def test_nothing_is_atomic_or_slow(self):
        for place, body in self.bodies.items():
            for mnemonic, operands in body.values():
                where = "%s: %s %s" % (place, mnemonic, operands)
                self.assertNotRegex(mnemonic, r"^(lock|[mls]fence|syscall|cpuid|i?div)", where)
                self.assertFalse(mnemonic.startswith("xchg") and is_memory(mnemonic, operands), where)

    # rep stos takes some 30 cycles to start: the compiler must not make one of a loop.
    def test_no_string_instructions(self):
        for place, body in self.bodies.items():
            for mnemonic, _ in body.values():
                self.assertFalse(mnemonic.startswith("rep"), "%s: %s" % (place, mnemonic))

    # calloc loads it again after memset.
    def test_one_thread_local_load(self):
        self.optimized_only()
        for (level, function), path in self.paths.items():
            loads = [operands for _, operands in path if "%fs:" in operands]
            self.assertIn(len(loads), (1, 2) if function == "calloc" else (1,), (level, function))
            # %fs:0x28 would be the stack protector.
            self.assertNotIn("0x28", loads[0], (level, function))

    def test_counts_are_those_of_the_golden_table(self):
        difference = golden_build.difference(self.mode, library("light"))
        if difference:
            self.skipTest(difference)
        golden = pathlib.Path(GOLDEN).read_text(encoding="utf-8").splitlines()
        found = table(self.paths)
        self.assertEqual(found, golden, "%s should be:\n%s\n" % (GOLDEN, "\n".join(found)))


class WalkTest(unittest.TestCase):
    """The walk itself finds the hit and sees what is on it."""

    BODY = {
        0: ("cmp", "$0x1,%rdi"),
        1: ("ja", "9 <f+0x9>"),
        2: ("mov", "%fs:(%rdx),%rsi"),
        3: ("je", "6 <f+0x6>"),
        4: ("call", "100 <g>"),
        5: ("ret", ""),
        6: ("nopl", "0x0(%rax)"),
        7: ("mov", "%rdi,0x10(%rdx)"),
        8: ("jmp", "a <f+0xa>"),
        9: ("jmp", "200 <h>"),
        10: ("ret", ""),
    }

    def test_goes_around_calls_and_out_of_line_ends(self):
        path = fast_path(self.BODY)
        self.assertEqual([m for m, _ in path], ["cmp", "ja", "mov", "je", "mov", "jmp", "ret"])

    def test_counts(self):
        self.assertEqual(counts(fast_path(self.BODY)), (7, 2, 2))

    def test_finds_nothing_where_every_way_calls(self):
        self.assertEqual(fast_path({0: ("call", "100 <g>"), 1: ("ret", "")}), [])


if __name__ == "__main__":
    os.chdir(pathlib.Path(os.environ.get("TEST_SRCDIR", "."), os.environ.get("TEST_WORKSPACE", "")))
    if len(sys.argv) > 1:
        FastPathTest.mode = sys.argv.pop(1)
    unittest.main()
