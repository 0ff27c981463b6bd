"""harness: runs one program, plain or preloaded, in a directory of its own, and ends all it started.

Threads: none. Every process started here is a descendant of this one for as long as it lives:
daemons that leave their parent are adopted (a "subreaper"), so that none can stay behind unseen.
"""

import ctypes
import http.client
import os
import pwd
import re
import shutil
import signal
import socket
import struct
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

ROOT = Path(__file__).resolve().parents[3]
DATA = Path(__file__).resolve().parent / "data"
LOOPBACK = "127.0.0.1"
PATH = "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin:" + os.environ.get("PATH", "")
PR_SET_CHILD_SUBREAPER = 36
AT_SECURE = 23

READY_SECONDS = 60  # until a server answers
STOP_SECONDS = 60  # until a server that was asked to end is gone
LEFT_SECONDS = 15  # until the last process of a program is gone after that

# A report is a line of its own in a stream and may have a prefix (a time, a name) in a log.
REPORT = re.compile(r"hardened: (?!/)|cannot be preloaded")
# What servers write of a worker that died.
CRASH = re.compile(r"(?:exit(?:ed|ing)?|terminated|killed|died) (?:\S+ ){0,3}(?:on |by |with |due to )?signal:? \(?\d"
                   r"|exit signal \w|Segmentation fault|core dumped|killed by signal (?!15)\d")
CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGSYS, signal.SIGTRAP}

groups = {}  # process group -> its leader, for those that may be alive


class Failure(Exception):
    """A program that did not do what it should; the text says what."""


class Timeout(Exception):
    """A step that took too long; the text names it."""


class Skip(Exception):
    """A program that cannot run here; the text says why."""


@dataclass
class Program:
    name: str
    commands: list[str]  # must be there, else the packages are installed; the first one's malloc is checked
    packages: list[str]
    run: Callable  # of a Run
    quick: bool = False  # takes a few seconds, and its packages are small
    root: bool = False  # only root can start it as a distribution does
    probe: list[str] = field(default_factory=lambda: ["--version"])  # words with which the first command soon ends
    present: Callable = lambda: True  # further conditions on being installed


def adopt_orphans():
    """Makes this process the parent of every daemon that is started below it."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_group(group):
    """Ends a process group, reaps its leader and forgets it."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    groups.pop(group).wait()


def end_all_groups():
    for group in list(groups):
        end_group(group)


def end_all():
    """Ends every group, and every other process below this one."""
    end_all_groups()
    while left := descendants():
        for pid in left:
            send(pid, signal.SIGKILL)
        reap()
        time.sleep(0.02)


def send(pid, number):
    """Sends a signal to a process that may be gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def group_of(user):
    """The primary group of a user's name or number."""
    return (pwd.getpwuid(user) if isinstance(user, int) else pwd.getpwnam(user)).pw_gid


def stat_of(pid):
    """The fields of /proc/PID/stat from the state on; nothing when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def descendants():
    """The processes below this one, zombies included, leaders of groups not."""
    parents = {int(name): int(fields[1]) for name in os.listdir("/proc") if name.isdigit() and (fields := stat_of(name))}
    found, added = set(), {os.getpid()}
    while added:
        added = {pid for pid, parent in parents.items() if parent in added}
        found |= added
    return found - set(groups)


def reap():
    """Takes leave of adopted processes that have ended. Returns {pid: exit status or minus the signal}."""
    ended = {}
    for pid in descendants():
        fields = stat_of(pid)
        if fields[:2] == ["Z", str(os.getpid())]:
            try:
                ended[pid] = os.waitstatus_to_exitcode(os.waitpid(pid, os.WNOHANG)[1])
            except ChildProcessError:
                pass
    return ended


def comm(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def alive(pid):
    return stat_of(pid)[:1] not in ([], ["Z"], ["X"])


def has_loaded(pid, name):
    """Whether a process has mapped a file of that name, or is gone. One that is just being started gets some seconds."""
    for _ in range(100):
        try:
            if name in Path(f"/proc/{pid}/maps").read_text():
                return True
        except OSError:
            pass
        if not alive(pid):
            return True
        time.sleep(0.05)
    return False


def is_secure(pid):
    """Whether ld.so took LD_PRELOAD from a process or one above it: its real and effective users differ at its start."""
    while pid not in (os.getpid(), 0):
        try:
            if (AT_SECURE, 1) in struct.iter_unpack("@LL", Path(f"/proc/{pid}/auxv").read_bytes()):
                return True
        except OSError:
            pass
        pid = int((stat_of(pid) or "00")[1])
    return False


def describe(pid):
    """A process for a message: its command line, or its name when it has none left."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        words = ""
    return f"{pid} ({words or comm(pid)})"


