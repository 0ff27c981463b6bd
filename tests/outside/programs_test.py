"""Real programs under the preloaded library: the cheap ones of tools/checks/programs, which installs what is missing."""

import unittest

from support import ROOT, run

# A daemon, a server with CGI and PHP, what other preloaded libraries replace, and signals. The others by hand.
NAMES = ["kill -SEGV", "fakeroot", "faketime", "uid_wrapper", "php", "named", "apache event"]


class ProgramsTest(unittest.TestCase):
    def check(self, level):
        done = run(ROOT / "tools/checks/programs", "--level=" + level, *("--only=" + name for name in NAMES), status=None)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertRegex(done.stdout, r"(?m)^\d+ passed, 0 failed, \d+ skipped$")

    def test_standard(self):
        self.check("standard")

    def test_strict(self):
        self.check("strict")
