#!/usr/bin/env python3
"""tools/attack tells who stops a crime from who does not, and counts each end right."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

ATTACK = "tools/attack"
PROGRAMS = "tools/attacks"
# Without guarded samples, which stop what else would fail.
LIBRARY = "hardened/shim/libhardened_standard.so,HARDENED_OPTIONS=sample=0"
CRIME = "double_free_immediate_64_1"
CONTROL = "#!/bin/sh\necho malloc=libc; echo failed\n"


def command(*options):
    # Of two --timeout the last one counts; this one is for a busy machine.
    return [sys.executable, ATTACK, "--peers=", "--levels=", "--timeout=60", *options]


def run(*options):
    return subprocess.run(command(*options), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=600)


class AttackTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def counts(self, only, *options):
        """Program -> allocator -> counts."""
        file = self.folder / "scores.json"
        done = run("--only=^(%s)$" % only, "--json=%s" % file, *options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(file.read_text())["crimes"], done.stdout

    def script(self, text, name=CRIME):
        program = self.folder / name
        program.write_text(text)
        program.chmod(0o755)

    def counts_of_script(self, text, *options):
        self.script(CONTROL, "control")
        self.script("#!/bin/sh\n" + text)
        crimes, out = self.counts(CRIME, "--programs=%s" % self.folder, "--runs=3", *options)
        return crimes[CRIME]["glibc"], out

    def test_separates_glibc_from_standard(self):
        # Program -> what comes of it under glibc and under standard; None: perhaps stopped.
        expected = {
            "double_free_afterreuse_64_10": ("undetected", "stopped"),
            "invalid_free_spiritstack_64_1": ("undetected", "stopped"),
            "stale_reallocsame_64_1": ("undetected", "stopped"),
            "overflow_memset_64_8": ("undetected", "stopped"),
            "use_after_free_write_64_16": ("undetected", None),
            "mismatch_newdeletearray_64_1": ("undetected", None),
            "leak_freedsecret_64_1": ("succeeded", "failed"),
            "overlap_dangling_64_8": ("succeeded", "stopped"),
            "spray_functionpointer_64_1": ("succeeded", "failed"),
            "groom_neighbourafterfree_64_32": ("succeeded", "stopped"),
            "forge_hiddenlink_64_16": ("succeeded", "failed"),
            "replay_othercanary_56_8": ("succeeded", "stopped"),
            "fork_server_canary_64_4096": ("succeeded", None),
        }
        crimes, out = self.counts("|".join(expected), "--programs=%s" % PROGRAMS, "--runs=3",
                                  "--library=standard=%s" % LIBRARY)
        self.assertEqual(set(crimes), set(expected))
        for name, verdicts in expected.items():
            for allocator, verdict in zip(("glibc", "standard"), verdicts):
                if verdict is not None:
                    self.assertEqual(crimes[name][allocator].get(verdict), 3,
                                     (name, allocator, crimes[name]))
        self.assertRegex(out, r"\ndouble free, slot perhaps re-used +1 +6 +0 +100\n")
        self.assertIn("hardened: heap corruption: double free",
                      str(crimes["double_free_afterreuse_64_10"]["standard"]["how"]))

    def test_predicts_from_earlier_processes(self):
        crimes, _ = self.counts("predict", "--programs=%s" % PROGRAMS, "--runs=5", "--learn=20",
                                "--library=standard=%s" % LIBRARY)
        crime = crimes["predict_second-minus-first"]
        self.assertEqual(crime["glibc"].get("succeeded"), 5)
        self.assertLess(crime["standard"].get("succeeded", 0), 5)

    def test_abort_and_fault_are_stopped(self):
        for name in ("ABRT", "SEGV", "BUS", "ILL", "TRAP"):
            counts, _ = self.counts_of_script("kill -%s $$\n" % name)
            self.assertEqual(counts["stopped"], 3, name)

    def test_death_after_the_goal_is_success(self):
        counts, _ = self.counts_of_script("echo succeeded; kill -ABRT $$\n")
        self.assertEqual((counts["succeeded"], counts.get("stopped")), (3, None))

    def test_death_at_exit_is_stopped(self):
        counts, _ = self.counts_of_script("echo undetected; kill -ABRT $$\n")
        self.assertEqual((counts["stopped"], counts.get("undetected")), (3, None))

    def test_a_complaint_alone_is_not_stopped(self):
        counts, out = self.counts_of_script("echo beware >&2; echo undetected\n")
        self.assertEqual((counts["undetected"], counts["reported"]), (3, 3))
        self.assertIn(" 0r", out)

    def test_what_did_not_run_is_marked(self):
        for text in ("exit 3\n", "exit 0\n", "echo undetected; exit 1\n", "kill -KILL $$\n"):
            counts, out = self.counts_of_script(text)
            self.assertEqual(counts["not run"], 3, text)
            self.assertRegex(out, CRIME + ": not run: .* \\(glibc 3\\)")

    def test_a_missing_program_is_marked(self):
        self.script(CONTROL, "control")
        crimes, out = self.counts(CRIME, "--programs=%s" % self.folder, "--runs=1")
        self.assertEqual(crimes[CRIME]["glibc"]["not run"], 1)
        self.assertIn("no such program", out)

    def test_a_program_that_hangs_is_ended_with_its_children(self):
        file = self.folder / "pid"
        # The control needs the time as well.
        counts, _ = self.counts_of_script("sleep 100 & echo $! > %s; wait\n" % file, "--timeout=5")
        self.assertEqual(counts["hung"], 3)
        self.assert_gone(int(file.read_text()))

    def test_an_interrupted_run_leaves_nothing(self):
        file = self.folder / "pid"
        self.script(CONTROL, "control")
        self.script("#!/bin/sh\necho $$ > %s.new; mv %s.new %s; sleep 100\n" % (file, file, file))
        for name, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
            tool = subprocess.Popen(command("--only=^%s$" % CRIME, "--programs=%s" % self.folder,
                                            "--runs=1", "--timeout=60"), stdout=subprocess.DEVNULL)
            while not file.exists():
                self.assertIsNone(tool.poll())
                time.sleep(0.02)
            tool.send_signal(name)
            self.assertEqual(tool.wait(timeout=600), status)
            self.assert_gone(int(file.read_text()))
            file.unlink()

    def assert_gone(self, pid):
        for _ in range(1500):
            status = pathlib.Path("/proc/%d/stat" % pid)
            if not status.exists() or ") Z " in status.read_text():
                return
            time.sleep(0.02)
        self.fail("process %d is still there" % pid)

    def test_refuses_an_allocator_that_is_not_in_charge(self):
        library = self.folder / "libnone.so"
        library.write_text("no library")
        done = run("--only=%s" % CRIME, "--programs=%s" % PROGRAMS, "--library=none=%s" % library)
        self.assertEqual(done.returncode, 1)
        self.assertIn("under none malloc came from", done.stderr)

    def test_refuses_a_class_that_does_not_exist(self):
        done = run("--only=nonesuch", "--programs=%s" % self.folder)
        self.assertEqual(done.returncode, 1)
        self.assertIn("there are: double free", done.stderr)


if __name__ == "__main__":
    os.chdir(pathlib.Path(os.environ.get("TEST_SRCDIR", "."), os.environ.get("TEST_WORKSPACE", "")))
    unittest.main()
