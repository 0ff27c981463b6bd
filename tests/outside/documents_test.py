"""README.md and DEPLOYMENT.md: every snippet is run, as a new user would.

A comment in front of each block of code names the snippet: <!-- snippet: NAME -->. The test of that
name runs it, with as few substitutions as can be:
  tools/...            of this checkout, from a folder of the test's own
  COMMAND, PID         cat /proc/self/maps and the like, a process of the test
  7399                 a free port
  /usr/local           a prefix of the test's own
  /etc                 a copy, in a mount namespace
What needs systemd or a container runtime is looked at instead.
"""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time
import unittest

from bazel_consumer_test import Workspace
from install_test import InstalledTest
from support import ROOT, in_private_etc, load_programs, run, temporary_folder

programs = load_programs()
MARKER = re.compile(r"<!-- snippet: (\w+) -->")
DOCUMENTS = ("README.md", "DEPLOYMENT.md")


def blocks(document):
    """The blocks of code of a document: (name in front of it or None, lines)."""
    found, name, block = [], None, None
    for line in (ROOT / document).read_text(encoding="utf-8").splitlines() + ["end"]:
        if line.startswith("    ") or (block and not line):
            # An indented line begins a block only behind an empty one.
            if block is not None:
                block.append(line[4:])
            continue
        if block:
            while not block[-1]:
                block.pop()
            found.append((name, block))
            name = None
        block = None if line else []
        if line:
            match = MARKER.fullmatch(line)
            name = match[1] if match else None
        block = [] if not line or MARKER.fullmatch(line) else None
    return found


def snippet(document, name):
    return [block for found, block in blocks(document) if found == name][0]


def dialogue(lines):
    """Of a session: (what was typed behind the prompt, the lines that came)."""
    found = []
    for line in lines:
        if line.startswith(("$ ", "# ")):
            found.append([line[2:], []])
        elif found[-1][0].endswith("\\"):
            found[-1][0] = found[-1][0][:-1] + line.strip()
        else:
            found[-1][1].append(line)
    return found


def without_comment(line):
    """Of a line whose right column explains it."""
    return re.split(r"\s{2,}", line)[0]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


class SnippetsTest(unittest.TestCase):
    def test_every_snippet_has_a_name_and_a_test(self):
        for document in DOCUMENTS:
            names = [name for name, _ in blocks(document)]
            self.assertGreater(len(names), 6, document)
            for name, block in blocks(document):
                self.assertIsNotNone(name, "%s: no name in front of\n%s" % (document, "\n".join(block)))
            self.assertEqual(sorted(names), sorted(set(names)), document)
            test = {"README.md": ReadmeTest, "DEPLOYMENT.md": DeploymentTest}[document]
            tested = [name[len("test_") :] for name in dir(test) if name.startswith("test_")]
            self.assertEqual(sorted(names), sorted(tested), document)

    def test_every_marker_is_in_front_of_a_block(self):
        for document in DOCUMENTS:
            markers = MARKER.findall((ROOT / document).read_text(encoding="utf-8"))
            self.assertEqual(markers, [name for name, _ in blocks(document)])


