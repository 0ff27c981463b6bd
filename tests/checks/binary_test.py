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

# All that the libraries may import. Any other name may be taken by another preloaded library, whose
# version allocates or comes back for memory in another way; the kernel is asked without libc (prim/kernel.h).
ALLOWED = {
    "memory and strings": "memchr memcmp memcpy memmove memset explicit_bzero strcmp strcpy strlen",
    "the process": "getauxval environ __environ __errno_location __libc_stack_end",
    "threads and fork": """__libc_single_threaded pthread_key_create pthread_setspecific pthread_self __register_atfork
                           _IO_list_lock _IO_list_unlock""",
    "the C runtime": "__cxa_finalize __gmon_start__ _ITM_deregisterTMCloneTable _ITM_registerTMCloneTable",
    "weak, of the C++ runtime": """_ZSt15get_new_handlerv _ZSt17__throw_bad_allocv _ZSt9terminatev
                                   __cxa_begin_catch __cxa_end_catch __gxx_personality_v0 _Unwind_Resume""",
    "weak, of the program and of valgrind": "hardened_default_options _vgnU_freeres",
    "what the compiler adds": "__stack_chk_fail __explicit_bzero_chk",
    "in functions that the program calls": "fwrite",
    # Of the loader: in the constructor, for what lies behind sigaction and its kind; in dlopen; at the first operator
    # new of a program that replaced some; before a report.
    "never in malloc or free": "dlsym dladdr1 dl_iterate_phdr",
}
# Of the library that chooses at run time: the marks of tools before which it steps aside. All of them weak.
ALLOWED_ENV = """__asan_init __hwasan_init __lsan_init __memprof_init __msan_init
                 __tsan_init"""
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
        asked = {"hardened_bytes_from", "hardened_report_overflow", "strnlen", "wcslen", "wcsnlen", "__chk_fail"}
        self.assertEqual(self.imports(BOUNDS) - set(" ".join(ALLOWED.values()).split()), asked)
        # A call of its own function, as its code would make it through the linkage table.
        relocations = run("readelf", "-rW", BOUNDS)
        for symbol in pathlib.Path(BOUNDS_EXPORTED).read_text(encoding="utf-8").split():
            self.assertNotRegex(relocations, r"\s%s(@|\s)" % symbol)

    def imports(self, file):
        text = run("nm", "-D", "--undefined-only", file)
        return {name_of(line.split()[-1]) for line in text.splitlines()}

    def test_imports_nothing_but_what_is_allowed(self):
        allowed = set(" ".join(ALLOWED.values()).split())
        for file in self.each():
            self.assertIn("memcpy", self.imports(file))
            self.assertEqual(self.imports(file) - allowed, set())
        self.assertEqual(self.imports("hardened/shim/libhardened.so") - allowed, set(ALLOWED_ENV.split()))

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
