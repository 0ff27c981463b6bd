"""python_tests: CPython's own tests, and the library asked from within a program."""

import os
import re
import subprocess
from pathlib import Path

from .harness import PATH, Program


def python():
    """A python3 that has the test modules, else Debian's. Not remembered: they may be installed meanwhile."""
    for folder in PATH.split(":"):
        candidate = os.path.join(folder, "python3")
        if os.access(candidate, os.X_OK) and imports(candidate, "test.test_json", "test.test_dict"):
            return candidate
    return "/usr/bin/python3"


def imports(interpreter, *modules):
    return subprocess.run([interpreter, "-c", "import " + ", ".join(modules)], capture_output=True).returncode == 0


def testsuite():
    """Debian's package of the test modules."""
    version = subprocess.run(["/usr/bin/python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
                             capture_output=True, text=True).stdout.strip()
    return f"libpython{version}-testsuite"


def library_in_charge(run):
    """Not compared: the library answers for itself in a program that only preloads it."""
    script = "import ctypes; print(hasattr(ctypes.CDLL(None), 'hardened_get_counters'))"
    has = run.quiet(python(), "-c", script) == "True\n"
    ours = run.library is not None and Path(run.library).name.startswith("libhardened")
    run.check(has == ours, f"hardened_get_counters {'found' if has else 'not found'}")


def module_test(module):
    def run_it(run):
        def normalise(text):
            kept = re.findall(r"^(?:Ran \d+ tests|OK.*|FAILED.*|(?:FAIL|ERROR): .*|.*Error: .*|Tests result: .*)", text, re.M)
            return "\n".join(kept) + "\n"

        run.call(python(), "-m", "test", "-v", module, timeout=600, normalise=normalise)
    return run_it


def module_program(module, quick=False):
    return Program("python " + module, ["python3"], ["python3", testsuite()], module_test(module), quick,
                   present=lambda: imports(python(), "test." + module))


PROGRAMS = [
    Program("library in charge", ["python3"], ["python3"], library_in_charge, quick=True),
    module_program("test_json", quick=True),
    module_program("test_dict", quick=True),
    module_program("test_list"),
    module_program("test_threading"),
    module_program("test_ctypes"),
    module_program("test_multiprocessing_fork"),
]
