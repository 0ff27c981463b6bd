#!/usr/bin/env python3
"""Programs that live and die by SIGSEGV do so as with glibc's malloc; faults on guards are explained."""

import os
import resource
import subprocess
import tempfile
import unittest

LEVELS = ("light", "standard", "strict", "paranoid")
PROGRAM = os.path.abspath("tests/signals/signals")
LINKED = os.path.abspath("tests/signals/signals_linked")
HOOK = os.path.abspath("tests/signals/libsigaction_hook.so")
EITHER_LEVEL = os.path.abspath("hardened/shim/libhardened.so")

# Of the scenarios with a guard of the heap: the end of the process, what it says, and how many reports.
GUARDS = {
    "GuardDefault": (-11, "", 1),
    "GuardAfterSetters": (0, "".join("%s: signal 11\n" % name for name in
                                     ("signal", "bsd_signal", "ssignal", "sigset")), 4),
    "GuardOnlyOverTheDefault": (-11, "found: default, flags 0, 0 blocked\nnot a stack\n", 1),
    "GuardHandled": (3, None, 0),
    "GuardIgnored": (-11, "", 0),
    "GuardBlocked": (-11, "", 0),
    "GuardOnASmallStack": (0, "child: exit 0\n" * 2 + "child: signal 11\nlittle\n", 1),
    "GuardInTwoThreads": (-11, "", 1),
    "GuardInFamily": (-11, "child: signal 11\nvforked: signal 11\n" +
                      "after vfork: default, flags 0, 0 blocked\n" * 3, 3),
}
FIRST_LINE = "hardened: heap corruption: access outside an allocation\n"
LAST_LINE = "  read      SECURITY.md#access-outside-an-allocation\n"


def variants():
    """(name, program, environment) of each way to run with this allocator."""
    for level in LEVELS:
        library = os.path.abspath("hardened/shim/libhardened_%s.so" % level)
        yield level, PROGRAM, {"LD_PRELOAD": library}
        yield "chosen " + level, PROGRAM, {"LD_PRELOAD": EITHER_LEVEL, "HARDENED_LEVEL": level}
    yield "linked", LINKED, {}


def run(program, scenario, environment, core_bytes=0, folder=None):
    """(status as of subprocess, whether it dumped core, stdout, stderr)."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            try:
                if folder is not None:
                    os.chdir(folder)
                resource.setrlimit(resource.RLIMIT_CORE, (core_bytes, core_bytes))
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                os.execve(program, [program, scenario], environment)
            finally:
                os._exit(127)
        _, status = os.waitpid(child, 0)
        texts = []
        for file in out, err:
            file.seek(0)
            texts.append(file.read().decode())
    return os.waitstatus_to_exitcode(status), os.WCOREDUMP(status), texts[0], texts[1]


def scenarios():
    listed = subprocess.run([PROGRAM, "list"], stdout=subprocess.PIPE, text=True, check=True)
    return listed.stdout.split()


class SignalsTest(unittest.TestCase):
    maxDiff = None

    def test_as_with_glibc(self):
        for scenario in scenarios():
            if scenario.startswith("Guard"):
                continue
            expected = run(PROGRAM, scenario, {})
            self.assertNotEqual(expected[0], -14, "the test itself hangs: " + scenario)
            for name, program, environment in variants():
                with self.subTest(scenario=scenario, run=name):
                    self.assertEqual(run(program, scenario, environment), expected)

    def test_the_same_core_dumps(self):
        with tempfile.TemporaryDirectory() as folder:
            for scenario in "Raise", "NullPointer", "NotCanonical":
                # Cut off, which counts as a core all the same.
                expected = run(PROGRAM, scenario, {}, 1 << 20, folder)
                for name, program, environment in variants():
                    with self.subTest(scenario=scenario, run=name):
                        self.assertEqual(run(program, scenario, environment, 1 << 20, folder), expected)

    def test_guards(self):
        for scenario, (status, out, reports) in GUARDS.items():
            for name, program, environment in variants():
                with self.subTest(scenario=scenario, run=name):
                    found = run(program, scenario, environment)
                    self.assertEqual(found[0], status, found)
                    if out is not None:
                        self.assertEqual(found[2], out)
                    self.assertEqual(found[3].count(FIRST_LINE), reports, found)
                    self.assertEqual(found[3].count(LAST_LINE), reports, found)
                    if reports == 0:
                        self.assertEqual(found[3], "")

    def test_an_allocation_of_nothing(self):
        for name, program, environment in variants():
            if "light" in name:
                continue
            with self.subTest(run=name):
                found = run(program, "GuardOfNothing", environment)
                self.assertEqual((found[0], found[3].count("hardened: heap corruption")), (-11, 1))

    def test_faults_are_not_explained_where_the_policy_says_so(self):
        environment = {"LD_PRELOAD": EITHER_LEVEL, "HARDENED_OPTIONS": "explain_faults=off"}
        self.assertEqual(run(PROGRAM, "GuardDefault", environment), (-11, False, "", ""))

    def test_other_interposers_see_the_calls_and_no_handler(self):
        for scenario in "Flags", "PutBack":
            expected = run(PROGRAM, scenario, {"LD_PRELOAD": HOOK})
            self.assertIn("hook: SIGSEGV from default", expected[3])
            for preload in EITHER_LEVEL + ":" + HOOK, HOOK + ":" + EITHER_LEVEL:
                with self.subTest(scenario=scenario, preload=preload):
                    found = run(PROGRAM, scenario, {"LD_PRELOAD": preload})
                    self.assertEqual(found, expected)


if __name__ == "__main__":
    unittest.main()
