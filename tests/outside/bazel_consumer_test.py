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


class Workspace:
    """A copy of examples/bazel_consumer beside a copy of the checkout, with a Bazel of its own."""

    def __init__(self):
        self.temporary = temporary_folder()
        # The whole checkout, so that the example's relative path leads somewhere.
        checkout = pathlib.Path(self.temporary.name, "checkout")
        shutil.copytree(ROOT, checkout, ignore=LEFT_OUT, symlinks=True)
        self.folder = checkout / "examples/bazel_consumer"
        # Class cleanups do not run on an interrupt.
        atexit.register(self.shut_down)

    def command(self, *words):
        # A server of its own, below the temporary folder; it ends by itself if all else fails.
        return ["bazel", "--output_base=%s/output_base" % self.temporary.name, "--max_idle_secs=60", *words]

    def build(self, *words):
        # .bazelrc has what a user needs; the cache shared with tools/test saves compiling.
        cache = ["--disk_cache=%s/.cache/hardened-bazel" % os.environ["HOME"]] if "HOME" in os.environ else []
        run(*self.command("build", *cache, "--noshow_progress", *words), cwd=self.folder)

    def shut_down(self):
        if self.folder.is_dir():
            subprocess.run(self.command("shutdown"), cwd=self.folder, check=False, capture_output=True)
            # Bazel leaves folders that cannot be written.
            subprocess.run(
                ["chmod", "-R", "u+w", self.temporary.name + "/output_base"], check=False, capture_output=True
            )

    def close(self):
        self.shut_down()
        self.temporary.cleanup()


class BazelConsumerTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        workspace = Workspace()
        cls.addClassCleanup(workspace.close)
        cls.workspace, cls.build = workspace.folder, workspace.build
        cls.build("//...", "@hardened//:libhardened_strict.so")

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
