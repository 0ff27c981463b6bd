"""Every tool tells how it is used and which version it is; there is one version."""

import re
import unittest

from support import ROOT, run

TOOLS = [
    "attack", "bench", "checks/check_layers.py", "checks/count_tests.py", "checks/machine", "checks/programs", "entropy",
    "fuzz", "install", "policy", "run", "test",
]  # fmt: skip
VERSION = re.search(r'#define HARDENED_VERSION "(.*)"', (ROOT / "hardened/hardened.h").read_text(encoding="utf-8"))[1]


class ToolsTest(unittest.TestCase):
    def test_these_are_all_tools(self):
        found = [
            str(path.relative_to(ROOT / "tools"))
            for folder in ("tools", "tools/checks")
            for path in (ROOT / folder).iterdir()
            if path.is_file() and path.stat().st_mode & 0o100
        ]
        self.assertEqual(sorted(found), TOOLS)

    def test_help_goes_to_standard_output(self):
        for tool in TOOLS:
            for words in (["--help"], ["-h"]):
                with self.subTest(tool):
                    done = run(ROOT / "tools" / tool, *words)
                    self.assertRegex(done.stdout, r"\A[Uu]sage: ")
                    self.assertEqual(done.stderr, "")

    def test_version(self):
        self.assertRegex(VERSION, r"\A\d+\.\d+\.\d+\Z")
        for tool in TOOLS:
            with self.subTest(tool):
                done = run(ROOT / "tools" / tool, "--version")
                self.assertEqual((done.stdout, done.stderr), ("tools/%s (hardened) %s\n" % (tool, VERSION), ""))

    def test_mistakes_go_to_standard_error(self):
        for tool in TOOLS:
            with self.subTest(tool):
                done = run(ROOT / "tools" / tool, "--nosuch", status=2)
                self.assertEqual(done.stdout, "")
                self.assertIn("--nosuch" if tool != "policy" else "usage: ", done.stderr)

    def test_module_and_examples_have_that_version(self):
        module = (ROOT / "MODULE.bazel").read_text(encoding="utf-8")
        self.assertIn('    version = "%s",\n' % VERSION, module)
        consumer = (ROOT / "examples/bazel_consumer/MODULE.bazel").read_text(encoding="utf-8")
        self.assertIn('bazel_dep(name = "hardened", version = "%s")' % VERSION, consumer)
        # Of 0.x another minor version is another interface.
        cmake = (ROOT / "examples/cmake_consumer/CMakeLists.txt").read_text(encoding="utf-8")
        self.assertIn("find_package(hardened %s REQUIRED)" % VERSION.rpartition(".")[0], cmake)

    def test_consumers_need_no_library_of_the_tests(self):
        module = (ROOT / "MODULE.bazel").read_text(encoding="utf-8")
        needed = re.findall(r'^bazel_dep\(name = "([^"]+)"(?!.*dev_dependency)', module, re.MULTILINE)
        self.assertEqual(sorted(needed), ["abseil-cpp", "platforms", "rules_cc"])
