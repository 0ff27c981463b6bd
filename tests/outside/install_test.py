"""tools/install: what it installs can be preloaded, linked with CMake and pkg-config, and removed."""

import os
import pathlib
import shutil
import stat
import subprocess
import unittest

from support import ROOT, check_consumer, run, temporary_folder

LEVELS = ("light", "standard", "strict", "paranoid")
LIBRARIES = ["lib/libhardened.so"] + ["lib/libhardened_%s.so" % name for name in LEVELS + ("bounds",)]


def install(*options, **more):
    return run(ROOT / "tools/install", *options, **more)


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


class InstalledTest(unittest.TestCase):
    """Installs once for all tests of a class."""

    @classmethod
    def setUpClass(cls):
        folder = temporary_folder()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.prefix = cls.folder / "prefix"
        install("--prefix=%s" % cls.prefix)


class ConsumerTest(InstalledTest):
    def copy(self, example):
        target = self.folder / self.id() / example
        shutil.copytree(ROOT / "examples" / example, target, ignore=shutil.ignore_patterns("build", "consumer"))
        return target

    def test_every_library_can_be_preloaded(self):
        for library in LIBRARIES:
            path = self.prefix / library
            maps = run("cat", "/proc/self/maps", env={"LD_PRELOAD": str(path)})
            self.assertIn(str(path.resolve()), maps.stdout)
            self.assertEqual(maps.stderr, "")

    def test_cmake_finds_it(self):
        source = self.copy("cmake_consumer")
        run("cmake", "-S", source, "-B", source / "build", "-DCMAKE_PREFIX_PATH=%s" % self.prefix)
        run("cmake", "--build", source / "build")
        check_consumer(self, source / "build/consumer")

    def test_cmake_links_a_level(self):
        source = self.copy("cmake_consumer")
        file = source / "CMakeLists.txt"
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace("hardened::hardened)", "hardened::hardened_strict)"), encoding="utf-8")
        run("cmake", "-S", source, "-B", source / "build", "-DCMAKE_PREFIX_PATH=%s" % self.prefix)
        run("cmake", "--build", source / "build")
        check_consumer(self, source / "build/consumer", level="strict")

    def test_cmake_refuses_a_version_that_is_not_there(self):
        source = self.folder / "cmake_version"
        source.mkdir()
        for version, found in (("", True), ("0.1.0 EXACT", True), ("0.1", True), ("0.0", False), ("0.9", False), ("1.0", False)):
            (source / "CMakeLists.txt").write_text(
                "cmake_minimum_required(VERSION 3.13)\nproject(v LANGUAGES C)\n"
                "find_package(hardened %s REQUIRED)\n" % version,
                encoding="utf-8",
            )
            done = run(
                "cmake", "-S", source, "-B", source / "build", "-DCMAKE_PREFIX_PATH=%s" % self.prefix, status=None
            )
            self.assertEqual(done.returncode == 0, found, version + done.stderr)
            shutil.rmtree(source / "build")

    # A program that calls no malloc itself, where the linker drops what seems not to be needed.
    CALLS_NO_MALLOC = """
#include <dlfcn.h>
#include <hardened/hardened.h>
#include <stdio.h>
#include <string.h>
HARDENED_DEFAULT_OPTIONS("level=strict:quarantine=2M");
int main() {
  const char* (*policy)() = 0;
  void* found = dlsym(0, "hardened_policy");
  memcpy(&policy, &found, sizeof(policy));
  puts(policy ? policy() : "none");
  return 0;
}
"""
    LANGUAGES = {"c": "gcc", "cc": "g++"}

    def write_program(self, name):
        source = self.folder / name
        source.mkdir()
        for language in self.LANGUAGES:
            (source / ("main." + language)).write_text(self.CALLS_NO_MALLOC, encoding="utf-8")
        return source

    def check_policy(self, program, **more):
        self.assertEqual(run(program, **more).stdout, "level=strict:quarantine=2M\n", program)

    def test_pkg_config_links_it_although_not_needed(self):
        source = self.write_program("pkg_config_no_malloc")
        env = {**os.environ, "PKG_CONFIG_PATH": "%s/lib/pkgconfig" % self.prefix}
        flags = run("pkg-config", "--cflags", "--libs", "hardened", env=env).stdout.split()
        export = run("pkg-config", "--variable=export", "hardened", env=env).stdout.split()
        for language, compiler in self.LANGUAGES.items():
            main = source / ("main." + language)
            run(compiler, main, "-Wl,--as-needed", *flags, "-Wl,-rpath,%s/lib" % self.prefix, "-o", source / language)
            self.check_policy(source / language)
            # The control: what was written before there was this flag.
            run(compiler, main, "-Wl,--as-needed", flags[0], "-L%s/lib" % self.prefix, "-lhardened", "-o", source / "plain")
            self.assertEqual(run(source / "plain").stdout, "none\n")
            # Not linked, and preloaded.
            run(compiler, main, flags[0], *export, "-o", source / "preloaded")
            self.assertEqual(run(source / "preloaded").stdout, "none\n")
            self.check_policy(source / "preloaded", env={"LD_PRELOAD": "%s/lib/libhardened.so" % self.prefix})

    def test_cmake_links_it_although_not_needed(self):
        source = self.write_program("cmake_no_malloc")
        (source / "CMakeLists.txt").write_text(
            "cmake_minimum_required(VERSION 3.13)\nproject(n LANGUAGES C CXX)\n"
            "find_package(hardened REQUIRED)\n"
            + "".join(
                "add_executable({0} main.{0})\ntarget_link_libraries({0} PRIVATE hardened::hardened)\n".format(language)
                for language in self.LANGUAGES
            ),
            encoding="utf-8",
        )
        run(
            "cmake", "-S", source, "-B", source / "build", "-DCMAKE_PREFIX_PATH=%s" % self.prefix,
            "-DCMAKE_EXE_LINKER_FLAGS=-Wl,--as-needed",
        )  # fmt: skip
        run("cmake", "--build", source / "build")
        for language in self.LANGUAGES:
            self.check_policy(source / "build" / language)

    def test_the_policy_tool_works_from_the_prefix(self):
        tool = self.prefix / "bin/hardened-policy"
        env = {"PATH": "/nonexistent"}
        self.assertRegex(run(tool, "show", "strict", env=env).stdout, r"(?m)^  canary .* x [0-9.]+$")
        self.assertRegex(run(tool, "explain", "/bin/sh", env=env).stdout, r"(?m)^  level +standard")
        for policy in sorted((self.prefix / "share/hardened/policies").glob("*.policy")):
            run(tool, "check", policy, env=env)
        self.assertRegex(run(tool, "show", "--help", env=env).stdout, r"\Ausage: hardened-policy ")
        self.assertRegex(run(tool, "--version", env=env).stdout, r"\Ahardened-policy \(hardened\) [0-9.]+\n\Z")
        self.assertIn("usage: hardened-policy", run(tool, status=2, env=env).stderr)

    def test_pkg_config_finds_it(self):
        source = self.copy("pkgconfig_consumer")
        env = {**os.environ, "PKG_CONFIG_PATH": "%s/lib/pkgconfig" % self.prefix}
        run("make", "-C", source, env=env)
        check_consumer(self, source / "consumer")
        preload = run("pkg-config", "--variable=preload", "hardened", env=env).stdout.strip()
        self.assertEqual(preload, "%s/lib/libhardened.so" % self.prefix)


