"""machine: what tools/checks/machine does as the first process of its namespaces.

Every process that loses its parent becomes this one's child, and every one ends with it.
"""

import ctypes
import fcntl
import os
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

from .harness import (CRASH, CRASHES, LOOPBACK, REPORT, Failure, Timeout, connects, descendants, describe, end_all,
                      groups, has_loaded, reap, wait_until)
from .machine_steps import PACKAGES, PROGRAMS, SERVICES

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
CORE_BYTES = 1 << 20  # enough for the notes at its start
LIBRARY = "/usr/local/lib/libhardened.so"  # inside
DEVICES = ["null", "zero", "full", "random", "urandom", "tty"]
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "TERM": "dumb",
               "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}


def output(*argv):
    return subprocess.run(argv, stdout=subprocess.PIPE, text=True).stdout


def faults_in(text):
    """The lines that are a report of ours, or tell of a process that a signal ended."""
    return [line for line in text.splitlines() if REPORT.search(line) or CRASH.search(line)]


def sources():
    """This machine's own sources of its own Debian: [(URI, suite, component, file of keys or nothing)]."""
    words = "$(ORIGIN)|$(CREATED_BY)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(SIGNED_BY)"
    found = []
    for line in output("apt-get", "indextargets", "--format", words).splitlines():
        origin, kind, uri, suite, component, keys = line.split("|")
        if origin == "Debian" and kind == "Packages" and (uri, suite, component) not in [f[:3] for f in found]:
            found.append((uri, suite, component, keys if keys.startswith("/") else ""))
    return found


def base_source(found):
    """The one with the suite that this machine runs, to start a new one from."""
    names = re.findall(r"^VERSION_CODENAME=(\S+)", Path("/etc/os-release").read_text(), re.M)
    for source in found:
        if source[1] in names and source[2] == "main":
            return source
    raise Failure(f"apt knows no Debian source of {names or 'this system'}: is an apt-get update missing?")