class Reader(InstalledTest):
    """Somebody who types what stands in a document, in a folder of their own."""

    def setUp(self):
        self.work = self.folder / self.id()
        self.work.mkdir()
        self.port = free_port()

    def translate(self, text):
        text = re.sub(r"(?<![\w/])tools/(?=\w)", "%s/tools/" % ROOT, text)
        return text.replace("7399", self.port)

    def environment(self, **more):
        return {
            "PATH": programs.PATH,
            "HOME": os.environ.get("HOME", str(self.work)),
            "PKG_CONFIG_PATH": "%s/lib/pkgconfig" % self.prefix,
            **more,
        }

    def shell(self, script, status=0, **environment):
        done = run(
            "bash", "-c", self.translate(script), cwd=self.work, env=self.environment(**environment), status=status
        )
        # tools/run tells when it builds.
        done.stderr = re.sub(r"^tools/\w+: building .*\n", "", done.stderr, flags=re.MULTILINE)
        return done

    def check_output(self, found, expected):
        """Numbers and addresses may differ; a line of dots stands for any lines."""
        pattern = ""
        for line in expected:
            if line.strip() == "...":
                pattern += r"(?:.*\n)*"
                continue
            pattern += re.sub(
                r"0x[0-9a-f]+|\d+",
                lambda number: "0x[0-9a-f]+" if number[0].startswith("0x") else r"\d+",
                re.escape(line.rstrip()),
            )
            pattern += r"\s*\n"
        self.assertRegex(found, r"\A%s\Z" % pattern)

    def type_session(self, lines, status=0):
        """Types the commands; `cat FILE` of a file that is not there writes it instead."""
        for command, expected in dialogue(lines):
            file = re.fullmatch(r"cat (\S+)", command)
            if file and not (self.work / file[1]).exists():
                (self.work / file[1]).write_text("\n".join(expected) + "\n", encoding="utf-8")
                continue
            # What the shell itself says of a process that was killed.
            killed = expected[-1:] == ["Aborted"]
            done = self.shell(command, status=None if killed else status)
            if killed:
                # Of bash, or of what it became.
                self.assertIn(done.returncode, (128 + signal.SIGABRT, -signal.SIGABRT))
                expected = expected[:-1]
                done.stderr = re.sub(r"^bash: .*Aborted.*\n", "", done.stderr, flags=re.MULTILINE)
            self.check_output(done.stderr + done.stdout, expected)

    def need(self, name):
        program = [program for program in programs.PROGRAMS if program.name == name][0]
        if not programs.install(program):
            self.skipTest("%s is not installed" % name)

    def end_redis(self):
        subprocess.run(["redis-cli", "-p", self.port, "shutdown", "nosave"], check=False, capture_output=True)


