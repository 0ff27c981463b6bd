#!/usr/bin/env python3
"""Each planted bug is found by its input, and called by its name; the store without bugs is quiet."""

import pathlib
import signal
import subprocess
import unittest

FOLDER = pathlib.Path("fuzzers/backing_allocator")

# What the library says; a null pointer that nobody checked is no report of ours.
EXPECTED = {
    "double_free": "hardened: heap corruption: double free",
    "invalid_free": "hardened: heap corruption: misaligned pointer",
    "leak": "hardened: leak",
    "mismatch": "hardened: heap corruption: allocation kind mismatch",
    "overflow": "hardened: heap corruption: canary clobbered",
    "unchecked_failure": None,
    "use_after_free_read": "hardened: heap corruption: use after free",
    "use_after_free_write": "hardened: heap corruption: write after free",
}


def run(fuzzer, inputs, words=None):
    environment = {"HARDENED_FUZZ": words} if words else {}
    binary = FOLDER / (fuzzer + "_replay_binary")
    return subprocess.run(
        [str(binary), *map(str, inputs)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        timeout=600,
        check=False,
    )


class PlantedTest(unittest.TestCase):
    def test_each_bug_is_found_and_named(self):
        for bug, report in EXPECTED.items():
            with self.subTest(bug):
                result = run("planted_%s_fuzzer" % bug, [FOLDER / "planted" / bug])
                said = result.stderr.decode()
                if report is None:
                    self.assertEqual(result.returncode, -signal.SIGSEGV, said)
                elif "use after free" in report:
                    self.assertEqual(result.returncode, -signal.SIGSEGV, said)
                    self.assertIn(report, said)
                else:
                    self.assertEqual(result.returncode, -signal.SIGABRT, said)
                    self.assertIn(report, said)

    def test_each_bug_is_found_again_with_the_same_words(self):
        # Addresses, slots and stacks within the program are those of the first time. The thread
        # is another, and so is where the program was loaded.
        def facts(bug):
            said = run("planted_%s_fuzzer" % bug, [FOLDER / "planted" / bug]).stderr.decode()
            return [line for line in said.split("\n") if "owner" not in line and line[:4] != "    "]

        for bug in EXPECTED:
            with self.subTest(bug):
                self.assertEqual(facts(bug), facts(bug))

    def test_the_correct_store_is_quiet(self):
        inputs = [FOLDER / "planted" / bug for bug in EXPECTED]
        for words in (None, "fail_rate=1/3", "fail_at=2", "fail_above=32", "budget=100", "seed=7"):
            with self.subTest(words):
                result = run("store_fuzzer", inputs, words)
                self.assertEqual(result.returncode, 0, result.stderr.decode())
                self.assertEqual(result.stderr, b"")

    def test_the_failure_shows_only_when_allocations_fail(self):
        inputs = [FOLDER / "planted" / "unchecked_failure"]
        result = run("planted_unchecked_failure_fuzzer", inputs, "fail_rate=1/1000000000000")
        self.assertEqual(result.returncode, 0, result.stderr.decode())

    def test_the_leak_shows_only_when_leaks_are_looked_for(self):
        result = run("planted_leak_fuzzer", [FOLDER / "planted" / "leak"], "leaks=off")
        self.assertEqual(result.returncode, 0, result.stderr.decode())


if __name__ == "__main__":
    unittest.main()