class Machine:
    """The Debian in a folder. Findings are printed when they are made, and counted."""

    def __init__(self, folder, library):
        self.root, self.library = Path(folder) / "root", library
        self.number, self.passed, self.failed = 0, 0, 0
        self.statuses = {}
        self.cores = not Path("/proc/sys/kernel/core_pattern").read_text().strip().startswith(("|", "/"))

    def call(self, *argv, seconds, outside=False, env={}):
        """Runs a command to its end, in the machine unless `outside`. Returns its status and what it wrote."""
        self.number += 1
        log = self.root.parent / f"log.{self.number}"
        command = list(map(str, argv)) if outside else ["chroot", str(self.root), *map(str, argv)]
        with open(log, "wb") as out:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                       env={**ENVIRONMENT, **env}, start_new_session=True)
        groups[process.pid] = process
        try:
            # What was left to this process and has ended must not stay a zombie, which scripts would wait for.
            wait_until(lambda: self.note_ended() or process.poll() is not None, seconds, "")
        except Timeout:
            what = ", ".join(describe(pid) for pid in sorted(descendants()))
            end_all()
            raise Timeout(f"hangs: {' '.join(map(str, argv))[:80]} after {seconds} s; running: {what[:1000]}\n"
                          + log.read_text(errors="replace")[-600:]) from None
        groups.pop(process.pid)
        return process.returncode, log.read_text(errors="replace")

    def sh(self, script, seconds=60, **more):
        return self.call("/bin/sh", "-c", script, seconds=seconds, **more)

    def must(self, *argv, **more):
        """Like call(), for what all else rests on."""
        status, text = self.call(*argv, **more)
        if status:
            raise Failure(f"{argv[0]}: status {status}\n{text[-3000:]}")
        return text

    def step(self, name, work):
        """One line of the account: work() raises, or returns text that holds neither a report nor a crash."""
        start, faults = time.monotonic(), []
        try:
            text = work()
            faults += faults_in(text)
        except (Failure, Timeout) as failure:
            faults += str(failure).splitlines()
        except OSError as error:
            faults.append(f"{type(error).__name__}: {error}")
        self.note_ended()
        faults += [f"{pid} was killed by {signal.Signals(-status).name}"
                   for pid, status in self.statuses.items() if -status in CRASHES]
        self.statuses.clear()
        faults += self.take_cores()
        self.passed, self.failed = self.passed + (not faults), self.failed + bool(faults)
        print(f"{name:34}{'FAILED' if faults else 'ok':8}{time.monotonic() - start:6.1f} s", flush=True)
        for line in dict.fromkeys(faults[:30]):
            print("    " + line[:300], flush=True)

    def note_ended(self):
        self.statuses.update(reap())

    def take_cores(self):
        """The processes that left a core file; the files go."""
        found = []
        for folder, folders, names in os.walk(self.root):
            if folder == str(self.root):
                folders[:] = set(folders) - {"usr", "proc", "sys", "dev"}  # nobody's working directory, or none of files
            for name in names:
                path = Path(folder, name)
                if re.fullmatch(r"core(\.\d+)?", name) and path.is_file() and not path.is_symlink():
                    text = core_facts(path)
                    if text:
                        found.append(f"core file in /{path.parent.relative_to(self.root)}: {text}")
                        path.unlink()
        return found

    # --- making it

    def build(self):
        """A minimal Debian, without the library."""
        found = sources()
        uri, suite, _, keys = base_source(found)
        proxy = re.search(r"proxy='(.*)'", output("apt-config", "shell", "proxy", "Acquire::http::Proxy"))
        env = {"http_proxy": proxy[1]} if proxy else {}
        keyring = [f"--keyring={keys}"] if keys else []
        self.must("debootstrap", "--variant=minbase", *keyring, suite, self.root, uri, seconds=900, outside=True, env=env)
        lines = []
        for number, (uri, suite, component, keys) in enumerate(found):
            signed = ""
            if keys:
                inside = f"etc/apt/keyrings/{number}{Path(keys).suffix}"
                (self.root / inside).parent.mkdir(exist_ok=True)
                shutil.copy(keys, self.root / inside)
                signed = f"[signed-by=/{inside}] "
            lines.append(f"deb {signed}{uri} {suite} {component}\n")
        self.write("etc/apt/sources.list", "".join(lines))
        # Proxies, certificates, time-outs: however this machine reaches them.
        self.write("etc/apt/apt.conf.d/99machine", output("apt-config", "dump", "Acquire")
                   + 'APT::Install-Recommends "false";\nDpkg::Use-Pty "false";\n')
        self.write("etc/dpkg/dpkg.cfg.d/machine", "force-unsafe-io\nforce-confdef\n")
        self.write("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)  # apt starts no service
        self.write("etc/hosts", f"{LOOPBACK} localhost machine\n" + Path("/etc/hosts").read_text())
        for name in ("resolv.conf", "ssl/certs/ca-certificates.crt"):
            if os.path.exists(f"/etc/{name}"):
                self.write(f"etc/{name}", Path(f"/etc/{name}").read_text())
        return ""

    def write(self, name, text, mode=0o644):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def mount(self):
        """What programs expect in /proc, /dev and /run."""
        for kind, where in (("proc", "proc"), ("tmpfs", "dev"), ("tmpfs", "run")):
            how = ["-o", "mode=755"] if kind == "tmpfs" else []
            self.must("mount", "-t", kind, *how, kind, self.root / where, seconds=20, outside=True)
        for name in DEVICES:
            (self.root / "dev" / name).touch()
            self.must("mount", "--bind", f"/dev/{name}", self.root / "dev" / name, seconds=20, outside=True)
        for name, kind, how in (("shm", "tmpfs", "mode=1777"), ("pts", "devpts", "newinstance,ptmxmode=0666")):
            (self.root / "dev" / name).mkdir()
            self.must("mount", "-t", kind, "-o", how, kind, self.root / "dev" / name, seconds=20, outside=True)
        os.symlink("pts/ptmx", self.root / "dev/ptmx")
        for name, target in (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
            os.symlink(target, self.root / "dev" / name)
        (self.root / "run/lock").mkdir(mode=0o1777)
        return ""

    def preload(self, level, policies):
        """Puts the library in front of every program."""
        shutil.copy(self.library, self.root / LIBRARY[1:])
        os.chmod(self.root / LIBRARY[1:], 0o755)
        self.write("etc/hardened/policy", f"* level={level}\n")
        for path in policies:
            self.write(f"etc/hardened/policy.d/{Path(path).name}", Path(path).read_text())
        self.write("etc/ld.so.preload", LIBRARY + "\n")
        _, text = self.call("cat", "/proc/self/maps", seconds=20)
        if LIBRARY not in text:
            raise Failure(f"a program in it runs without the library\n{text[-1000:]}")
        return ""

    # --- using it

    def install(self, names):
        status, text = self.call("apt-get", "-qq", "-y", "install", *names, seconds=1200)
        _, audit = self.call("dpkg", "--audit", seconds=60)
        if status or audit:
            faults = "\n".join(faults_in(text))
            raise Failure(f"apt-get: status {status}\n{faults}\n{audit}\n{text[-1500:]}")
        return text

    def program(self, script):
        status, text = self.sh(script, seconds=180)
        if status:
            raise Failure(f"status {status}\n{text[-1500:]}")
        return text

    def service(self, name, port, question):
        """Starts a service by its script, asks, restarts, asks again and stops it."""
        script = next(iter(sorted((self.root / "etc/init.d").glob(name))), None)
        if script is None:
            raise Failure("not installed")
        written = ""

        def control(word):
            nonlocal written
            status, text = self.call(f"/etc/init.d/{script.name}", word, seconds=180)
            written += text
            if status:
                raise Failure(f"{word}: status {status}\n{text[-1500:]}")

        try:
            for word in ("start", "restart"):
                control(word)
                if port:
                    wait_until(lambda: connects(socket.AF_INET, (LOOPBACK, port)), 60,
                               f"nobody listens on {port} after {word}")
                status, text = self.sh(question, seconds=60)
                written += text
                if status:
                    raise Failure(f"asked after {word}: status {status}\n{text[-1500:]}")
                self.check_loaded()
            control("stop")
            try:
                wait_until(lambda: self.note_ended() or not descendants(), 30, "")
            except Timeout:
                raise Failure("left after stop: " + ", ".join(describe(pid) for pid in sorted(descendants()))) from None
        except (Failure, Timeout) as failure:
            raise type(failure)(f"{failure}\n" + "\n".join(self.reports_in_logs())) from None
        finally:
            self.note_ended()
            end_all()
        return written

    def check_loaded(self):
        """Every process of the machine has the library."""
        for pid in descendants() if self.library else ():
            if not has_loaded(pid, LIBRARY):
                raise Failure(f"{describe(pid)} runs without the library")

    def reports_in_logs(self):
        """Lines of ours, and of workers that died, in what services have logged."""
        found = []
        for path in (self.root / "var/log").rglob("*"):
            if path.is_file() and path.name not in ("btmp", "wtmp", "lastlog", "term.log"):
                faults = faults_in(path.read_text(errors="replace"))
                found += [f"{path.relative_to(self.root)}: {line}" for line in faults]
        return found[:20]


def core_facts(path):
    """What a core file says of its process; nothing when it is none."""
    data = path.read_bytes()[:CORE_BYTES]
    if data[:4] != b"\x7fELF" or len(data) < 64 or struct.unpack_from("<H", data, 16)[0] != 4:
        return ""
    facts = {}
    offset, size = struct.unpack_from("<32xQ", data, 0)[0], 56
    for at in range(offset, min(offset + size * struct.unpack_from("<H", data, 56)[0], len(data) - size), size):
        kind, where, length = struct.unpack_from("<I4xQ16xQ", data, at)
        while kind == 4 and length > 12 and where + 12 < len(data):
            name, desc, note = struct.unpack_from("<III", data, where)
            body = where + 12 + (name + 3) // 4 * 4
            if note == 1:
                facts.setdefault("signal", struct.unpack_from("<i", data, body)[0])
            elif note == 3:
                facts["command"] = data[body + 56:body + 136].rstrip(b"\0 ").decode(errors="replace")
            step = body + (desc + 3) // 4 * 4 - where
            where, length = where + step, length - step
    number = facts.get("signal", 0)
    return f"{facts.get('command', '?')}: {signal.Signals(number).name if number in CRASHES else number}"


def loopback_only():
    """This process and its children have a network of their own from here, with loopback alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise Failure(f"no network of its own: {os.strerror(ctypes.get_errno())}")
    with socket.socket() as s:
        fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
    return ""


def run_inside(options):
    """All steps, as the first process of the namespaces. Returns the exit status."""
    machine = Machine(options.inside, options.library)
    if machine.cores:
        resource.setrlimit(resource.RLIMIT_CORE, (min(CORE_BYTES, resource.getrlimit(resource.RLIMIT_CORE)[1]),) * 2)
    else:
        print("core files go elsewhere on this system: a crash shows by what its parent says")
    machine.step("debootstrap", machine.build)
    machine.step("mounts", machine.mount)
    if options.library:
        machine.step(f"ld.so.preload, level {options.level}", lambda: machine.preload(options.level, options.policy))
    if not machine.failed:
        machine.step("apt-get update", lambda: machine.must("apt-get", "-qq", "update", seconds=600))
        for names in [options.packages.split(",")] if options.packages else map(str.split, PACKAGES):
            machine.step("apt: " + " ".join(names)[:28], lambda: machine.install(names))
        machine.step("network of loopback", loopback_only)
        for name, script in PROGRAMS.items() if not options.packages else ():
            machine.step(name, lambda: machine.program(script))
        for name, (port, question) in SERVICES.items():
            if not options.packages or any((machine.root / "etc/init.d").glob(name)):
                machine.step("service: " + name, lambda: machine.service(name, port, question))
        machine.step("logs", lambda: "\n".join(machine.reports_in_logs()))
    end_all()
    print(f"{machine.passed} passed, {machine.failed} failed")
    return 1 if machine.failed else 0
