"""A separate Bazel workspace builds and runs on this repository as a dependency."""

import atexit
import os
import pathlib
import shutil
import subprocess
import unittest

from support import ROOT, check_consumer, run, temporary_folder

# Not part of what a consumer gets.
LEFT_OUT = shutil.ignore_patterns(".git", ".out", "bazel-*", "__pycache__", ".bazelrc.user")


class BazelConsumerTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = temporary_folder()
        cls.addClassCleanup(cls.folder.cleanup)
        # The whole checkout, so that the example's relative path leads somewhere.
        checkout = pathlib.Path(cls.folder.name, "checkout")
        shutil.copytree(ROOT, checkout, ignore=LEFT_OUT, symlinks=True)
        cls.workspace = checkout / "examples/bazel_consumer"
        cls.addClassCleanup(cls.shut_down)
        # Class cleanups do not run on an interrupt.
        atexit.register(cls.shut_down)
        cls.build("//...", "@hardened//:libhardened_strict.so")

    @classmethod
    def command(cls, *words):
        # A server of its own, below the temporary folder; it ends by itself if all else fails.
        return ["bazel", "--output_base=%s/output_base" % cls.folder.name, "--max_idle_secs=60", *words]

    @classmethod
    def build(cls, *words):
        # .bazelrc has what a user needs; the cache shared with tools/test saves compiling.
        cache = ["--disk_cache=%s/.cache/hardened-bazel" % os.environ["HOME"]] if "HOME" in os.environ else []
        run(*cls.command("build", *cache, "--noshow_progress", *words), cwd=cls.workspace)

    @classmethod
    def shut_down(cls):
        if cls.workspace.is_dir():
            subprocess.run(cls.command("shutdown"), cwd=cls.workspace, check=False, capture_output=True)
            # Bazel leaves folders that cannot be written.
            subprocess.run(["chmod", "-R", "u+w", cls.folder.name + "/output_base"], check=False, capture_output=True)

    def test_links_the_allocator_as_a_dependency(self):
        check_consumer(self, self.workspace / "bazel-bin/with_deps")

    def test_links_the_allocator_as_malloc(self):
        check_consumer(self, self.workspace / "bazel-bin/with_malloc")

    def test_builds_a_library_to_preload(self):
        library = self.workspace / "bazel-bin/external/hardened/hardened/shim/libhardened_strict.so"
        maps = run("cat", "/proc/self/maps", env={"LD_PRELOAD": str(library)})
        self.assertIn(str(library.resolve()), maps.stdout)
        self.assertEqual(maps.stderr, "")

    def test_the_level_is_a_flag(self):
        # Back again, because the other tests share the output folder.
        self.addCleanup(self.build, "//...", "@hardened//:libhardened_strict.so")
        self.build("--@hardened//policies:level=strict", "//:with_malloc")
        check_consumer(self, self.workspace / "bazel-bin/with_malloc", level="strict")
