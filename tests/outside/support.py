"""What the tests outside of Bazel share."""

import importlib
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
TIMEOUT = 3600


def temporary_folder():
    """A TemporaryDirectory that other users may read, with a path Bazel can use."""
    where = tempfile.gettempdir()
    folder = tempfile.TemporaryDirectory(prefix="hardened.", dir="/tmp" if " " in where else where)
    os.chmod(folder.name, 0o755)
    return folder


def run(*command, status=0, **more):
    """Runs a command to its end; fails unless it exits with `status` (None: any).

    Returns its CompletedProcess, with stdout and stderr as text.
    """
    done = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        timeout=TIMEOUT,
        check=False,
        **more,
    )
    if status is not None and done.returncode != status:
        raise AssertionError(
            "%s: status %d, expected %d\n%s%s" % (command[0], done.returncode, status, done.stdout, done.stderr)
        )
    return done


def check_consumer(test, binary, level="standard", **more):
    """What each example program does: tells its level; with an argument, dies of a double free."""
    test.assertEqual(run(binary, **more).stdout, "level %s\n" % level)
    done = run(binary, "double-free", status=-signal.SIGABRT, **more)
    test.assertEqual(done.stdout, "level %s\n" % level)
    test.assertRegex(done.stderr, r"\Ahardened: heap corruption: double free\n")
    test.assertRegex(done.stderr, r"\n  found by  free, level %s\n" % level)


def load_programs():
    """What tools/checks/programs is made of: it knows how to run and end servers."""
    sys.path.insert(0, str(ROOT / "tools/checks"))
    return importlib.import_module("program_checks")


def in_private_etc(test, layers, script, env, **more):
    """Runs a shell script, as root, that may change /etc: it sees a copy that goes away with it.

    `layers` is a folder to be made. Skips the test where mounts are not allowed.
    """
    layers.mkdir(parents=True)
    mount = """
        set -e
        mount -t tmpfs tmpfs {layers}
        mkdir {layers}/upper {layers}/work
        mount -t overlay overlay -o lowerdir=/etc,upperdir={layers}/upper,workdir={layers}/work /etc
    """.format(layers=shlex.quote(str(layers)))
    unshare = ["unshare", "--mount", "--propagation", "private", "bash", "-c"]
    if run(*unshare, mount, status=None).returncode != 0:
        test.skipTest("mounts are not allowed here")
    return run(*unshare, mount + script, env=env, **more)