class InstallTest(unittest.TestCase):
    def setUp(self):
        folder = temporary_folder()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.prefix = self.folder / "prefix"

    def test_installs_what_it_says(self):
        install("--prefix=%s" % self.prefix)
        files = files_below(self.prefix)
        for file in LIBRARIES + [
            "bin/hardened-policy",
            "include/hardened/hardened.h",
            "lib/cmake/hardened/hardenedConfig.cmake",
            "lib/cmake/hardened/hardenedConfigVersion.cmake",
            "lib/pkgconfig/hardened.pc",
            "share/doc/hardened/DEPLOYMENT.md",
            "share/doc/hardened/README.md",
            "share/doc/hardened/SECURITY.md",
            "share/hardened/costs.json",
        ]:
            self.assertIn(file, files)
        ready = ROOT / "policies/ready"
        for policy in ready.glob("*.policy") if ready.is_dir() else []:
            self.assertIn("share/hardened/policies/" + policy.name, files)
        listed = (self.prefix / "share/hardened/installed_files").read_text(encoding="utf-8").split()
        self.assertEqual(listed, files)

    def test_others_may_read_and_not_write(self):
        install("--prefix=%s" % self.prefix, umask=0o077)
        for path in [self.prefix, *self.prefix.rglob("*")]:
            mode = path.stat().st_mode
            self.assertEqual(mode & 0o044, 0o044, path)
            self.assertFalse(mode & 0o022, path)
            if stat.S_ISDIR(mode):
                self.assertEqual(mode & 0o011, 0o011, path)

    def test_again_changes_nothing_and_uninstall_removes_all(self):
        (self.prefix / "lib").mkdir(parents=True)
        foreign = self.prefix / "lib/another.so"
        foreign.write_text("", encoding="utf-8")
        install("--prefix=%s" % self.prefix)
        first = files_below(self.prefix)
        install("--prefix=%s" % self.prefix)
        self.assertEqual(files_below(self.prefix), first)
        install("--prefix=%s" % self.prefix, "--uninstall")
        self.assertEqual(files_below(self.prefix), ["lib/another.so"])
        again = install("--prefix=%s" % self.prefix, "--uninstall")
        self.assertIn("nothing is installed", again.stderr)

    def test_removes_what_an_older_version_left(self):
        install("--prefix=%s" % self.prefix)
        stale = self.prefix / "lib/libhardened_old.so"
        stale.write_text("", encoding="utf-8")
        with open(self.prefix / "share/hardened/installed_files", "a", encoding="utf-8") as manifest:
            manifest.write("lib/libhardened_old.so\n")
        install("--prefix=%s" % self.prefix)
        self.assertFalse(stale.exists())

    def test_never_leaves_the_prefix(self):
        install("--prefix=%s" % self.prefix)
        outside = self.folder / "outside"
        outside.write_text("", encoding="utf-8")
        (self.prefix / "share/hardened/installed_files").write_text("../outside\n", encoding="utf-8")
        done = install("--prefix=%s" % self.prefix, "--uninstall", status=1)
        self.assertIn("is damaged", done.stderr)
        self.assertTrue(outside.exists())

    def test_running_programs_keep_the_old_library(self):
        install("--prefix=%s" % self.prefix)
        library = self.prefix / "lib/libhardened_standard.so"
        program = subprocess.Popen(["sleep", "60"], env={"LD_PRELOAD": str(library)})
        try:
            before = library.stat().st_ino
            install("--prefix=%s" % self.prefix)
            self.assertNotEqual(library.stat().st_ino, before)
            self.assertIsNone(program.poll())
        finally:
            program.kill()
            program.wait()

    def test_destdir_is_not_named_in_the_files(self):
        install("--destdir=%s" % self.folder, "--prefix=/opt/hardened")
        root = self.folder / "opt/hardened"
        pc = (root / "lib/pkgconfig/hardened.pc").read_text(encoding="utf-8")
        self.assertIn("prefix=/opt/hardened\n", pc)
        for path in root.rglob("*"):
            if path.suffix in (".pc", ".cmake") or path.name == "installed_files":
                self.assertNotIn(str(self.folder), path.read_text(encoding="utf-8"))
        install("--destdir=%s" % self.folder, "--prefix=/opt/hardened", "--uninstall")
        self.assertEqual(files_below(self.folder), [])

    def test_says_what_is_wrong(self):
        for options, status, text in (
            (["--prefix=relative"], 2, "absolute path"),
            (["--prefix=%s/with space" % self.folder], 2, "absolute path of letters"),
            (["--prefix=/"], 2, "cannot be the root"),
            (["--prefx=/usr"], 2, "unknown option --prefx=/usr"),
            (["--prefix=/proc/hardened"], 1, "/proc/hardened/lib cannot be written"),
        ):
            self.assertIn(text, install(*options, status=status).stderr)


class SystemdExamplesTest(unittest.TestCase):
    def test_systemd_knows_every_line(self):
        if not shutil.which("systemd-analyze"):
            self.skipTest("systemd-analyze is not installed")
        folder = temporary_folder()
        self.addCleanup(folder.cleanup)
        drop_ins = sorted((ROOT / "examples/systemd").glob("*.service.d"))
        self.assertTrue(drop_ins)
        for drop_in in drop_ins:
            unit = pathlib.Path(folder.name, drop_in.name[: -len(".d")])
            unit.write_text("[Service]\nExecStart=/bin/true\n", encoding="utf-8")
            shutil.copytree(drop_in, unit.with_name(drop_in.name))
            env = {**os.environ, "SYSTEMD_UNIT_PATH": folder.name + ":"}
            # It also tells what is wrong with other units of the machine.
            told = run("systemd-analyze", "verify", unit, env=env).stderr.splitlines()
            self.assertEqual([line for line in told if unit.name in line or folder.name in line], [])
            self.assertIn("LD_PRELOAD=/usr/local/lib/libhardened.so\n", (drop_in / "hardened.conf").read_text())
