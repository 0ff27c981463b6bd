"""Prints how children end that are sent a signal, with and without handlers, and what their handlers see."""

import signal
import subprocess
import sys

KILL = "os.kill(os.getpid(), signal.SIGSEGV)"
CHILDREN = {
    "kill": KILL,
    "raise": "signal.raise_signal(signal.SIGSEGV)",
    "bus": "os.kill(os.getpid(), signal.SIGBUS)",
    "sent to a thread": "threading.Thread(target=lambda: signal.pthread_kill(threading.get_ident(), signal.SIGSEGV)).start(); "
                        "time.sleep(20)",
    "read of address 0": "ctypes.string_at(0)",
    "write to text": "ctypes.memset(ctypes.cast(ctypes.pythonapi.Py_Initialize, ctypes.c_void_p).value, 0, 1)",
    "handler": f"signal.signal(signal.SIGSEGV, lambda *_: print('handled')); {KILL}; {KILL}",
    "handler taken away": f"signal.signal(signal.SIGSEGV, lambda *_: print('handled')); {KILL}; "
                          f"signal.signal(signal.SIGSEGV, signal.SIG_DFL); {KILL}",
    "old action": "print(signal.getsignal(signal.SIGSEGV), signal.getsignal(signal.SIGBUS))",
    "ignored": f"signal.signal(signal.SIGSEGV, signal.SIG_IGN); {KILL}",
    "blocked": f"signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGSEGV]); {KILL}; print(signal.sigpending()); "
               "print(signal.sigwait([signal.SIGSEGV]))",
    "blocked fault": "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGSEGV]); ctypes.string_at(0)",
    "faulthandler, sent": f"faulthandler.enable(sys.stdout); {KILL}",
    "faulthandler, fault": "faulthandler.enable(sys.stdout); ctypes.string_at(0)",
    "after fork": f"os.fork() or ({KILL}); print(os.waitstatus_to_exitcode(os.wait()[1]))",
    "after exec": f"os.execv(sys.executable, [sys.executable, '-c', 'import os, signal; {KILL}'])",
}
BEFORE = "import ctypes, faulthandler, os, signal, sys, threading, time; signal.alarm(30); "

for name, code in CHILDREN.items():
    done = subprocess.run([sys.executable, "-uc", BEFORE + code], stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    # Addresses and the places of threads differ from run to run.
    lines = [line for line in done.stdout.splitlines() if " 0x" not in line]
    print(name, done.returncode, *lines, sep="\n  ")
