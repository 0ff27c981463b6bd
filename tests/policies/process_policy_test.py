#!/usr/bin/env python3
"""Every setting changes what happens in a process, and every source counts as it should."""

import itertools
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, "tests/support")
sys.dont_write_bytecode = True
from kernel_guards import kernel_has_guards

LIBRARY = os.path.abspath("hardened/shim/libhardened.so")
FIXED = os.path.abspath("hardened/shim/libhardened_standard.so")
PROBE = os.path.realpath("tests/policies/process_probe")
OWN_OPTIONS = os.path.abspath("tests/policies/process_probe_strict")
LEVELS = ["light", "standard", "strict", "paranoid"]
SIGABRT, SIGSEGV = -6, -11

# Event -> (words of its report, the weakest level that finds it).
EVENTS = {
    "double_free": ("double free", "light"),
    "invalid_free": ("interior pointer", "light"),
    "foreign_pointer": ("foreign pointer", "light"),
    "mismatch": ("allocation kind mismatch", "light"),
    "sized_delete": ("size mismatch", "standard"),
    "canary": ("canary", "standard"),
    "write_after_free": ("write after free", "standard"),
}


def run(deed, level=None, options=None, library=LIBRARY, probe=PROBE, prefix=(), **environment):
    env = {"PATH": os.environ["PATH"], **environment}
    if level is not None:
        env["HARDENED_LEVEL"] = level
    if options is not None:
        env["HARDENED_OPTIONS"] = options
    preload = ["env", "LD_PRELOAD=" + library]
    return subprocess.run([*prefix, *preload, probe, deed], env=env, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=600)


def number(deed, level, options):
    done = run(deed, level, options)
    assert done.returncode == 0, (deed, options, done)
    return int(done.stdout)


def policy(**arguments):
    """(level, policy, stderr) of a process."""
    done = run("policy", **arguments)
    assert done.returncode == 0, done
    level, text = done.stdout.split()
    return level, text, done.stderr


class EnvironmentTest(unittest.TestCase):
    def test_levels(self):
        self.assertEqual(policy()[:2], ("standard", "level=standard"))
        for level in LEVELS:
            self.assertEqual(policy(level=level), (level, "level=" + level, ""))
            self.assertEqual(policy(options="level=" + level), (level, "level=" + level, ""))

    def test_what_is_wrong_is_named_and_changes_nothing(self):
        for level, options, word in [("strickt", None, "strickt"), ("", None, "HARDENED_LEVEL"),
                                     (None, "quarantin=4M", "quarantin"), (None, "quarantine=4X", "4X"),
                                     (None, "sample=2/3", "2/3"), (None, "audit=maybe", "maybe"),
                                     (None, "quarantine=1", "quarantine=1"), (None, "disable", "disable")]:
            found = policy(level=level, options=options)
            self.assertEqual(found[:2], ("standard", "level=standard"), options)
            self.assertIn(word, found[2])
            self.assertEqual(found[2].count("\n"), 1, found[2])

    def test_the_rest_of_a_wrong_text_counts(self):
        level, text, told = policy(options="nonsense:level=strict:quarantine=2M")
        self.assertEqual((level, text), ("strict", "level=strict:quarantine=2M"))
        self.assertIn("nonsense", told)

    def test_a_library_of_one_level_says_so(self):
        level, text, told = policy(level="strict", options="quarantine=2M", library=FIXED)
        self.assertEqual((level, text), ("standard", "level=standard:quarantine=2M"))
        self.assertIn("level=strict", told)

    def test_no_effect_is_told(self):
        level, text, told = policy(level="light", options="quarantine=2M")
        self.assertEqual((level, text), ("light", "level=light"))
        self.assertIn("quarantine=2M", told)


