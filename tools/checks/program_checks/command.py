"""command: tools/checks/programs, which chooses, installs, runs and compares."""

import argparse
import atexit
import difflib
import glob
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hardened_version import ShowVersion

from .harness import LOOPBACK, PATH, ROOT, Failure, Run, Skip, Timeout, adopt_orphans, end_all

LEVELS = ["light", "standard", "strict"]


def installed(program):
    return all(shutil.which(command, path=PATH) for command in program.commands) and program.present()


def install(program):
    """Tries Debian's packages, without starting their services. Returns whether the program is there."""
    if installed(program):
        return True
    if shutil.which("apt-get"):
        sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
        apt = sudo + ["env", "RUNLEVEL=1", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
        for words in (["install"], ["update"], ["install"]):
            try:
                more = ["--no-install-recommends"] + program.packages if words == ["install"] else []
                subprocess.run(apt + ["-qq", "-y"] + words + more, capture_output=True, stdin=subprocess.DEVNULL, timeout=900)
            except (OSError, subprocess.TimeoutExpired):
                return False
            if installed(program):
                return True
    return False


def check_binding(program, run):
    """The dynamic linker must bind malloc to the library, never to libc.

    Says more than dlsym() does: a library whose malloc has a version of its own
    is found by name and still gets no call.
    """
    process = run.start(program.commands[0], *program.probe,
                        env={"LD_DEBUG": "bindings", "LD_DEBUG_OUTPUT": str(run.dir / "bindings")})
    run.finish(process, 60)
    lines = [line for path in glob.glob(f"{run.dir}/bindings.*")
             for line in Path(path).read_text(errors="replace").splitlines() if "symbol `malloc'" in line]
    run.check(any(f" to {run.library} [" in line for line in lines), "malloc is not bound to the library")
    run.check(not any(re.search(r" to \S*/libc\.so", line) for line in lines), "malloc is bound to libc")


def exceptions(command):
    """What the ready policies forgive a program that has a harmless bug, as HARDENED_OPTIONS takes it."""
    path = os.path.realpath(shutil.which(command, path=PATH) or command)
    words = [line.split() for line in (ROOT / "policies/ready/server.policy").read_text().splitlines()]
    return ":".join(word for line in words if line[:1] == [path] for word in line[1:] if word.endswith("=ignore"))


def run_once(program, library, work):
    """Runs a program in a fresh directory. Returns the text to compare."""
    with tempfile.TemporaryDirectory(prefix="run", dir=work, ignore_cleanup_errors=True) as directory:
        os.chmod(directory, 0o755)  # servers read their files as users of their own
        run = Run(directory, library, work)
        try:
            if library:
                if forgiven := exceptions(program.commands[0]):
                    run.env["HARDENED_OPTIONS"] = forgiven
                check_binding(program, run)
            program.run(run)
            run.check_left()
        except (Failure, Timeout, OSError) as failure:
            # A report or a crash says more than what followed from it.
            try:
                run.check_errors()
                run.note_ended()
            except Failure as report:
                raise Failure(f"{report}\n{failure}") from None
            raise
        finally:
            end_all()
        run.check_errors()
        return re.sub(rf"({LOOPBACK}|localhost):\d+", r"\1:PORT", "".join(run.text).replace(directory, "DIR"))


def verdict(program, library, work, plain):
    """How a run ended, and the text to compare or what went wrong."""
    try:
        text = run_once(program, library, work)
    except Skip as reason:
        return "skipped", str(reason)
    except Timeout as late:
        return "TIMEOUT", str(late)
    except Failure as failure:
        return "DIFFERS", str(failure)
    except Exception as error:  # a lost connection, an answer nobody foresaw
        return "DIFFERS", f"{type(error).__name__}: {error}"
    if plain is None or text == plain:
        return "ok", text
    diff = difflib.unified_diff(plain.splitlines(), text.splitlines(), "plain", "preloaded", "", "", 0, "")
    return "DIFFERS", "\n".join(line[:160] for line in list(diff)[:16])


def library_of(level):
    """The preload library of a level, built by the project's own command."""
    command = [ROOT / "tools" / "run", "--print-library", f"--level={level}"]
    try:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    except OSError as error:
        sys.exit(f"programs: {error}")
    path = done.stdout.strip().splitlines()[-1:] or [""]
    if done.returncode or not path[0]:
        sys.exit(f"programs: tools/run --print-library --level={level} failed")
    return os.path.abspath(os.path.join(ROOT, path[0]))


def readable_by_all(libraries, work):
    """Copies of the libraries: a server that runs a program as another user may not reach this checkout."""
    copies = {}
    for label, path in libraries.items():
        if not os.path.isfile(path):
            sys.exit(f"programs: no such library: {path}")
        folder = Path(work, "libraries", label)
        folder.mkdir(parents=True)
        copies[label] = str(folder / Path(path).resolve().name)
        shutil.copy(path, copies[label])
        os.chmod(copies[label], 0o755)
    return copies


def check_program(program, libraries, work, count):
    """Runs a program plain, then under every library, and prints how that went."""
    def tell(label, result, seconds, text=""):
        count["ok" if result == "ok" else "skipped" if result in ("skipped", "not installed") else "failed"] += 1
        print(f"{program.name:34}{label:26} {result:13}{seconds:6.1f} s", flush=True)
        if text:
            print("    " + text.rstrip().replace("\n", "\n    "), flush=True)

    start = time.monotonic()
    if program.root and os.geteuid() != 0:
        state, plain = "skipped", "needs root"
    elif not install(program):
        state, plain = "not installed", ""
    else:
        state, plain = verdict(program, None, work, None)
    for label, path in libraries.items():
        if state != "ok":
            what = state if state in ("skipped", "not installed") else f"{state} plain"
            tell(label, what, time.monotonic() - start, plain)
            continue
        start = time.monotonic()
        result, text = verdict(program, path, work, plain)
        tell(label, result, time.monotonic() - start, "" if result == "ok" else text)


def main(usage, programs):
    """The command line. `usage`: its help; `programs`: all there are. Returns the exit status."""
    parser = argparse.ArgumentParser(usage=usage)
    parser.add_argument("--version", action=ShowVersion)
    parser.add_argument("--level", action="append")
    parser.add_argument("--library")
    parser.add_argument("--only", action="append", help="part of a program's name")
    parser.add_argument("--quick", action="store_true", help="only the programs that take a few seconds")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    if options.library and options.level:
        parser.error("--library and --level exclude each other")
    chosen = [p for p in programs if (not options.quick or p.quick)
              and (not options.only or any(name in p.name for name in options.only))]
    if not chosen:
        parser.error("no program has that name")
    if options.list:
        print(*(f"{p.name:34}{'quick' if p.quick else 'full'}" for p in chosen), sep="\n")
        return 0
    if options.library:
        libraries = {Path(options.library).name: os.path.abspath(options.library)}
    else:
        libraries = {level: library_of(level) for level in options.level or LEVELS}

    adopt_orphans()
    atexit.register(end_all)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(130))
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    count = {"ok": 0, "failed": 0, "skipped": 0}
    with tempfile.TemporaryDirectory(prefix="programs", ignore_cleanup_errors=True) as work:
        os.chmod(work, 0o755)
        libraries = readable_by_all(libraries, work)
        for program in chosen:
            check_program(program, libraries, Path(work), count)
    print(f"{count['ok']} passed, {count['failed']} failed, {count['skipped']} skipped")
    return 1 if count["failed"] else 0
