#!/usr/bin/env python3
"""DEPLOYMENT.md lists what the libraries can ask of the kernel: all of it, and nothing else."""

import os
import pathlib
import re
import unittest

FOLDERS = ["hardened", "hardened/core", "hardened/prim", "hardened/shim", "policies"]
# Only compared with what the program calls.
COMPARED = {"seccomp"}
# Functions of libc that are called, and what they ask of the kernel.
THROUGH_LIBC = {"sigaction": {"rt_sigaction"}, "abort": {"rt_sigaction", "rt_sigprocmask", "getpid", "gettid", "tgkill"}}


def source_text():
    files = [file for folder in FOLDERS for file in pathlib.Path(folder).glob("*.[ch]*")]
    return "\n".join(file.read_text(encoding="utf-8") for file in files if file.suffix in (".cc", ".h"))


def called(text):
    names = set(re.findall(r"\bSYS_(\w+)", text)) - COMPARED
    names |= {"mseal"} if re.search(r"\bkMseal\b", text) else set()
    for function, calls in THROUGH_LIBC.items():
        if re.search(r"(?<![\w.>])%s\(" % function, text):
            names |= calls
    return names


def listed(text):
    section = re.search(r"^## System calls$(.*?)^## ", text, re.M | re.S)
    lines = re.findall(r"^    [a-z ]+:(.*)$", section[1], re.M)
    return set(" ".join(lines).split())


class SystemCallsTest(unittest.TestCase):
    def test_the_list_is_that_of_the_sources(self):
        sources = called(source_text())
        self.assertLess({"mmap", "mprotect", "madvise", "futex", "gettid", "mseal"}, sources)
        deployment = listed(pathlib.Path("DEPLOYMENT.md").read_text(encoding="utf-8"))
        self.assertEqual(sorted(sources - deployment), [], "called, but not in DEPLOYMENT.md")
        self.assertEqual(sorted(deployment - sources), [], "in DEPLOYMENT.md, but not called")

    def test_no_other_way_leads_to_the_kernel(self):
        # What does not ask the sandbox: the questions about it, and what the program calls or ends with.
        unasked = {"kernel.cc", "sandbox.cc", "signals.cc", "check.cc"}
        for folder in FOLDERS:
            for file in pathlib.Path(folder).glob("*.cc"):
                text = file.read_text(encoding="utf-8")
                if file.name not in unasked:
                    self.assertNotRegex(text, r"SystemCall6|SystemCallUnasked|\bsyscall\(", file.name)


if __name__ == "__main__":
    os.chdir(pathlib.Path(os.environ.get("TEST_SRCDIR", "."), os.environ.get("TEST_WORKSPACE", "")))
    unittest.main()