class EventTest(unittest.TestCase):
    def check(self, event, action, done):
        text = EVENTS[event][0]
        expected = SIGABRT if action == "abort" else 0
        self.assertEqual(done.returncode, expected, (event, action, done.stderr))
        if action == "ignore":
            self.assertEqual(done.stderr, "", (event, action))
        else:
            self.assertIn(text, done.stderr, (event, action))

    def test_every_action_at_every_level(self):
        for event, level, action in itertools.product(EVENTS, LEVELS, ["abort", "report", "ignore"]):
            if LEVELS.index(level) < LEVELS.index(EVENTS[event][1]):
                continue
            options = "sample=0:quarantine_check=1/1:%s=%s" % (event, action)
            if level == "light":
                options = "sample=0:%s=%s" % (event, action)
            with self.subTest(event=event, level=level, action=action):
                self.check(event, action, run(event, level, options))

    def test_audit_survives_everything(self):
        for event in EVENTS:
            done = run(event, "strict", "audit:sample=0")
            self.check(event, "report", done)
            self.check(event, "abort", run(event, "strict", "sample=0"))

    def test_audit_leaves_what_was_set_by_itself(self):
        self.check("double_free", "abort", run("double_free", "strict", "audit:double_free=abort"))


class SettingTest(unittest.TestCase):
    def test_quarantine(self):
        self.assertLess(number("reuse_distance", "standard", "sample=0:quarantine=64K"), 1500)
        self.assertGreater(number("reuse_distance", "standard", "sample=0"), 4096)
        self.assertGreater(number("reuse_distance", "standard", "sample=0:quarantine=4M"), 20000)

    def test_quarantine_check(self):
        always = run("write_after_free", "standard", "sample=0:quarantine_check=1/1")
        self.assertEqual(always.returncode, SIGABRT)
        never = run("write_after_free", "standard", "sample=0:quarantine_check=0")
        self.assertEqual((never.returncode, never.stderr), (0, ""))

    def test_sample(self):
        always = run("use_after_free", "light", "sample=1/1")
        self.assertEqual(always.returncode, SIGSEGV)
        self.assertIn("freed at", always.stderr)
        self.assertEqual(run("use_after_free", "light", "sample=0").returncode, 0)

    @unittest.skipUnless(kernel_has_guards(), "guards are mappings here, and there are not as many")
    def test_sampling_goes_on(self):
        for level in LEVELS:
            late = run("use_after_free_of_a_late_sample", level, "sample=1/1")
            self.assertEqual(late.returncode, SIGSEGV, (level, late))

    def test_explain_faults(self):
        told = run("use_after_free", "light", "sample=1/1")
        self.assertIn("use after free", told.stderr)
        silent = run("use_after_free", "light", "sample=1/1:explain_faults=off")
        self.assertEqual((silent.returncode, silent.stderr), (SIGSEGV, ""))

    def test_run_hold(self):
        self.assertEqual(run("held_run", "standard", "run_hold=64M").stdout, "guarded\n")
        self.assertEqual(run("held_run", "standard", "run_hold=0").stdout, "readable\n")
        self.assertEqual(run("held_run", "strict").stdout, "guarded\n")

    def test_run_cache(self):
        # However long the probe is stopped in between.
        self.assertGreater(number("run_addresses", "standard", "sample=0:purge_delay=3600000"), 65)
        self.assertLess(number("run_addresses", "standard", "sample=0:run_cache=0"), 50)

    def test_guard_slabs(self):
        self.assertEqual(number("guarded_slabs", "standard", "sample=0:guard_slabs=1"), 16)
        self.assertLess(number("guarded_slabs", "standard", "sample=0:guard_slabs=0"), 4)

    def test_placement(self):
        self.assertGreater(number("near_neighbours", "light", "sample=0:placement=256"), 180)
        self.assertLess(number("near_neighbours", "light", "sample=0:placement=uniform"), 40)

    def test_lanes(self):
        # One time in 16 the same slab again.
        self.assertLess(number("near_neighbours", "light", "sample=0:placement=64:lanes=16"), 60)
        self.assertGreater(number("near_neighbours", "light", "sample=0:placement=64:lanes=1"), 180)

    def test_purge_delay(self):
        self.assertGreater(number("purge", "light", "purge_delay=60000"), 3000)
        self.assertLess(number("purge", "light", "purge_delay=10"), 1500)

    def test_seed(self):
        # Where the kernel puts things may differ; the offset in a slice comes from the stream.
        def offsets(options):
            return [int(run("address", "standard", options).stdout, 16) & 0xffff for _ in range(4)]
        self.assertEqual(len(set(offsets("seed=42:sample=0"))), 1)
        self.assertNotEqual(offsets("seed=42:sample=0")[0], offsets("seed=43:sample=0")[0])
        self.assertGreater(len(set(offsets("sample=0"))), 1)


