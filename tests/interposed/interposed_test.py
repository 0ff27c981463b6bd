#!/usr/bin/env python3
"""The heap calls nothing of libc that another library may have taken, and whose version allocates."""

import os
import subprocess
import tempfile
import unittest

LEVELS = ["light", "standard", "strict", "paranoid"]
ENV = os.path.abspath("hardened/shim/libhardened.so")
INTERPOSER = os.path.abspath("tests/interposed/libinterposer.so")
PROGRAM = os.path.realpath("tests/interposed/heap_user")


def run(libraries, prefix=(), level=None):
    environment = {"PATH": os.environ["PATH"]}
    if level is not None:
        environment["HARDENED_LEVEL"] = level
    command = [*prefix, "env", "LD_PRELOAD=" + ":".join(libraries), PROGRAM]
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=500)


def in_namespace(folder):
    return ["unshare", "-rm", "sh", "-ec",
            'mount -t tmpfs none /etc; cp -r "$0" /etc/hardened; chmod -R go-w /etc/hardened; exec "$@"', folder]


class InterposedTest(unittest.TestCase):
    def check(self, done):
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "0 calls\n", ""))

    def test_control(self):
        """libc itself does not call its own functions by name; and without the interposer nothing is counted."""
        self.check(run([INTERPOSER]))
        self.assertEqual(run([]).stdout, "-1 calls\n")

    def test_the_interposer_counts(self):
        """A heap that uses the names of libc is seen: jemalloc's kind, played by the program's own calls."""
        done = subprocess.run(["env", "LD_PRELOAD=" + INTERPOSER, PROGRAM, "call"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=500, check=False)
        self.assertEqual((done.returncode, done.stdout), (1, "1 calls\n"))

    def test_levels(self):
        for level in LEVELS:
            with self.subTest(level=level):
                self.check(run([os.path.abspath("hardened/shim/libhardened_%s.so" % level), INTERPOSER]))
                self.check(run([ENV, INTERPOSER], level=level))
                self.check(run([INTERPOSER, ENV], level=level))

    def test_with_a_policy_file(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "policy"), "w", encoding="utf-8") as policy:
                policy.write("* level=strict quarantine=2M\n")
            prefix = in_namespace(folder)
            if subprocess.run([*prefix, "true"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
                self.skipTest("no mount namespace of its own can be had here")
            self.check(run([ENV, INTERPOSER], prefix))
            with open(os.path.join(folder, "policy"), "w", encoding="utf-8") as policy:
                policy.write("* disable\n")
            self.check(run([ENV, INTERPOSER], prefix))


if __name__ == "__main__":
    unittest.main()