def wait_until(condition, seconds, what):
    """Polls until condition() holds; a Timeout that names `what` when it takes longer."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Timeout(f"{what} after {seconds} s")
        time.sleep(0.05)


def connects(kind, address):
    with socket.socket(kind) as s:
        return s.connect_ex(address) == 0


def listens(port):
    """A condition: somebody accepts connections on that port of loopback."""
    return lambda: connects(socket.AF_INET, (LOOPBACK, port))


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as s:
        s.bind((LOOPBACK, 0))
        return s.getsockname()[1]


class Run:
    """One program under one library (None: plain), in a directory of its own."""

    def __init__(self, directory, library, shared):
        self.dir, self.library, self.shared = Path(directory), library, shared
        self.text = []  # what is compared
        self.errors = []  # files that caught stderr of preloaded processes
        self.logs = []  # files that servers write to
        self.statuses = {}  # of adopted processes that have ended
        self.env = {
            "PATH": PATH, "HOME": str(self.dir), "TMPDIR": f"{self.dir}/tmp", "LC_ALL": "C.UTF-8", "TZ": "UTC",
            "PYTHONHASHSEED": "0", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "gc.autoDetach", "GIT_CONFIG_VALUE_0": "false",
        }
        for who in ("AUTHOR", "COMMITTER"):
            self.env.update({f"GIT_{who}_NAME": "n", f"GIT_{who}_EMAIL": "e@example.org",
                             f"GIT_{who}_DATE": "2020-01-01T00:00:00Z"})
        self.folder("tmp", mode=0o1777)

    # --- files

    def write(self, name, text, mode=0o644):
        """Writes a file of this run, and its folders. Returns its path."""
        path = self.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def folder(self, name, owner=None, mode=0o755):
        """Makes a folder of this run, of another user when told. Returns its path."""
        path = self.dir / name
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(mode)
        if owner is not None:
            shutil.chown(path, owner, group_of(owner))
        return path

    def log(self, name):
        """A file that a preloaded server will write to: it must hold neither a report nor a crash. Returns its path."""
        path = self.dir / name
        self.logs.append(path)
        return path

    # --- processes

    def start(self, *argv, preload=True, stdin=None, env={}, user=None, before="", behind=""):
        """Starts a process in a new group, as another user when told; its output goes to files beside it.

        `before` and `behind` are further libraries to preload, plain or not.
        """
        number = len(list(self.dir.glob("out.*")))
        out, err = self.dir / f"out.{number}", self.dir / f"err.{number}"
        full = {**self.env, **env}
        as_user = {} if user is None else {"user": user, "group": group_of(user), "extra_groups": []}
        libraries = [before, self.library if preload and self.library else "", behind]
        if any(libraries):
            full["LD_PRELOAD"] = ":".join(filter(None, libraries))
        if preload and self.library:
            self.errors.append(err)
        with open(out, "wb") as o, open(err, "wb") as e, open(stdin or os.devnull, "rb") as i:
            process = subprocess.Popen([str(a) for a in argv], stdin=i, stdout=o, stderr=e, cwd=self.dir, env=full,
                                       start_new_session=True, **as_user)
        groups[process.pid] = process
        process.out, process.err = out, err
        return process

    def finish(self, process, timeout):
        """Waits for a process, then ends what is left of its group. Returns its exit status."""
        try:
            self.wait(process, timeout, Path(process.args[0]).name)
            return process.returncode
        finally:
            end_group(process.pid)

    def wait(self, process, seconds, what):
        """Waits for a child; adopted processes that end meanwhile must not be waited for by others as zombies."""
        wait_until(lambda: self.note_ended() or process.poll() is not None, seconds, what)

    def call(self, *argv, timeout=120, status=0, normalise=lambda text: text, **more):
        """Runs a process to its end, adds its output to what is compared and returns it. Status None: any."""
        process = self.start(*argv, **more)
        got = self.finish(process, timeout)
        text = normalise(process.out.read_bytes().decode(errors="backslashreplace"))
        if status is not None and got != status:
            raise Failure(f"{Path(process.args[0]).name}: exit status {got}, expected {status}\n{text[-1500:]}\n"
                          + tail(process.err))
        self.text.append(text)
        return text

    def quiet(self, *argv, **more):
        """Like call(), for output that is not to be compared."""
        text = self.call(*argv, **more)
        self.text.pop()
        return text

    def serve(self, *argv, ready, **more):
        """Starts a server that stays this process's child and waits until ready() holds."""
        process = self.start(*argv, **more)
        self.logs.append(process.err)

        def is_ready():
            if process.poll() is not None:
                raise Failure(f"{argv[0]} ended with {process.returncode}\n{tail(process.err)}")
            return ready()

        wait_until(is_ready, READY_SECONDS, f"{argv[0]} was not ready")
        self.check_loaded(process.pid)
        return process

    def daemonise(self, *argv, ready, name, timeout=READY_SECONDS, **more):
        """Starts a server that goes on without its first process, as a distribution starts it.

        Returns: the process `name` whose parent is this one, once ready() holds.
        """
        process = self.start(*argv, **more)
        self.logs.append(process.err)
        self.wait(process, timeout, f"{argv[0]} did not become a daemon")
        groups.pop(process.pid)  # some daemons stay in the group of their first process
        if process.returncode != 0:
            said = "".join(map(tail, [process.out, *self.logs]))
            raise Failure(f"{argv[0]} ended with {process.returncode}\n{said}")

        def is_ready():
            self.note_ended()
            return ready()

        wait_until(is_ready, READY_SECONDS, f"{argv[0]} was not ready")
        self.check_all_loaded()
        return self.find(name)

    def find(self, name):
        """The adopted process of that name; one that executes itself again gets some seconds."""
        def named():
            self.note_ended()
            return [pid for pid in descendants() if stat_of(pid)[1:2] == [str(os.getpid())] and comm(pid) == name[:15]]

        try:
            wait_until(lambda: len(named()) == 1, 10, "")
        except Timeout:
            all_of_them = [describe(pid) for pid in sorted(descendants())]
            raise Failure(f"not one daemon is called {name}: {all_of_them}") from None
        return named()[0]

    def check_loaded(self, pid):
        # An installed libhardened.so may be a link; maps has the file's own name.
        if self.library and not has_loaded(pid, Path(self.library).resolve().name):
            raise Failure(f"{describe(pid)} runs without the library")

    def check_all_loaded(self):
        """Daemons and whatever they have started run with the library, in whatever environment."""
        for pid in descendants():
            if not is_secure(pid):
                self.check_loaded(pid)

    def stop(self, process, how):
        """Asks a server to end (a signal, or None: was asked); it must do so by itself and with status 0."""
        if how is not None:
            process.send_signal(how)
        status = self.finish(process, STOP_SECONDS)
        if status != 0:
            raise Failure(f"{process.args[0]}: exit status {status} at shutdown\n{tail(process.err)}")

    def stop_daemon(self, pid, how, statuses=(0, -signal.SIGTERM, 128 + signal.SIGTERM)):
        """The same for one that daemonise() returned; many let SIGTERM end them."""
        what = describe(pid)
        if how is not None:
            send(pid, how)
        wait_until(lambda: not alive(pid), STOP_SECONDS, f"{what} did not end")
        self.note_ended()
        status = self.statuses.get(pid)
        self.check(status in statuses, f"{what}: exit status {status} at shutdown")

    def note_ended(self):
        """Collects the adopted processes that have ended: none may have crashed."""
        for pid, status in reap().items():
            self.statuses[pid] = status
            if -status in CRASHES:
                raise Failure(f"daemon {pid} was killed by {signal.Signals(-status).name}")

    def check_left(self):
        """Nothing may be left of the program."""
        end = time.monotonic() + LEFT_SECONDS
        while True:
            self.note_ended()
            left = descendants()
            if not left:
                return
            if time.monotonic() > end:
                raise Failure("processes are left: " + ", ".join(map(describe, sorted(left))))
            time.sleep(0.05)

    # --- what it did

    def check(self, condition, text):
        if not condition:
            raise Failure(text)

    def get(self, port, path, headers={}, host=LOOPBACK):
        """Adds an answer to GET to what is compared: status and body. Returns the body."""
        connection = http.client.HTTPConnection(host, port, timeout=30)
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            body = answer.read().decode(errors="backslashreplace")
        finally:
            connection.close()
        self.text.append(f"GET {path}: {answer.status}\n{body}\n")
        return body

    def check_errors(self):
        """No preloaded process may have reported anything, nor may ld.so; no server may have lost a worker."""
        for path in filter(Path.exists, self.errors + self.logs):
            for line in path.read_text(errors="replace").splitlines():
                if REPORT.search(line) or path in self.logs and CRASH.search(line):
                    raise Failure(f"{path.name}: {line}")


def tail(path):
    return path.read_text(errors="replace")[-1500:] if path.exists() else ""
