#!/usr/bin/env python3
"""Runs the tests that Bazel cannot run: what a user does from outside the workspace.

usage: tests/outside/run.py [--xml=FILE] [NAME...]

NAME is unittest's: bazel_consumer_test, install_test.InstallTest, ... (default:
all). Everything happens in temporary folders; processes that were started here
end here, also when this script is interrupted. --xml writes what
tools/checks/count_tests.py counts. tools/test runs this script; it also installs
the packages that are needed.
"""

import argparse
import os
import pathlib
import re
import resource
import signal
import sys
import unittest
import xml.etree.ElementTree as ET

HERE = pathlib.Path(__file__).resolve().parent


class Result(unittest.TextTestResult):
    """Keeps each outcome as a testcase element."""

    def __init__(self, *args):
        super().__init__(*args)
        self.suite = ET.Element("testsuite")

    def add(self, test, tag=None, text=""):
        parts = test.id().split(".")
        case = ET.SubElement(self.suite, "testcase", {"classname": ".".join(parts[:-1]), "name": parts[-1]})
        if tag:
            # XML has no place for control characters.
            ET.SubElement(case, tag).set("message", re.sub(r"[^\t\n -~]", "?", text))

    def addSuccess(self, test):
        super().addSuccess(test)
        self.add(test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.add(test, "failure", self.failures[-1][1])

    def addError(self, test, err):
        super().addError(test, err)
        self.add(test, "error", self.errors[-1][1])

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.add(test, "skipped", reason)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.add(test, "failure", "%s: %s" % (subtest, err[1]))


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].split("\n")[0])
    parser.add_argument("--xml")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()

    sys.dont_write_bytecode = True
    sys.path.insert(0, str(HERE))
    # An exception that unittest lets through, so that what is open is closed.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    # Many programs here abort on purpose.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    # The tests say what they want of both.
    for name in list(os.environ):
        if name == "LD_PRELOAD" or name.startswith("HARDENED_"):
            del os.environ[name]

    if options.names:
        tests = unittest.defaultTestLoader.loadTestsFromNames(options.names)
    else:
        tests = unittest.defaultTestLoader.discover(HERE, "*_test.py")
    result = unittest.TextTestRunner(resultclass=Result, verbosity=2).run(tests)
    if options.xml:
        ET.ElementTree(result.suite).write(options.xml, encoding="unicode")
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
