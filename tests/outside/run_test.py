"""tools/run and the tools that rely on it: a library that cannot be had is an error, whatever the cause.

Each test has a copy of the checkout, and folders in front of PATH with commands that fail.
"""

import os
import pathlib
import shutil
import subprocess
import unittest

from support import ROOT, run, temporary_folder

NOBODY = 65534
# Root may write everywhere and install packages: these tests are of other users.
USER = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
NOT_COPIED = shutil.ignore_patterns(".git", ".out", "bazel-*", "__pycache__", ".bazelrc.user")
LEVELS = ("light", "standard", "strict", "paranoid")

# Every tool that builds, with the arguments that make it do so. {marker} must not come to be.
TOOLS = [
    ("run", "touch", "{marker}"),
    ("run", "--level=strict", "touch", "{marker}"),
    ("run", "--bounds", "touch", "{marker}"),
    ("run", "--print-library"),
    ("policy", "show", "strict"),
    ("install", "--prefix={folder}/prefix"),
    ("bench", "--quick", "--only=pair/16", "--peers=", "--levels=light", "--rounds=1"),
    ("bench", "--ladder", "--quick"),
    ("bench", "--instructions"),
    ("attack", "--only=double_free_immediate_64_1", "--peers=", "--levels=light", "--runs=1"),
    ("entropy", "--quick", "--only=fresh", "--levels=light"),
    ("fuzz", "--seconds=1", "all"),
    ("checks/programs", "--level=light", "--only=library"),
    ("checks/machine", "--packages=perl"),
    ("test", "--quick", "//tests/wayin:all"),
]


class CheckoutTest(unittest.TestCase):
    def setUp(self):
        folder = temporary_folder()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.checkout = self.folder / "checkout"
        shutil.copytree(ROOT, self.checkout, ignore=NOT_COPIED, symlinks=True)
        self.out = self.checkout / ".out"
        self.marker = self.folder / "marker"
        self.stubs = self.folder / "bin"
        self.stubs.mkdir()
        (self.folder / "home").mkdir()

    def stub(self, name, *lines):
        """A command in front of PATH."""
        path = self.stubs / name
        path.write_text("#!/bin/sh\n" + "\n".join(lines) + "\n", encoding="utf-8")
        path.chmod(0o755)

    def tool(self, *words, **more):
        """Runs a tool of the copy to whatever end."""
        env = {
            "PATH": "%s:%s" % (self.stubs, os.environ["PATH"]),
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder),
            "LC_ALL": "C.UTF-8",
        }
        words = [word.format(marker=self.marker, folder=self.folder) for word in words]
        return run(self.checkout / "tools" / words[0], *words[1:], status=None, env=env, **more)

    def check_fails(self, *words, said="", **more):
        self.marker.unlink(missing_ok=True)
        done = self.tool(*words, **more)
        what = "%s\n%s%s" % (" ".join(words), done.stdout, done.stderr)
        self.assertNotEqual(done.returncode, 0, what)
        self.assertLess(done.returncode, 126, what)
        self.assertFalse(self.marker.exists(), what)
        self.assertIn(said, done.stderr, what)
        if words[0] == "run":
            self.assertEqual((done.returncode, done.stdout), (1, ""), what)
        return done

    def put_libraries(self):
        """What tools/run has built of the same sources."""
        self.out.mkdir()
        for words in ([], ["--level=strict"]):
            built = pathlib.Path(run(ROOT / "tools/run", *words, "--print-library").stdout.strip()).resolve()
            for name in (built.name, built.name + ".stamp"):
                shutil.copy(built.with_name(name), self.out / name)

    def share(self):
        """Gives the copy to the user of these tests."""
        if USER:
            run("chown", "-R", NOBODY, self.folder)


