#!/usr/bin/env python3
"""HARDENED_DEFAULT_OPTIONS counts, in C and C++, whether the library is linked or preloaded."""

import os
import pathlib
import subprocess
import unittest

LIBRARY = os.path.abspath("hardened/shim/libhardened.so")


def policy_of(program, **environment):
    return subprocess.run([os.path.abspath("tests/wayin/" + program)], env=environment, stdout=subprocess.PIPE,
                          text=True, check=True, timeout=600).stdout


class DefaultOptionsTest(unittest.TestCase):
    def test_preloaded(self):
        for language in ("c", "cc"):
            program = "default_options_preloaded_" + language
            self.assertEqual(policy_of(program), "none\n", program)
            self.assertEqual(policy_of(program, LD_PRELOAD=LIBRARY), "level=strict:quarantine=2M\n", program)

    def test_linked(self):
        for language in ("c", "cc"):
            program = "default_options_linked_" + language
            self.assertEqual(policy_of(program), "level=strict:quarantine=2M\n", program)

    def test_the_environment_counts_more(self):
        self.assertEqual(
            policy_of("default_options_linked_cc", HARDENED_OPTIONS="quarantine=4M"), "level=strict:quarantine=4M\n"
        )


if __name__ == "__main__":
    os.chdir(pathlib.Path(os.environ.get("TEST_SRCDIR", "."), os.environ.get("TEST_WORKSPACE", "")))
    LIBRARY = os.path.abspath("hardened/shim/libhardened.so")
    unittest.main()