class ReadmeTest(Reader):
    def test_commands(self):
        for line in snippet("README.md", "commands"):
            tool = line.split()[0]
            self.assertIn("usage: " + tool, self.shell(tool + " --help").stdout)
        self.assertIn("/libhardened.so", self.shell("tools/run cat /proc/self/maps").stdout)

    def test_preload(self):
        (line,) = snippet("README.md", "preload")
        self.assertIn("/libhardened.so", self.shell(line.replace("COMMAND", "cat /proc/self/maps")).stdout)

    def test_redis(self):
        self.need("redis")
        self.addCleanup(self.end_redis)
        start, load, stop = [command for command, _ in dialogue(snippet("README.md", "redis"))]
        self.shell(start)
        # It serves before the command returns or soon after.
        self.shell("for i in $(seq 300); do redis-cli -p 7399 ping && break; sleep 0.1; done")
        pid = re.search(r"process_id:(\d+)", self.shell("redis-cli -p 7399 info server").stdout)[1]
        self.assertIn("/libhardened.so", pathlib.Path("/proc/%s/maps" % pid).read_text(encoding="utf-8"))
        done = self.shell(load)
        for request in ("SET", "GET", "LPUSH"):
            self.assertIn(request + ": ", done.stdout)
        self.shell(stop)

    def test_counters(self):
        self.type_session(snippet("README.md", "counters"))
        # Where a buffer that was overrun would be found.
        self.assertEqual(self.shell("tools/run --level=strict python3 counters.py").stderr, "")

    def test_double_free(self):
        self.type_session(snippet("README.md", "double_free"))

    def test_attack(self):
        ((command, expected),) = dialogue(snippet("README.md", "attack"))
        done = self.shell(command.replace("--runs=20", "--runs=1"))
        for line in expected:
            # The name of a row and how many crimes it has, or a heading.
            name = re.match(r"\S.*?(?=\s{3,}|$)", line)
            if name:
                self.assertIn(name[0], done.stdout)

    def test_policy_file(self):
        (self.work / "policy").write_text("\n".join(snippet("README.md", "policy_file")) + "\n", encoding="utf-8")
        self.shell("tools/policy check policy")
        found = self.shell("tools/policy explain /usr/sbin/nginx --directory=. --owner=%d" % os.getuid()).stdout
        self.assertRegex(found, r"level +strict +\S*policy:4")

    def test_policy_commands(self):
        for command, _ in dialogue(snippet("README.md", "policy_commands")):
            command = without_comment(command)
            file = self.work / "policy"
            shutil.copy(ROOT / "policies/ready/server.policy", file)
            command = command.replace("/etc/hardened/policy", str(file)).replace("/usr/bin/redis-server", "/bin/sh")
            self.assertIn("tools/policy", command)
            self.shell(command)
            # As it is installed.
            self.shell(command.replace("tools/policy", "%s/bin/hardened-policy" % self.prefix))

    def test_raise_redis(self):
        if os.geteuid() != 0:
            self.skipTest("only root can write to /etc")
        self.need("redis")
        self.addCleanup(self.end_redis)
        script = "\n".join(command for command, _ in dialogue(snippet("README.md", "raise_redis")))
        # Debian's redis-server is a link; the rule has a star.
        script += "\nfor i in $(seq 300); do redis-cli -p 7399 ping && break; sleep 0.1; done\ntouch started\n"
        done = in_private_etc(
            self, self.work / "layers", "cd %s\n%s" % (self.work, self.translate(script)), self.environment()
        )
        self.assertRegex(done.stdout, r"(?m)^\s*level +strict +/etc/hardened/policy:1")
        self.assertTrue((self.work / "started").exists())

    def test_audit(self):
        self.type_session(snippet("README.md", "double_free"))
        self.type_session(snippet("README.md", "audit"))

    def test_default_options(self):
        self.type_session(snippet("README.md", "default_options"))
        library = "%s/lib/libhardened.so" % self.prefix
        (self.work / "ask.c").write_text(
            "#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <stdio.h>\n"
            '__attribute__((constructor)) static void Ask(void) { const char* (*policy)(void) = dlsym(RTLD_DEFAULT,'
            ' "hardened_policy"); puts(policy()); }\n', encoding="utf-8",
        )
        self.shell("gcc -shared -fPIC ask.c -o ask.so")
        done = self.shell("./server", LD_PRELOAD="%s:%s/ask.so" % (library, self.work))
        self.assertEqual(done.stdout, "level=strict:quarantine=4M\n")

    def test_bazel(self):
        workspace = Workspace()
        self.addCleanup(workspace.close)
        (workspace.folder / "server.cc").write_text("int main() {}\n", encoding="utf-8")
        with open(workspace.folder / "BUILD.bazel", "a", encoding="utf-8") as file:
            file.write("\n".join(snippet("README.md", "bazel")) + "\n")
        workspace.build("//:server")
        # Without calls of it, the linker leaves out what only the program could call.
        self.assertIn("N8hardened4core", run("nm", workspace.folder / "bazel-bin/server").stdout)