class BuildFailsTest(CheckoutTest):
    def setUp(self):
        super().setUp()
        # Nothing is to be installed for these tests.
        self.stub("dpkg-query", "printf installed")

    def test_bazel_fails(self):
        self.stub("bazel", "echo broken >&2", "exit 1")
        for words in TOOLS:
            with self.subTest(words):
                self.check_fails(*words)

    def test_bazel_is_killed(self):
        self.stub("bazel", "kill -9 $$")
        self.check_fails("run", "touch", "{marker}", said="building failed")

    def test_bazel_tells_no_folder(self):
        self.stub("bazel", '[ "$1" = build ]')
        self.check_fails("run", "touch", "{marker}", said="bazel info failed")

    def test_bazel_builds_nothing(self):
        self.stub("bazel", "exit 0")
        for words in TOOLS:
            with self.subTest(words):
                self.check_fails(*words)

    def test_bazel_is_missing(self):
        tools = self.folder / "all"
        tools.mkdir()
        for folder in os.environ["PATH"].split(":"):
            for path in pathlib.Path(folder).glob("*") if os.path.isdir(folder) else []:
                if not path.name.startswith("bazel") and not (tools / path.name).exists():
                    (tools / path.name).symlink_to(path)
        self.addCleanup(os.environ.__setitem__, "PATH", os.environ["PATH"])
        os.environ["PATH"] = str(tools)
        self.check_fails("run", "touch", "{marker}", said="building failed")

    def test_the_compiler_fails(self):
        self.stub("gcc", "echo no compiler today >&2", "exit 1")
        # A server of its own, which ends by itself if all else fails.
        base = self.folder / "output_base"
        (self.checkout / ".bazelrc.user").write_text("build --repo_env=CC=%s/gcc\n" % self.stubs, encoding="utf-8")
        startup = "startup --output_base=%s --max_idle_secs=60\n" % base
        rc = self.checkout / ".bazelrc"
        rc.write_text(startup + rc.read_text(encoding="utf-8"), encoding="utf-8")
        try:
            self.check_fails("run", "touch", "{marker}", said="building failed")
        finally:
            subprocess.run(["bazel", "shutdown"], cwd=self.checkout, check=False, capture_output=True)
            subprocess.run(["chmod", "-R", "u+w", base], check=False, capture_output=True)

    def test_a_library_of_other_sources_is_not_used(self):
        self.put_libraries()
        self.stub("bazel", "exit 1")
        self.assertEqual(self.tool("run", "touch", "{marker}").returncode, 0)
        self.marker.unlink()
        with open(self.checkout / "hardened/hardened.h", "a", encoding="utf-8") as header:
            header.write("/* another */\n")
        self.check_fails("run", "touch", "{marker}", said="of other sources")
        self.check_fails("run", "--level=strict", "touch", "{marker}", said="of other sources")

    def test_a_library_without_its_stamp_is_not_used(self):
        self.put_libraries()
        self.stub("bazel", "exit 1")
        (self.out / "libhardened.so.stamp").unlink()
        self.check_fails("run", "touch", "{marker}", said="building failed")

    def test_sources_that_cannot_be_read(self):
        self.put_libraries()
        self.stub("bazel", "exit 1")
        self.share()
        (self.checkout / "policies/light.h").chmod(0)
        self.check_fails("run", "touch", "{marker}", said="cannot be read", **USER)
        (self.checkout / "policies/light.h").unlink()
        self.check_fails("run", "touch", "{marker}", said="of other sources", **USER)


class NoPackagesTest(CheckoutTest):
    def setUp(self):
        super().setUp()
        self.stub("dpkg-query", "exit 1")
        self.stub("bazel", "exit 1")
        self.share()

    def test_sudo_refuses(self):
        self.stub("sudo", "echo sudo: a password is required >&2", "exit 1")
        for words in TOOLS:
            # These build with what is there, or are for root alone.
            if words[0] not in ("bench", "attack", "entropy", "checks/machine"):
                with self.subTest(words):
                    self.check_fails(*words, said="apt-get install -y", **USER)

    def test_apt_get_fails(self):
        self.stub("sudo", '[ "$1" != -n ] || shift', 'exec "$@"')
        self.stub("apt-get", "exit 100")
        self.check_fails("run", "touch", "{marker}", said="installing failed", **USER)


class ReadOnlyTest(CheckoutTest):
    def setUp(self):
        super().setUp()
        self.stub("dpkg-query", "printf installed")
        self.stub("bazel", "exit 1")

    def seal(self):
        """Nobody but root may write to the copy."""
        run("chmod", "-R", "a-w", self.checkout)
        self.addCleanup(run, "chmod", "-R", "u+w", self.checkout)

    def test_a_checkout_that_cannot_be_written(self):
        self.seal()
        for words in TOOLS:
            if words[0] in ("run", "policy"):
                with self.subTest(words):
                    self.check_fails(*words, said="cannot be written", **USER)

    def test_a_folder_that_cannot_be_written(self):
        self.put_libraries()
        (self.out / "libhardened.so.stamp").write_text("stale\n", encoding="utf-8")
        self.seal()
        self.check_fails("run", "touch", "{marker}", said="cannot be written", **USER)

    def test_what_is_built_already_runs(self):
        self.put_libraries()
        self.seal()
        done = self.tool("run", "cat", "/proc/self/maps", **USER)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(str(self.out / "libhardened.so"), done.stdout)


