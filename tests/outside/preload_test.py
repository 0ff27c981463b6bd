"""The installed library preloaded: into a server of another user, into everything, into set-uid programs."""

import atexit
import os
import pathlib
import shlex
import socket
import unittest

from install_test import InstalledTest
from support import ROOT, in_private_etc, load_programs, run

programs = load_programs()
atexit.register(programs.end_all_groups)

NOBODY = 65534
# Tests as root drop to this user; others run as who they are.
USER = NOBODY if os.geteuid() == 0 else None

# Says what the kernel and ld.so made of the process.
PROBE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
int main(void) {
  const char *(*level)(void) = (const char *(*)(void))dlsym(RTLD_DEFAULT, "hardened_level");
  free(malloc(40));
  printf("secure %lu level %s\\n", getauxval(AT_SECURE), level ? level() : "none");
  return 0;
}
"""


class PreloadTest(InstalledTest):
    def setUp(self):
        self.library = self.prefix / "lib/libhardened.so"

    def test_a_server_of_another_user(self):
        redis = [program for program in programs.PROGRAMS if program.name == "redis"][0]
        if not programs.install(redis):
            self.skipTest("redis-server is not installed")
        folder = self.folder / "redis"
        folder.mkdir()
        if USER is not None:
            os.chown(folder, USER, USER)
        path = str(folder / "redis.sock")
        server_run = programs.Run(folder, str(self.library), None)
        self.addCleanup(programs.end_all_groups)
        server = server_run.serve(
            "redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--dir", folder,
            ready=lambda: programs.connects(socket.AF_UNIX, path), user=USER,
        )  # fmt: skip

        status = pathlib.Path("/proc/%d/status" % server.pid).read_text(encoding="utf-8")
        self.assertIn("\nUid:\t%d\t" % (os.geteuid() if USER is None else USER), status)
        # What DEPLOYMENT.md tells the user to look for.
        maps = pathlib.Path("/proc/%d/maps" % server.pid).read_text(encoding="utf-8")
        self.assertIn(str(self.library.resolve()), maps)

        def cli(*words):
            return server_run.call("redis-cli", "-s", path, *words, preload=False)

        self.assertEqual(cli("PING"), "PONG\n")
        self.assertEqual(cli("SET", "key", "v" * 5000), "OK\n")
        self.assertEqual(cli("GET", "key"), "v" * 5000 + "\n")
        cli("SHUTDOWN", "NOSAVE")
        server_run.stop(server, None)
        server_run.check_errors()

    def test_tools_run_as_another_user(self):
        library = run(ROOT / "tools/run", "--print-library").stdout.strip()
        as_user = {} if USER is None else {"user": USER, "group": USER, "extra_groups": []}
        if USER is not None and run("test", "-r", library, status=None, **as_user).returncode != 0:
            self.skipTest("other users cannot read this checkout")
        done = run(ROOT / "tools/run", "cat", "/proc/self/maps", cwd="/", **as_user)
        self.assertIn(library, done.stdout)
        self.assertEqual(done.stderr, "")

    def compile_probe(self):
        """Returns an ordinary and a set-uid copy of PROBE."""
        if os.geteuid() != 0:
            self.skipTest("only root can give a file to another user")
        if os.statvfs(self.folder).f_flag & os.ST_NOSUID:
            self.skipTest("%s is on a file system mounted nosuid" % self.folder)
        if "\nNoNewPrivs:\t0\n" not in pathlib.Path("/proc/self/status").read_text(encoding="utf-8"):
            self.skipTest("no_new_privs is set")
        folder = self.folder / self.id()
        folder.mkdir()
        (folder / "probe.c").write_text(PROBE, encoding="utf-8")
        run("gcc", folder / "probe.c", "-o", folder / "ordinary")
        run("cp", folder / "ordinary", folder / "set-uid")
        os.chown(folder / "set-uid", NOBODY, NOBODY)
        os.chmod(folder / "set-uid", 0o4755)
        return folder / "ordinary", folder / "set-uid"

    def test_ld_preload_does_not_reach_set_uid_programs(self):
        ordinary, set_uid = self.compile_probe()
        env = {"LD_PRELOAD": str(self.library)}
        self.assertEqual(run(ordinary, env=env).stdout, "secure 0 level standard\n")
        self.assertEqual(run(set_uid, env=env).stdout, "secure 1 level none\n")

    def in_private_etc(self, script):
        """Runs a shell script that may change /etc."""
        return in_private_etc(
            self, self.folder / self.id() / "layers", script, {"PATH": programs.PATH, "HARDENED_LEVEL": "paranoid"}
        )

    def test_ld_so_preload_reaches_every_program(self):
        ordinary, set_uid = self.compile_probe()
        done = self.in_private_etc(
            "echo {library} > /etc/ld.so.preload; {ordinary}; {set_uid}; cat /proc/self/maps".format(
                library=self.library, ordinary=ordinary, set_uid=set_uid
            )
        )
        # HARDENED_LEVEL counts for nothing in the set-uid program.
        self.assertRegex(done.stdout, r"\Asecure 0 level paranoid\nsecure 1 level standard\n")
        self.assertIn(str(self.library.resolve()), done.stdout)
        self.assertEqual(done.stderr, "")

    def test_a_missing_library_stops_no_program(self):
        # The recovery recipe of DEPLOYMENT.md counts on it.
        ordinary, _ = self.compile_probe()
        done = self.in_private_etc("echo {0} > /etc/ld.so.preload; {1}".format(self.folder / "gone.so", ordinary))
        self.assertEqual(done.stdout, "secure 0 level none\n")
        self.assertIn("ignored", done.stderr)

    def test_uninstalling_what_is_in_use_is_refused(self):
        self.compile_probe()
        uninstall = "%s --prefix=%s --uninstall" % (shlex.quote(str(ROOT / "tools/install")), self.prefix)
        done = self.in_private_etc("echo %s > /etc/ld.so.preload; %s || echo refused" % (self.library, uninstall))
        self.assertIn("take that line out first", done.stderr)
        self.assertEqual(done.stdout, "refused\n")
        self.assertTrue(self.library.exists())
