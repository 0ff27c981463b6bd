#!/usr/bin/env python3
"""What the preload libraries need, export and are protected by, as linked.

usage: binary_test.py COMPILATION_MODE
"""

import os
import pathlib
import re
import subprocess
import sys
import unittest

LEVELS = ("light", "standard", "strict")
EXPORTED = "tests/golden/exported_symbols.txt"
BOUNDS = "hardened/bounds/libhardened_bounds.so"
BOUNDS_EXPORTED = "tests/golden/bounds_symbols.txt"

# What a malloc cannot call: it allocates, locks, parses locale, or needs the C++ runtime.
FORBIDDEN = re.compile(
    r"^(malloc|calloc|realloc|free|posix_memalign|aligned_alloc|memalign"
    r"|_Zn[wa].*|_Zd[la].*|__cxa_guard_.*|__cxa_atexit|__cxa_throw|__cxa_allocate_exception"
    r"|__tls_get_addr|strtou?ll?|strto[fd]|ato[il]|(secure_)?getenv|v?f?s?n?printf|__.*printf_chk"
    r"|puts|fputs|setlocale|dlsym|dlopen|pthread_mutex_.*)$"
)
MAX_TLS_BYTES = 16
# frame_dummy of the C runtime and the fork handlers' constructor.
MAX_INIT_BYTES = 2 * 8

ENDBR64 = b"\xf3\x0f\x1e\xfa"


