#!/usr/bin/env python3
"""No report changes a file of the program, hangs it, or ends it otherwise than it says."""

import os
import pathlib
import re
import resource
import subprocess
import tempfile
import unittest

LEVELS = ("light", "standard", "strict", "paranoid")
PROGRAM = os.path.abspath("tests/reports/reports")
EITHER_LEVEL = os.path.abspath("hardened/shim/libhardened.so")
SIGABRT, SIGSEGV = -6, -11
MISMATCH = "hardened: heap corruption: allocation kind mismatch\n"

# scenario -> what it says before "alive" where the program goes on; and where it does not.
SCENARIOS = {
    "DataFile": ("", ""),
    "AppendedDataFile": ("", ""),
    "CloseOnExecDataFile": ("", ""),
    "Socket": ("received -1\n", ""),
    "Pipe": ("received -1\n", ""),
    "EventCounter": ("read -1\n", ""),
    "Nothing": ("", ""),
    "Full": ("errno 77\nflags 0\n", ""),
    "FullWithoutWaiting": ("", ""),
    "FullSocket": ("", ""),
    "Broken": ("", ""),
    "BrokenWithAHandler": ("", ""),
    "BrokenAndBlocked": ("pending 0\nblocked 1\n", ""),
    "BrokenAndPending": ("pending 1\n", ""),
    "BrokenSocket": ("", ""),
    "FullTerminal": ("", ""),
    "StoppedTerminal": ("", ""),
    # The job's own end.
    "BackgroundJob": ("job 0\n", "job 6\nalive\n"),
}


def ways():
    """(name, whether the program goes on, environment) of each level, fatal and not."""
    for level in LEVELS:
        for action in "report", "abort":
            yield level + " " + action, action == "report", {
                "LD_PRELOAD": EITHER_LEVEL, "HARDENED_LEVEL": level,
                "HARDENED_OPTIONS": "mismatch=" + action}
        fixed = os.path.abspath("hardened/shim/libhardened_%s.so" % level)
        yield "built " + level, level in ("light", "standard"), {"LD_PRELOAD": fixed}


class ReportsTest(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def run_it(self, scenario, environment, before=None, stderr=subprocess.PIPE):
        def prepare():
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            if before is not None:
                before()
        # Not bare: stderr may have any bytes.
        return subprocess.run([PROGRAM, scenario], env=environment, cwd=self.folder, preexec_fn=prepare,
                              stdout=subprocess.PIPE, stderr=stderr, timeout=600,
                              encoding="latin-1")

    def check(self, done, goes_on, alive, dead):
        if goes_on:
            self.assertEqual((done.returncode, done.stdout), (0, alive + "alive\n"), done)
        else:
            self.assertEqual((done.returncode, done.stdout),
                             (0 if dead.endswith("alive\n") else SIGABRT, dead), done)

    def test_the_program_itself(self):
        for scenario, (alive, _) in SCENARIOS.items():
            with self.subTest(scenario=scenario):
                self.check(self.run_it(scenario, {}), True, alive, "")

    def test_number_2_is_something_else(self):
        for scenario, (alive, dead) in SCENARIOS.items():
            for name, goes_on, environment in ways():
                with self.subTest(scenario=scenario, way=name):
                    self.check(self.run_it(scenario, environment), goes_on, alive, dead)
                    if "DataFile" in scenario:
                        self.assertEqual((self.folder / "data").read_bytes(),
                                         b"HEADER--RECORD-1" if goes_on else b"HEADER--")

    def test_it_was_closed_at_the_start(self):
        for name, goes_on, environment in ways():
            with self.subTest(way=name):
                done = self.run_it("DataFileWhereNothingWas", environment,
                                   before=lambda: os.close(2), stderr=None)
                self.check(done, goes_on, "", "")
                self.assertEqual((self.folder / "data").read_bytes(),
                                 b"HEADER--RECORD-1" if goes_on else b"HEADER--")

    def test_logs_get_the_report(self):
        for scenario, flags in [("AppendedLog", None), ("Redirected", os.O_TRUNC),
                                ("Redirected", os.O_APPEND)]:
            for name, goes_on, environment in ways():
                if name == "built light":
                    continue
                with self.subTest(scenario=scenario, way=name):
                    log = self.folder / "log"
                    log.unlink(missing_ok=True)
                    before = None
                    if flags is not None:
                        before = lambda: os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | flags), 2)
                    self.check(self.run_it(scenario, environment, before), goes_on, "", "")
                    text = log.read_text()
                    self.assertTrue(text.startswith("first\n" + MISMATCH), text)
                    self.assertEqual(text.endswith("\nlast\n"), goes_on, text)

    def test_a_limit_of_file_sizes(self):
        for name, goes_on, environment in ways():
            with self.subTest(way=name):
                before = lambda: os.dup2(os.open(self.folder / "log", os.O_WRONLY | os.O_CREAT), 2)
                self.check(self.run_it("FileLimit", environment, before), goes_on, "", "")

    def test_one_place_is_reported_once(self):
        for name, goes_on, environment in ways():
            if not goes_on or name == "built light":
                continue
            for scenario, reports in [("Once", 1), ("TwoPlaces", 2)]:
                with self.subTest(scenario=scenario, way=name):
                    done = self.run_it(scenario, environment)
                    self.check(done, True, "", "")
                    self.assertEqual(done.stderr.count(MISMATCH), reports, done.stderr)

    def test_a_fault_is_explained_after_any_number_of_reports(self):
        for name, goes_on, environment in ways():
            if not goes_on:
                continue
            with self.subTest(way=name):
                done = self.run_it("ThenAFault", environment)
                self.assertEqual(done.returncode, SIGSEGV)
                self.assertIn("heap corruption: access outside an allocation\n", done.stderr)

    def test_signal_handlers_and_children_of_vfork(self):
        for name, goes_on, environment in ways():
            if name == "built light":
                continue
            with self.subTest(way=name):
                done = self.run_it("InASignalHandler", environment)
                self.check(done, goes_on, "errno 77\n", "")
                self.assertEqual(done.stderr.count(MISMATCH), 1)
                # What the child said and did ends neither the parent's reports nor its death.
                done = self.run_it("InVforkChild", environment)
                self.check(done, goes_on, "signal 0\n", "signal 6\n")
                self.assertEqual(done.stderr.count(MISMATCH), 2)

    def test_handlers_of_the_program_run(self):
        for name, goes_on, environment in ways():
            with self.subTest(way=name):
                self.check(self.run_it("AbortHandler", environment), goes_on, "", "SIGABRT\n")

    def test_words_of_others_are_escaped(self):
        word = b"\x1b[31mred\x07\tand\x7f\n\x9b2J\xff"
        environment = {b"LD_PRELOAD": os.fsencode(EITHER_LEVEL), b"HARDENED_LEVEL": word,
                       b"HARDENED_OPTIONS": b"x" + word}
        done = self.run_it("Nothing", environment)
        self.assertEqual(done.returncode, 0)
        self.assertEqual(re.findall(r"[^\n -~]", done.stderr), [])
        escaped = r"\x1b[31mred\x07\x09and\x7f\x0a\x9b2J\xff"
        lines = done.stderr.splitlines()
        self.assertEqual([line for line in lines if escaped not in line], [], done.stderr)
        self.assertEqual(len(lines), 2, done.stderr)


if __name__ == "__main__":
    unittest.main()
