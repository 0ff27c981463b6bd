"""signals: programs that are sent a signal, or send themselves one, end as they would without the library."""

import signal

from .harness import DATA, Program

SENT = ["SEGV", "BUS", "ABRT", "FPE", "ILL", "SYS", "TRAP", "TERM"]


def bash(run):
    for name in SENT:
        run.call("bash", "-c", f"kill -{name} $$; echo alive", status=-signal.Signals["SIG" + name])
        # From outside, to a process that waits; and what a shell says of it.
        run.call("bash", "-c", f"sleep 20 & kill -{name} $!; wait $!; echo $?")
    run.call("bash", "-c", "trap 'echo trapped' SEGV; kill -SEGV $$; kill -SEGV $$; echo alive")
    run.call("bash", "-c", "trap '' SEGV; kill -SEGV $$; bash -c 'kill -SEGV $$; echo ignored'")
    run.call("timeout", "-s", "SEGV", "0.2", "sleep", "20", status=124)


def python_signals(run):
    run.call("python3", DATA / "signals.py")


PROGRAMS = [
    Program("bash kill -SEGV", ["bash"], ["bash"], bash, quick=True),
    Program("python kill -SEGV", ["python3"], ["python3"], python_signals, quick=True),
]