def run(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def name_of(symbol):
    return symbol.partition("@")[0]


class BinaryTest(unittest.TestCase):
    def each(self):
        return ["hardened/shim/libhardened_%s.so" % level for level in LEVELS]

    def test_needs_libc_only(self):
        for file in self.each():
            needed = re.findall(r"\(NEEDED\).*\[(.*)\]", run("readelf", "-dW", file))
            self.assertEqual(needed, ["libc.so.6"])

    def check_exports(self, file, list_of_symbols):
        golden = pathlib.Path(list_of_symbols).read_text(encoding="utf-8").split("\n")
        text = run("nm", "-D", "--defined-only", "--demangle", file)
        found = sorted(line.split(" ", 2)[2] for line in text.splitlines()) + [""]
        self.assertEqual(found, golden, "%s should be:\n%s" % (list_of_symbols, "\n".join(found)))

    def test_exports_the_golden_list_and_nothing_else(self):
        for file in self.each():
            self.check_exports(file, EXPORTED)
        self.check_exports(BOUNDS, BOUNDS_EXPORTED)

    def test_the_bounds_need_libc_only_and_none_of_what_they_replace(self):
        self.assertEqual(re.findall(r"\(NEEDED\).*\[(.*)\]", run("readelf", "-dW", BOUNDS)), ["libc.so.6"])
        text = run("nm", "-D", "--undefined-only", BOUNDS)
        undefined = {name_of(line.split()[-1]) for line in text.splitlines()}
        self.assertLessEqual({"hardened_bytes_from", "hardened_report_overflow", "dlsym"}, undefined)
        self.assertEqual([s for s in undefined - {"dlsym"} if FORBIDDEN.match(s)], [])
        # A call of its own function, as its code would make it through the linkage table.
        relocations = run("readelf", "-rW", BOUNDS)
        for symbol in pathlib.Path(BOUNDS_EXPORTED).read_text(encoding="utf-8").split():
            self.assertNotRegex(relocations, r"\s%s(@|\s)" % symbol)

    def test_nothing_forbidden_is_undefined(self):
        for file in self.each():
            text = run("nm", "-D", "--undefined-only", file)
            undefined = [name_of(line.split()[-1]) for line in text.splitlines()]
            self.assertIn("mmap", undefined)
            self.assertEqual([s for s in undefined if FORBIDDEN.match(s)], [])

    def test_the_pattern_refuses_what_it_is_for(self):
        for symbol in """malloc _Znwm _ZdaPvSt11align_val_t __cxa_guard_acquire strtol strtoull getenv
                         secure_getenv printf snprintf vfprintf __snprintf_chk atoi""".split():
            self.assertTrue(FORBIDDEN.match(symbol), symbol)
        for symbol in "mmap abort memset fwrite open strlen".split():
            self.assertFalse(FORBIDDEN.match(symbol), symbol)

    def segments(self, file):
        """Name -> (memory size, flags) of each program header."""
        found = {}
        for line in run("readelf", "-lW", file).splitlines():
            match = re.match(r"\s+([A-Z_]+)\s+0x\S+ 0x\S+ 0x\S+ 0x\S+ (0x\S+) (.{3}) ", line)
            if match:
                found.setdefault(match[1], (int(match[2], 16), match[3].replace(" ", "")))
        return found

    def test_thread_local_memory_is_small(self):
        for file in self.each():
            self.assertLessEqual(self.segments(file)["TLS"][0], MAX_TLS_BYTES)

    def test_thread_local_memory_is_initial_exec(self):
        for file in self.each():
            self.assertIn("STATIC_TLS", run("readelf", "-dW", file))

    def test_relocations_are_read_only_before_main(self):
        for file in self.each():
            self.assertIn("GNU_RELRO", self.segments(file))
            self.assertRegex(run("readelf", "-dW", file), r"FLAGS_1\).*\bNOW\b")
            self.assertNotIn("TEXTREL", run("readelf", "-dW", file))

    def test_no_page_is_writable_and_executable(self):
        for file in self.each():
            self.assertEqual(self.segments(file)["GNU_STACK"][1], "RW")
            for line in run("readelf", "-lW", file).splitlines():
                self.assertNotRegex(line, r"^\s+LOAD .* (RWE|WE)")

    def test_nothing_but_the_fork_handlers_runs_before_main(self):
        for file in self.each():
            size = re.search(r"\(INIT_ARRAYSZ\)\s+(\d+)", run("readelf", "-dW", file))
            self.assertLessEqual(int(size[1]), MAX_INIT_BYTES)

    def test_cannot_be_unmapped(self):
        for file in self.each():
            self.assertIn("NODELETE", run("readelf", "-dW", file))


class ProtectionTest(unittest.TestCase):
    """What the processor and libc do for the library's own code."""

    mode = "opt"
    files = ["hardened/shim/libhardened%s.so" % name for name in [""] + ["_" + level for level in LEVELS]] + [BOUNDS]

    def on_x86_only(self):
        if "X86-64" not in run("readelf", "-hW", self.files[0]):
            self.skipTest("only of x86-64")

    def test_is_marked_for_indirect_branch_tracking_and_shadow_stacks(self):
        self.on_x86_only()
        for file in self.files:
            self.assertRegex(run("readelf", "-nW", file), r"x86 feature:.*\bIBT\b.*\bSHSTK\b", file)

    # The linker was told to set the mark, so it has to be true.
    def test_whatever_a_pointer_leads_to_begins_with_endbr64(self):
        self.on_x86_only()
        for file in self.files:
            sections = {
                match[1]: [int(number, 16) for number in match.groups()[1:]]
                for match in re.finditer(r"\] (\.\S+) +PROGBITS +(\S+) (\S+) (\S+)", run("readelf", "-SW", file))
            }
            start, offset, size = sections[".text"]
            code = pathlib.Path(file).read_bytes()[offset : offset + size]
            functions = re.findall(r"^([0-9a-f]+) T ", run("nm", "-D", "--defined-only", file), re.MULTILINE)
            pointers = re.findall(r"R_X86_64_RELATIVE +([0-9a-f]+)$", run("readelf", "-rW", file), re.MULTILINE)
            targets = [int(address, 16) - start for address in functions + pointers]
            targets = [target for target in targets if 0 <= target < size]
            self.assertGreaterEqual(len(targets), len(functions))
            for target in targets:
                self.assertEqual(code[target : target + 4], ENDBR64, "%s: %#x" % (file, start + target))
            # The C runtime's _init and _fini have none.
            self.assertNotRegex(run("readelf", "-dW", file), r"\((INIT|FINI)\)")

    def test_calls_of_libc_know_the_sizes_of_buffers(self):
        if self.mode != "opt":
            self.skipTest("only with -c opt, this is " + self.mode)
        for file in self.files[:-1]:
            # Not __explicit_bzero_chk, which it would be.
            self.assertNotRegex(run("nm", "-D", "--undefined-only", file), r" U explicit_bzero\b", file)

    def test_buffers_on_the_stack_have_canaries(self):
        for file in self.files[:-1]:
            self.assertIn(" __stack_chk_fail", run("nm", "-D", "--undefined-only", file))

    # A frame beyond a page is touched page by page, so that it cannot step over the guard of a stack.
    def test_large_frames_touch_every_page(self):
        self.on_x86_only()
        for file in self.files[:-1]:
            text = run("objdump", "-d", "--no-show-raw-insn", file)
            frames = [int(size, 16) for size in re.findall(r"\bsub +\$0x([0-9a-f]{1,8}),%rsp", text)]
            self.assertTrue(frames, file)
            self.assertLessEqual(max(frames), 4096, file)



if __name__ == "__main__":
    if len(sys.argv) > 1:
        ProtectionTest.mode = sys.argv.pop(1)
    os.chdir(pathlib.Path(os.environ.get("TEST_SRCDIR", "."), os.environ.get("TEST_WORKSPACE", "")))
    unittest.main()
