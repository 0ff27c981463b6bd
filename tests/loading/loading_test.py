#!/usr/bin/env python3
"""Libraries and names that lead around the heap, and tools and policies before which it steps aside."""

import os
import shutil
import subprocess
import tempfile
import unittest

HERE = "tests/loading/"
LEVELS = ["light", "standard", "strict", "paranoid"]
LIBRARIES = ["hardened_" + level for level in LEVELS] + ["hardened"]


def path(name):
    return os.path.realpath(HERE + name)


def library(name):
    return os.path.realpath("hardened/shim/lib%s.so" % name)


def run(*command, preload=None, prefix=(), **variables):
    """Status, what was said on stdout and on stderr."""
    environment = {"PATH": os.environ["PATH"], **variables}
    if preload is not None:
        prefix = [*prefix, "env", "LD_PRELOAD=" + preload]
    done = subprocess.run([*prefix, *command], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=500, check=False)
    return done.returncode, done.stdout, done.stderr


def in_namespace(folder):
    return ["unshare", "-rm", "sh", "-ec",
            'mount -t tmpfs none /etc; cp -r "$0" /etc/hardened; chmod -R go-w /etc/hardened; exec "$@"', folder]


class LoadingTest(unittest.TestCase):
    def check(self, *command):
        """As on libc, with every level."""
        control = run(*command)
        self.assertEqual((control[0], control[2]), (0, ""))
        for name in LIBRARIES:
            self.assertEqual(run(*command, preload=library(name)), control, name)
        for level in LEVELS:
            self.assertEqual(run(*command, preload=library("hardened"), HARDENED_LEVEL=level), control, level)
        return control[1]

    def with_policy(self, text):
        """The prefix of a command that runs under this policy."""
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        os.mkdir(os.path.join(folder, "policy.d"))
        with open(os.path.join(folder, "policy.d", "test.policy"), "w", encoding="utf-8") as policy:
            policy.write(text)
        prefix = in_namespace(folder)
        if subprocess.run([*prefix, "true"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
            self.skipTest("no mount namespace of its own can be had here")
        return prefix

    def test_all_names_of_the_family(self):
        self.assertEqual(self.check(path("names")), "ok\n")

    def test_a_malloc_of_libc_names(self):
        self.assertEqual(self.check(path("wrapper")), "ok 300\n")

    def test_deepbind(self):
        for how in ["file", "space"]:
            self.assertEqual(self.check(path("deep"), path("libplug.so"), how), "ok\n")

    def test_deepbind_left_on(self):
        """It is said, once; and the first pointer that passes ends the process: that is why it is off."""
        done = run(path("deep"), path("libplug.so"), "file", preload=library("hardened_standard"),
                   HARDENED_OPTIONS="deepbind=on")
        self.assertNotEqual(done[0], 0)
        self.assertEqual(done[2].count("RTLD_DEEPBIND"), 1)

    def test_the_caller_of_dlopen_is_seen(self):
        self.assertEqual(self.check(path("runpath"), path("libcaller.so")), "7 7 7 7 not for the program\n")

    def test_disable(self):
        prefix = self.with_policy("* disable\n")
        control = run(path("idle"))
        self.assertEqual(control[2], "none\n")
        done = run(path("idle"), preload=library("hardened"), prefix=prefix)
        self.assertEqual(done, (0, control[1], "off\n"))
        # And the test sees what it looks for.
        done = run(path("idle"), preload=library("hardened"))
        self.assertEqual(done[2], "standard\n")
        self.assertIn("address space large", done[1])

    def test_disable_serves_all_names(self):
        prefix = self.with_policy("* disable\n")
        for command in ([path("names")], [path("wrapper")]):
            self.assertEqual(run(*command, preload=library("hardened"), prefix=prefix), run(*command))

    def test_disable_leaves_deepbind(self):
        prefix = self.with_policy("* disable deepbind=off\n")
        done = run(path("deep"), path("libplug.so"), "file", preload=library("hardened"), prefix=prefix)
        self.assertEqual(done, (0, "ok\n", ""))

    def test_valgrind(self):
        if shutil.which("valgrind") is None:
            self.skipTest("no valgrind here")
        command = ["valgrind", "-q", "--error-exitcode=9", path("names"), "valgrind"]
        control = run(*command)
        if control != (0, "ok\n", ""):
            self.skipTest("valgrind has something to say on libc: " + control[2])
        for name in LIBRARIES:
            self.assertEqual(run(*command, preload=library(name)), control, name)

    def test_sanitizers(self):
        """Whose runtimes stand behind a preloaded library; or, of clang, within the program."""
        tried = 0
        for compiler in ["g++", "clang++"]:
            for sanitizer in ["address", "thread", "leak"]:
                with self.subTest(compiler=compiler, sanitizer=sanitizer), tempfile.TemporaryDirectory() as folder:
                    program = os.path.join(folder, "ordinary")
                    try:
                        built = run(compiler, "-std=c++17", "-pthread", "-O1", "-fsanitize=" + sanitizer,
                                    "-fno-builtin", path("ordinary.cc"), "-ldl", "-o", program)
                    except FileNotFoundError:
                        continue
                    if built[0] != 0 or run(program) != (0, "ok none\n", ""):
                        continue
                    tried += 1
                    done = run(program, preload=library("hardened"))
                    if "ASan runtime does not come first" in done[2]:
                        # Its own rule, whatever is preloaded.
                        done = run(program, preload=library("hardened"), ASAN_OPTIONS="verify_asan_link_order=0")
                    self.assertEqual(done, (0, "ok off\n", ""))
        if tried == 0:
            self.skipTest("no sanitizer here")


if __name__ == "__main__":
    unittest.main()
