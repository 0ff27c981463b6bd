"""programs: real programs from Debian, as work for tools/bench --programs.

Each does a fixed amount of work, the same in every run: an output or a count
that differs between allocators ends the benchmark. Inputs are made once, in a
temporary folder. Only the program measured is preloaded, never a client or
load generator; its figures come from tools/benchmarks/launch.cc and cover the
process tree. A server is measured from its start to its end.
"""

import dataclasses
import hashlib
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import zlib

SCRIPTS = pathlib.Path(__file__).resolve().parent / "programs"
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"  # Debian's own programs, whatever the user has before them
LOOPBACK = "127.0.0.1"
RUN_TIMEOUT = 180


class ProgramError(Exception):
    """A program that did not do its work; the text says what."""


@dataclasses.dataclass(frozen=True)
class Program:
    name: str
    commands: tuple  # must be there, else the packages are installed; the first one is measured
    packages: tuple
    run: object  # run(Session): does the work once
    prepare: object = None  # prepare(folder): makes the inputs once
    flag: str = "--version"  # ends the first command at once
    # The program is linked to another malloc: under the base, libc goes before it.
    own_malloc: bool = False


class Session:
    """One run of one program under one allocator, in the folder of its inputs."""

    def __init__(self, folder, launcher, environment):
        self.folder, self.launcher = folder, launcher
        self.plain = {"PATH": PATH, "HOME": str(folder), "TMPDIR": str(folder), "LC_ALL": "C.UTF-8",
                      "TZ": "UTC", "PYTHONHASHSEED": "0", "GIT_CONFIG_NOSYSTEM": "1"}
        self.environment = {**environment, **self.plain}
        self.started = []
        self.digest = hashlib.sha256()
        self.operations = 0
        self.cpu_ns = self.wall_ns = self.rss_kib = 0

    def start(self, *command, stdin=None, launched=False):
        """Starts a process in a group of its own; its output goes to files."""
        number = len(self.started)
        figures = self.folder / f"figures.{number}"
        output, errors = self.folder / f"output.{number}", self.folder / f"errors.{number}"
        command = [str(word) for word in command]
        if launched:
            command = [str(self.launcher), str(figures), "1", *command]
        with open(output, "wb") as out, open(errors, "wb") as err, \
                open(stdin or os.devnull, "rb") as source:
            process = subprocess.Popen(command, stdin=source, stdout=out, stderr=err,
                                       cwd=self.folder, start_new_session=True,
                                       env=self.environment if launched else self.plain)
        process.output, process.errors, process.figures = output, errors, figures
        self.started.append(process)
        return process

    def finish(self, process):
        """Waits for a process that must end with status 0. Returns its output."""
        name = next(word for word in process.args if word not in (
            str(self.launcher), str(process.figures), "1"))
        try:
            status = process.wait(RUN_TIMEOUT)
        except subprocess.TimeoutExpired:
            raise ProgramError(f"{name}: no end after {RUN_TIMEOUT} s") from None
        finally:
            end_group(process)
        if status:
            tail = (process.output.read_bytes()[-500:] + process.errors.read_bytes()[-1000:])
            raise ProgramError(f"{name}: exit status {status}\n{tail.decode(errors='replace')}")
        if process.args[0] == str(self.launcher):
            cpu, wall, rss, _ = map(int, process.figures.read_text().split())
            self.cpu_ns += cpu
            self.wall_ns += wall
            self.rss_kib = max(self.rss_kib, rss)
        return process.output.read_bytes()

    def measure(self, *command, stdin=None, operations=1):
        """Runs the measured program to its end and adds its output to what is compared."""
        output = self.finish(self.start(*command, stdin=stdin, launched=True))
        self.operations += operations
        self.compare(output)
        return output

    def serve(self, *command, ready):
        """Starts the measured program as a server and waits until ready() holds."""
        process = self.start(*command, launched=True)
        end = time.monotonic() + 30
        while not ready():
            if process.poll() is not None or time.monotonic() > end:
                tail = process.output.read_bytes()[-500:] + process.errors.read_bytes()[-1000:]
                end_group(process)
                raise ProgramError(f"{command[0]} does not serve\n{tail.decode(errors='replace')}")
            time.sleep(0.01)
        return process

    def client(self, *command):
        return self.finish(self.start(*command)).decode(errors="replace")

    def compare(self, data):
        self.digest.update(data)

    def end_all(self):
        for process in self.started:
            end_group(process)

    def figures(self):
        return {"ops": self.operations, "output": self.digest.hexdigest()[:16],
                "cpu_ns": self.cpu_ns, "wall_ns": self.wall_ns, "rss_kib": self.rss_kib}


