#!/usr/bin/env python3
"""Programs that replace some of operator new, operator delete and malloc see the same calls as on libc.

usage: replaced_test.py LINKED,... VARIANT...
"""

import os
import subprocess
import sys
import unittest

HERE = "tests/replaced/"
LEVELS = ["light", "standard", "strict", "paranoid"]
MODES = ["o0", "o2"]
VARIANTS = sys.argv[2:]
LINKED = sys.argv[1].split(",")


def path(name):
    return os.path.realpath(name)


def run(*command, level=None, library=None):
    """Status, what was said on stdout and on stderr."""
    environment = {}
    if level is not None:
        environment["HARDENED_LEVEL"] = level
    if library is not None:
        environment["LD_PRELOAD"] = path("hardened/shim/lib%s.so" % library)
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=300, check=False)
    return done.returncode, done.stdout, done.stderr


class ReplacedTest(unittest.TestCase):
    maxDiff = 4000

    def check(self, *command):
        """The same on libc, with each level, and with the library that chooses."""
        control = run(*command)
        self.assertEqual((control[0], control[2]), (0, ""), command)
        self.assertNotIn("FOREIGN", control[1])
        for level in LEVELS:
            self.assertEqual(run(*command, library="hardened_" + level), control, level)
            self.assertEqual(run(*command, level=level, library="hardened"), control, level)
        return control[1]

    def test_forms(self):
        for variant in VARIANTS:
            for mode in MODES:
                with self.subTest(variant=variant, mode=mode):
                    self.check(path(HERE + "%s_%s" % (variant, mode)))

    def test_the_program_sees_its_functions(self):
        """The programs say what the standard says, or all the rest would show nothing."""
        lines = run(path(HERE + "basic_o0"))[1].splitlines()
        for line in ["new sized: new delete", "nothrow: new delete", "array: new delete", "array sized: new delete",
                     "failing: new null", "failing array: new null", "aligned:"]:
            self.assertIn(line, lines)
        lines = run(path(HERE + "malloc_o0"))[1].splitlines()
        self.assertIn("aligned array sized: aligned_alloc free", lines)

    def test_linked(self):
        for variant in LINKED:
            control = run(path(HERE + variant + "_o0"))
            for level in ["standard", "env"]:
                with self.subTest(variant=variant, level=level):
                    self.assertEqual(run(path(HERE + "%s_linked_%s" % (variant, level))), control)

    def test_an_opened_library(self):
        """What a C program opens has its C++ runtime behind the heap: it is served by the heap alone."""
        for scope in ["local", "global"]:
            command = [path(HERE + "opener"), path(HERE + "libplugin.so"), scope]
            self.assertEqual(run(*command)[1], "failed 0, called yes, balance 1\n")
            for level in LEVELS:
                expected = (0, "failed 0, called no, balance 0\n", "")
                self.assertEqual(run(*command, library="hardened_" + level), expected)
                self.assertEqual(run(*command, level=level, library="hardened"), expected)

    def test_a_library_with_operators_of_its_own(self):
        self.assertEqual(self.check(path(HERE + "bound_user"), path(HERE + "libbound.so")), "ok\n")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
