"""golden_build: the build whose code the golden tables describe."""

import subprocess

COMPILER = "GCC: (Debian 12."


def difference(mode, library):
    """Returns: in what this build differs from it; empty when in nothing."""
    if mode != "opt":
        return "the golden table is of -c opt, this is " + mode
    compiler = subprocess.run(["readelf", "-p", ".comment", library], stdout=subprocess.PIPE, text=True,
                              check=True).stdout
    if COMPILER not in compiler or "clang" in compiler:
        return "the golden table is of %s, this is %s" % (COMPILER, compiler)
    return ""