def end_group(process):
    """Ends what is left of the group of a process, and reaps its leader."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    process.wait()


def check(condition, text):
    if not condition:
        raise ProgramError(text)


def connects(kind, address):
    with socket.socket(kind) as s:
        return s.connect_ex(address) == 0


# --- the programs -------------------------------------------------------------


def command(*words, stdin=None):
    """A run of one command; words that name one of our scripts become its path."""
    def run(session):
        full = [SCRIPTS / word if (SCRIPTS / word).is_file() else word for word in words]
        session.measure(*full, stdin=session.folder / stdin if stdin else None)
    return run


def make_sql(folder):
    lines = ["create table t(id integer primary key, k text, v blob);", "begin;"]
    lines += [f"insert into t values({i},'k{i * 7919 % 100003}','{'x' * (i % 120)}{i}');"
              for i in range(60_000)]
    lines += ["commit;", "create index by_k on t(k, v);", "delete from t where id % 3 = 0;",
              "select count(*), sum(id), sum(length(v)), max(k), count(distinct substr(k,1,3)) from t;",
              "select k, group_concat(id) from t group by substr(k,1,4) order by k limit 40;"]
    lines += [f"select sum(length(v)) from t where k between 'k{i}' and 'k{i + 1}';"
              for i in range(1000, 9000, 4)]
    lines += ["update t set v = v || k where id % 2 = 0;", "select sum(length(v)) from t;"]
    (folder / "script.sql").write_text("\n".join(lines))


def python_start(session):
    loop = "i=0; while [ $i -lt 20 ]; do python3 -c 'import json, re, os; print(len(os.sep))'; i=$((i+1)); done"
    session.measure("sh", "-c", loop, operations=20)


def make_repository(folder):
    """A bare repository of 150 files that change over 60 commits, packed once."""
    draw = random.Random(1)
    words = [f"word{i}" for i in range(3000)]
    files = [[" ".join(draw.choices(words, k=9)) for _ in range(120)] for _ in range(150)]
    stream = []
    for number in range(60):
        stream.append(f"commit refs/heads/main\ncommitter n <e@example.org> {1_600_000_000 + number} +0000\n"
                      f"data {len(str(number))}\n{number}\n")
        for index in range(len(files)) if number == 0 else draw.sample(range(len(files)), 25):
            for _ in range(6):
                files[index][draw.randrange(120)] = " ".join(draw.choices(words, k=9))
            text = "\n".join(files[index])
            stream.append(f"M 100644 inline d{index % 10}/f{index}\ndata {len(text)}\n{text}\n")
    session = Session(folder, None, {})
    (folder / "stream").write_text("".join(stream))
    session.client("git", "init", "-q", "--bare", "repository")
    session.finish(session.start("git", "-C", "repository", "fast-import", "--quiet", stdin=folder / "stream"))
    session.client(*GIT_REPACK)


# One thread: the packs of several depend on who finds what first.
GIT_REPACK = ("git", "-C", "repository", "-c", "pack.threads=1", "repack", "-a", "-d", "-f", "-q")


def git_repack(session):
    session.measure(*GIT_REPACK)
    packs = sorted(path.name for path in (session.folder / "repository/objects/pack").iterdir())
    session.compare(" ".join(packs).encode())


def make_z3_problem(folder):
    """A shop of 10 jobs on 8 machines, a product to factor, and stores into an array."""
    draw = random.Random(1)
    jobs, machines = range(10), range(8)
    length = {(j, m): draw.randrange(1, 9) for j in jobs for m in machines}
    lines = ["(push)(declare-const end Int)"]
    lines += [f"(declare-const s{j}_{m} Int)" for j in jobs for m in machines]
    for j in jobs:
        order = draw.sample(machines, len(machines))
        lines.append(f"(assert (>= s{j}_{order[0]} 0))")
        lines += [f"(assert (>= s{j}_{b} (+ s{j}_{a} {length[j, a]})))" for a, b in zip(order, order[1:])]
        lines.append(f"(assert (<= (+ s{j}_{order[-1]} {length[j, order[-1]]}) end))")
    lines += [f"(assert (or (>= s{a}_{m} (+ s{b}_{m} {length[b, m]})) (>= s{b}_{m} (+ s{a}_{m} {length[a, m]}))))"
              for m in machines for a in jobs for b in range(a)]
    lines += [f"(push)(assert (<= end {limit}))(check-sat)(pop)" for limit in (90, 75, 70, 68)]
    lines.append("(pop)(push)(declare-const x (_ BitVec 32))(declare-const y (_ BitVec 32))"
                 f"(assert (= (bvmul x y) (_ bv{65521 * 65519} 32)))(assert (bvult x y))"
                 "(assert (bvugt x (_ bv1 32)))(assert (bvult x (_ bv65536 32)))"
                 "(assert (bvult y (_ bv65536 32)))(check-sat)(pop)")
    stores = "a"
    for k in range(24):
        stores = f"(store {stores} i{k} (+ i{k} {k}))"
    lines.append("(declare-const a (Array Int Int))(declare-const b (Array Int Int))")
    lines += [f"(declare-const i{k} Int)" for k in range(24)]
    lines.append(f"(assert (= b {stores}))(assert (distinct {' '.join(f'i{k}' for k in range(24))}))")
    lines += [f"(assert (< (select b i{k}) (select b i{k + 1})))" for k in range(23)]
    lines.append("(check-sat)(get-info :rlimit)")  # the steps that it took
    (folder / "problem.smt2").write_text("\n".join(lines))


def ghostscript(session):
    session.measure("gs", "-q", "-dNOPAUSE", "-dBATCH", "-dSAFER", "-sDEVICE=ppmraw", "-r300",
                    "-o", "page.ppm", SCRIPTS / "page.ps")
    session.compare((session.folder / "page.ppm").read_bytes())


def make_text(folder):
    draw = random.Random(1)
    words = [f"{draw.randrange(1 << 40):x}"[:draw.randrange(2, 10)] for _ in range(20_000)]
    text = " ".join(draw.choices(words, k=450_000)).encode()
    (folder / "text").write_bytes(text)


def xz(session):
    (session.folder / "text.xz").unlink(missing_ok=True)
    session.measure("xz", "-k", "-2", "-T1", "text")
    session.compare((session.folder / "text.xz").read_bytes())
    session.measure("xz", "-t", "text.xz", operations=0)


# Requests of each redis-benchmark call.
REDIS_REQUESTS = 200_000


def redis(*tests):
    """A redis server under redis-benchmark; its keys are drawn by a clock, its calls counted."""
    def run(session):
        path = str(session.folder / "redis.sock")
        server = session.serve("redis-server", "--port", "0", "--unixsocket", path, "--save", "",
                               "--appendonly", "no", "--daemonize", "no", "--dir", session.folder,
                               ready=lambda: connects(socket.AF_UNIX, path))
        for words in tests:
            session.client("redis-benchmark", "-s", path, "-n", REDIS_REQUESTS, "-c", "20", "-P", "16",
                           "-q", *words)
        calls = session.client("redis-cli", "-s", path, "INFO", "commandstats")
        session.client("redis-cli", "-s", path, "SHUTDOWN", "NOSAVE")
        session.finish(server)
        counts = {name: int(n) for name, n in re.findall(r"cmdstat_(\w+):calls=(\d+)", calls)
                  if name in ("set", "get", "lpush", "lpop", "lrange", "hset", "zadd")}
        session.operations += sum(counts.values())
        session.compare(repr(sorted(counts.items())).encode())
    return run


NGINX_REQUESTS = 15_000


def nginx(session):
    with socket.socket() as s:
        s.bind((LOOPBACK, 0))
        port = s.getsockname()[1]
    folder = session.folder
    (folder / "www").mkdir(exist_ok=True)
    (folder / "www" / "index.html").write_text("<p>hello</p>\n" * 300)
    temporary = " ".join(f"{kind}_temp_path {kind};"
                         for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(f"""
{'user root;' if os.geteuid() == 0 else ''}
daemon off; master_process on; worker_processes 1; pid nginx.pid; error_log error.log warn;
events {{ worker_connections 256; }}
http {{
  access_log off; gzip on; gzip_types text/html; types {{ text/html html; }} {temporary}
  keepalive_requests 1000000;
  upstream itself {{ server {LOOPBACK}:{port}; keepalive 16; }}
  server {{
    listen {LOOPBACK}:{port}; root www;
    location = /proxy {{ proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass http://itself/; }}
  }}
}}
""")
    server = session.serve("nginx", "-p", f"{folder}/", "-c", "nginx.conf", "-e", "error.log",
                           ready=lambda: connects(socket.AF_INET, (LOOPBACK, port)))
    for page, more, part in (("", (), 1), ("", ("-H", "Accept-Encoding: gzip"), 3), ("proxy", (), 3)):
        requests = NGINX_REQUESTS // part
        text = session.client("ab", "-q", "-k", "-c", "16", "-n", requests, *more,
                              f"http://{LOOPBACK}:{port}/{page}")
        complete = re.search(r"Complete requests: +(\d+)", text)
        check(complete and int(complete[1]) == requests and "Failed requests:        0" in text
              and "Non-2xx" not in text, "ab: " + text)
        session.operations += requests
    os.kill(int((folder / "nginx.pid").read_text()), signal.SIGQUIT)
    session.finish(server)


MEMCACHED_BATCHES = 900


def memcached(session):
    """Sets, gets and deletes over one connection, with values of 1 B to 8 KB."""
    path = str(session.folder / "memcached.sock")
    server = session.serve("memcached", "-A", "-s", path, "-m", "64", "-t", "2",
                           *(["-u", "root"] if os.geteuid() == 0 else []),
                           ready=lambda: connects(socket.AF_UNIX, path))
    draw = random.Random(1)
    answers = zlib.crc32(b"")
    block = draw.randbytes(16384)
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(30)
        s.connect(path)
        stream = s.makefile("rb", buffering=1 << 20)

        def ask(request, last):
            nonlocal answers
            s.sendall(request)
            for line in iter(stream.readline, last):
                check(line, "memcached: closed the connection")
                answers = zlib.crc32(line, answers)

        for first in range(0, MEMCACHED_BATCHES * 100, 100):
            request = []
            for i in range(first, first + 100):
                start, size = draw.randrange(8000), draw.randrange(8000 if i % 50 == 0 else 600) + 1
                value = block[start:start + size]
                request.append(b"set k%d 0 0 %d noreply\r\n%s\r\n" % (i % 30_000, size, value))
                if i % 4 == 0:
                    request.append(b"delete k%d noreply\r\n" % draw.randrange(30_000))
            keys = b" ".join(b"k%d" % draw.randrange(30_000) for _ in range(100))
            request.append(b"get %s\r\n" % keys)
            ask(b"".join(request), b"END\r\n")
        s.sendall(b"shutdown graceful\r\n")
    session.finish(server)
    session.operations += MEMCACHED_BATCHES * 300
    session.compare(b"%d" % answers)


# Counts and allocates nothing.
CONTROL_SCRIPT = "my $x = 0; for my $i (1 .. 5_000_000) { $x = ($x * 3 + $i) % 1_000_003 } print $x"

PROGRAMS = (
    Program("control", ("perl",), ("perl",), command("perl", "-e", CONTROL_SCRIPT), flag="-v"),
    Program("redis set/get", ("redis-server", "redis-benchmark", "redis-cli"),
            ("redis-server", "redis-tools"),
            redis(("-t", "set,get", "-r", "60000", "-d", "100"),
                  ("-t", "hset", "-r", "60000", "-d", "40")), own_malloc=True),
    Program("redis lpush", ("redis-server", "redis-benchmark", "redis-cli"),
            ("redis-server", "redis-tools"),
            redis(("-r", "20000", "lpush", "list:__rand_int__", "1", "2", "3", "4", "5"),
                  ("-t", "lpush,lpop")), own_malloc=True),
    Program("sqlite3", ("sqlite3",), ("sqlite3",),
            command("sqlite3", "-batch", "-bail", ":memory:", stdin="script.sql"), make_sql),
    Program("python3 json", ("python3",), ("python3",), command("python3", "json_objects.py")),
    Program("python3 start", ("python3",), ("python3",), python_start),
    Program("lua", ("lua5.4",), ("lua5.4",), command("lua5.4", "tables.lua"), flag="-v"),
    Program("perl", ("perl",), ("perl",), command("perl", "words.pl"), flag="-v"),
    Program("git repack", ("git",), ("git",), git_repack, make_repository),
    Program("g++", ("g++",), ("g++",), command("g++", "-std=c++20", "-fsyntax-only", "headers.cc")),
    Program("clang-19", ("clang++-19",), ("clang-19",),
            command("clang++-19", "-std=c++20", "-fsyntax-only", "headers.cc")),
    Program("z3", ("z3",), ("z3",), command("z3", "problem.smt2"), make_z3_problem),
    Program("ghostscript", ("gs",), ("ghostscript",), ghostscript),
    Program("nginx", ("nginx", "ab"), ("nginx-light", "apache2-utils"), nginx, flag="-v"),
    Program("memcached", ("memcached",), ("memcached",), memcached),
    Program("xz", ("xz",), ("xz-utils",), xz, make_text),
    Program("node", ("node",), ("nodejs",), command("node", "objects.js")),
)


# --- running them -------------------------------------------------------------


def missing_commands(program):
    return [name for name in program.commands if not shutil.which(name, path=PATH)]


def malloc_file(program, environment, folder):
    """Returns: the file to which the loader binds the program's malloc; "" when it has none."""
    output = folder / "bindings"
    executable = shutil.which(program.commands[0], path=PATH)
    environment = {**environment, "PATH": PATH, "LD_DEBUG": "bindings", "LD_BIND_NOW": "1",
                   "LD_DEBUG_OUTPUT": str(output)}
    subprocess.run([executable, program.flag], env=environment, stdin=subprocess.DEVNULL,
                   capture_output=True, timeout=60)
    found = set()
    for path in folder.glob("bindings.*"):
        found |= set(re.findall(r" to (\S+) \[\d+\]: normal symbol `malloc'",
                                path.read_text(errors="replace")))
        path.unlink()
    # An executable at a fixed address lends its jump to malloc to whoever takes malloc's address.
    found = {file for file in found if os.path.realpath(file) != os.path.realpath(executable)}
    check(len(found) <= 1, f"{program.name}: malloc is bound to {' and '.join(sorted(found))}")
    return found.pop() if found else ""


def run_program(program, folder, launcher, environment):
    """Runs a program once. Returns: its figures by name."""
    session = Session(folder, launcher, environment)
    try:
        program.run(session)
    finally:
        session.end_all()
    return session.figures()


MAPS_INTERVAL = 0.02


def most_maps(program, folder, launcher, environment):
    """Runs a program once more and looks at it all the time, so its other figures are worthless.

    Returns: the most lines that /proc/PID/maps of a preloaded process had.
    """
    session = Session(folder, launcher, environment)
    most, done = 0, threading.Event()

    def watch():
        nonlocal most
        while not done.wait(MAPS_INTERVAL):
            for pid in filter(str.isdigit, os.listdir("/proc")):
                try:
                    if os.getpgid(int(pid)) in [process.pid for process in session.started
                                                if process.args[0] == str(launcher)]:
                        most = max(most, pathlib.Path("/proc", pid, "maps").read_bytes().count(b"\n"))
                except OSError:  # it ended
                    pass

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        program.run(session)
    finally:
        done.set()
        watcher.join()
        session.end_all()
    return most