class ProgramTest(unittest.TestCase):
    """A program with hardened_default_options = "level=strict:quarantine=2M"."""

    def test_its_own_default_counts(self):
        self.assertEqual(policy(probe=OWN_OPTIONS), ("strict", "level=strict:quarantine=2M", ""))

    def test_the_environment_counts_more(self):
        self.assertEqual(policy(probe=OWN_OPTIONS, level="paranoid", options="quarantine=16M")[:2],
                         ("paranoid", "level=paranoid:quarantine=16M"))


def namespace_works():
    try:
        return subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/etc"], timeout=20,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


@unittest.skipUnless(namespace_works(), "no mount namespace of its own can be had here")
class PolicyFileTest(unittest.TestCase):
    """/etc/hardened in a mount namespace of its own, where this user is root."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.prefix = ["unshare", "-rm", "sh", "-ec",
                       'mount -t tmpfs none /etc; cp -r "$0" /etc/hardened; chmod -R go-w /etc/hardened; '
                       'exec "$@"', str(self.folder)]

    def write(self, text, name="policy"):
        file = self.folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)

    def policy(self, **arguments):
        return policy(prefix=self.prefix, **arguments)

    def test_by_path(self):
        self.write("* level=light\n%s level=strict quarantine=2M\n" % PROBE)
        self.assertEqual(self.policy(), ("strict", "level=strict:quarantine=2M", ""))
        self.write("* level=light\n/no/such/* level=strict\n")
        self.assertEqual(self.policy(), ("light", "level=light", ""))

    def test_matrix_of_sources(self):
        # Files x floor x environment: the environment raises always, and lowers as far as the floor.
        for file, floor, wanted in itertools.product([None] + LEVELS, [None] + LEVELS, [None] + LEVELS):
            words = ["level=" + file] if file else []
            words += ["floor=" + floor] if floor else []
            self.write("* %s\n" % " ".join(words) if words else "# nothing\n")
            least = floor or file or "light"
            base = max(file or "standard", least, key=LEVELS.index)
            allowed = wanted is None or LEVELS.index(wanted) >= LEVELS.index(least)
            expected = wanted if wanted and allowed else base
            level, _, told = self.policy(level=wanted)
            with self.subTest(file=file, floor=floor, environment=wanted):
                self.assertEqual(level, expected)
                self.assertEqual(told == "", allowed, told)

    def test_settings_may_be_raised_not_lowered(self):
        self.write("* level=standard quarantine=1M\n")
        self.assertEqual(self.policy(options="quarantine=2M"), ("standard", "level=standard:quarantine=2M", ""))
        level, text, told = self.policy(options="quarantine=512K")
        self.assertEqual(text, "level=standard:quarantine=1M")
        self.assertIn("quarantine=512K", told)
        self.assertIn("double_free=ignore", self.policy(options="double_free=ignore")[2])

    def test_policy_d_comes_later(self):
        self.write("* level=light\n")
        self.write("* level=strict\n", "policy.d/20.policy")
        self.write("* level=paranoid\n", "policy.d/10.policy")
        self.write("* level=light\n", "policy.d/30.txt")
        self.assertEqual(self.policy()[0], "strict")

    def test_disable(self):
        self.write("%s disable\n" % PROBE)
        self.assertEqual(self.policy()[0], "off")
        done = run("purge", prefix=self.prefix)
        self.assertEqual(done.returncode, 0)

    def test_audit(self):
        self.write("* level=strict audit\n")
        done = run("double_free", prefix=self.prefix)
        self.assertEqual(done.returncode, 0)
        self.assertIn("double free", done.stderr)

    def test_a_file_that_others_can_write_is_refused(self):
        self.write("* level=paranoid\n")
        self.prefix[4] = self.prefix[4].replace("exec", "chmod o+w /etc/hardened/policy; exec")
        level, _, told = self.policy()
        self.assertEqual(level, "standard")
        self.assertIn("/etc/hardened/policy", told)


if __name__ == "__main__":
    unittest.main()