class DeploymentTest(Reader):
    def test_system_calls(self):
        """The list is that of the sources."""
        run(ROOT / "tests/sandbox/system_calls_test.py", cwd=ROOT, env={**os.environ, "TEST_SRCDIR": "."})

    def test_install(self):
        scratch = self.work / "scratch"
        for line in snippet("DEPLOYMENT.md", "install"):
            command = without_comment(line).replace("DIR", "%s/image" % scratch)
            if "--" not in command or "--uninstall" in command:
                command += " --prefix=%s/usr/local" % scratch
            self.shell(command.replace("$HOME", str(scratch)))
            for option, place in (("$HOME", ".local"), ("--destdir", "image/usr/local")):
                if option in command:
                    self.assertTrue((scratch / place / "lib/libhardened.so").exists(), command)
        self.assertFalse((scratch / "usr/local/lib/libhardened.so").exists())

    def test_drop_in(self):
        name, *lines = snippet("DEPLOYMENT.md", "drop_in")
        name = re.search(r"[^/]+/[^/]+$", name)[0]
        example = (ROOT / "examples/systemd" / name).read_text(encoding="utf-8").splitlines()
        self.assertEqual([line for line in lines if line], [line for line in example if line and line[0] != "#"])

    def test_restart(self):
        # There is no systemd in a test.
        (line,) = snippet("DEPLOYMENT.md", "restart")
        self.assertEqual(line, "systemctl daemon-reload && systemctl restart redis-server")

    def in_etc(self, script):
        if os.geteuid() != 0:
            self.skipTest("only root can write to /etc")
        return in_private_etc(self, self.work / "layers", script, self.environment())

    def test_machine(self):
        (line,) = snippet("DEPLOYMENT.md", "machine")
        done = self.in_etc(line.replace("/usr/local", str(self.prefix)) + "\ncat /proc/self/maps\n")
        self.assertIn(str((self.prefix / "lib/libhardened.so").resolve()), done.stdout)
        self.assertEqual(done.stderr, "")

    def test_recovery(self):
        (preload,) = snippet("DEPLOYMENT.md", "machine")
        preload = preload.replace("/usr/local", str(self.folder / "gone"))
        for line in snippet("DEPLOYMENT.md", "recovery"):
            command = without_comment(line)
            if command.startswith("busybox") and not shutil.which("busybox"):
                continue
            # The disk of the machine, seen from a rescue system.
            command = command.replace("mount /dev/ROOT /mnt && rm /mnt", "rm ")
            with self.subTest(command):
                shutil.rmtree(self.work / "layers", ignore_errors=True)
                done = self.in_etc("%s\n%s\ncat /proc/self/maps\n" % (preload, command))
                self.assertNotIn("libhardened", done.stdout)
                self.assertNotIn("ignored", done.stderr.split(command)[-1] if command.startswith(":") else "")

    def test_container(self):
        lines = snippet("DEPLOYMENT.md", "container")
        self.assertEqual([line.split()[0] for line in lines if line], "FROM COPY RUN FROM COPY ENV".split())
        out = self.work / "out"
        install = [line[4:] for line in lines if line.startswith("RUN ")][0]
        self.shell(install.replace("/src/", "").replace("/out", str(out)))
        _, _, source, target = [line for line in lines if line.startswith("COPY --from")][0].split()
        image = self.work / "image"
        shutil.copytree(str(out) + source[len("/out") :], str(image) + target)
        name, _, library = [line[4:] for line in lines if line.startswith("ENV ")][0].partition("=")
        maps = run("cat", "/proc/self/maps", env={name: str(image) + library})
        self.assertIn(str(image) + library, maps.stdout)

    def test_without_root(self):
        script = "\n".join(snippet("DEPLOYMENT.md", "without_root"))
        # In place of HOME itself, where Bazel has its cache.
        script = script.replace("COMMAND", "cat /proc/self/maps").replace("$HOME", str(self.work))
        done = self.shell(script)
        self.assertIn("%s/.local/lib/libhardened.so" % self.work, done.stdout)

    def test_is_it_on(self):
        one, all_of_them, bindings = [without_comment(line) for line in snippet("DEPLOYMENT.md", "is_it_on")]
        preload = {"LD_PRELOAD": str(self.prefix / "lib/libhardened.so")}
        for env, expected in ((preload, True), ({}, False)):
            process = subprocess.Popen(["sleep", "600"], env=env)
            try:
                # Until it is sleep, and not yet this program's fork.
                while os.readlink("/proc/%d/exe" % process.pid) != os.path.realpath(shutil.which("sleep")):
                    time.sleep(0.05)
                self.shell("while ! grep -q libc.so /proc/%d/maps; do sleep 0.1; done" % process.pid)
                found = self.shell(one.replace("PID", str(process.pid)), status=0 if expected else 1).stdout
                self.assertEqual("libhardened" in found, expected)
                if expected:
                    found = self.shell(all_of_them + " || true").stdout
                    self.assertIn("/proc/%d/maps\n" % process.pid, found)
            finally:
                process.kill()
                process.wait()
        command = bindings.replace("COMMAND", "env LD_PRELOAD=%s ls" % preload["LD_PRELOAD"])
        self.assertIn("libhardened.so", self.shell(command).stdout)