class PreloadFailsTest(CheckoutTest):
    """ld.so prints a line and goes on without a library that it cannot load."""

    def setUp(self):
        super().setUp()
        self.put_libraries()
        self.library = self.out / "libhardened.so"

    def check_refused(self):
        for words in (["touch", "{marker}"], ["--print-library"]):
            self.check_fails("run", *words, said="cannot be preloaded")

    def test_no_library_at_all(self):
        self.library.write_text("no library", encoding="utf-8")
        self.check_refused()

    def test_a_library_of_another_class(self):
        data = bytearray(self.library.read_bytes())
        data[4] = 3 - data[4]
        self.library.write_bytes(data)
        self.check_refused()

    def test_a_library_of_another_machine(self):
        data = bytearray(self.library.read_bytes())
        data[18] ^= 0xFF
        self.library.write_bytes(data)
        self.check_refused()

    def test_a_library_that_was_cut_off(self):
        self.library.write_bytes(self.library.read_bytes()[:1000])
        self.check_refused()

    def test_a_library_that_cannot_be_read(self):
        self.share()
        self.library.chmod(0)
        self.check_fails("run", "touch", "{marker}", said="cannot be preloaded", **USER)

    def test_each_of_two_libraries(self):
        # The heap is in order, the bounds are not.
        (self.out / "libhardened_bounds.so").write_text("no library", encoding="utf-8")
        shutil.copy(self.out / "libhardened.so.stamp", self.out / "libhardened_bounds.so.stamp")
        self.check_fails("run", "--bounds", "touch", "{marker}", said="libhardened_bounds.so cannot be preloaded")


class NoEffectTest(CheckoutTest):
    """Programs on which LD_PRELOAD has no effect run, with a warning."""

    def setUp(self):
        super().setUp()
        self.put_libraries()
        (self.folder / "probe.c").write_text(
            '#include <stdio.h>\nint main(void) { puts("runs"); return 7; }\n', encoding="utf-8"
        )

    def compile(self, name, *flags):
        program = self.folder / name
        run("gcc", self.folder / "probe.c", *flags, "-o", program)
        return program

    def check_warned(self, program, text):
        done = self.tool("run", str(program))
        self.assertEqual((done.returncode, done.stdout), (7, "runs\n"), done.stderr)
        if text is None:
            self.assertEqual(done.stderr, "")
        else:
            self.assertRegex(done.stderr, r"\Atools/run: warning: .*%s.*: LD_PRELOAD has no effect on it\n\Z" % text)

    def test_an_ordinary_program(self):
        self.check_warned(self.compile("ordinary"), None)
        self.check_warned(self.compile("without_pie", "-no-pie"), None)

    def test_a_static_program(self):
        self.check_warned(self.compile("static", "-static"), "static is linked statically")
        self.check_warned(self.compile("static_pie", "-static-pie"), "static_pie is linked statically")

    def test_a_script(self):
        static = self.compile("static", "-static")
        script = self.folder / "script"
        script.write_text("#! %s argument\n" % static, encoding="utf-8")
        script.chmod(0o755)
        self.check_warned(script, "static is linked statically")
        script.write_text("#!/bin/sh\necho runs\nexit 7\n", encoding="utf-8")
        self.check_warned(script, None)

    def test_a_set_uid_program(self):
        program = self.compile("set_uid")
        # To oneself it changes nothing.
        program.chmod(0o4755)
        self.check_warned(program, None)
        if os.geteuid() != 0:
            self.skipTest("only root can give a file to another user")
        for mode in (0o4755, 0o2755):
            os.chown(program, NOBODY, NOBODY)
            program.chmod(mode)
            self.check_warned(program, "set_uid is set-uid or set-gid")

    def test_a_program_of_another_architecture(self):
        # A copy of which the kernel would run nothing: only what tools/run says counts.
        program = self.compile("foreign")
        data = bytearray(program.read_bytes())
        data[18] ^= 0xFF
        program.write_bytes(data)
        done = self.tool("run", str(program))
        self.assertIn("foreign is of another architecture than the library", done.stderr)
        self.assertNotEqual(done.returncode, 0)

    def test_a_program_that_cannot_be_read(self):
        program = self.compile("unreadable")
        self.share()
        os.chmod(program, 0o111)
        done = self.tool("run", str(program), **USER)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (7, "runs\n", ""))
