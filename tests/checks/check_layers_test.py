#!/usr/bin/env python3
"""check_layers.py refuses each kind of violation and passes the real tree."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

CHECK = "tools/checks/check_layers.py"

GUARDED = "#ifndef HARDENED_X_H_\n#define HARDENED_X_H_\n%s\n#endif  // HARDENED_X_H_\n"


def run(root):
    done = subprocess.run([sys.executable, CHECK, root], stdout=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stdout


class CheckLayersTest(unittest.TestCase):
    def check(self, path, text):
        """Status and output for a tree with this one file."""
        with tempfile.TemporaryDirectory() as root:
            file = pathlib.Path(root, path)
            file.parent.mkdir(parents=True)
            file.write_text(text, encoding="utf-8")
            return run(root)

    def refuses(self, path, text, line, reason):
        status, output = self.check(path, text)
        self.assertEqual(status, 1, text)
        self.assertIn("%s:%d: " % (path, line), output)
        self.assertIn(reason, output)
        self.assertEqual(output.count("\n"), 1, output)

    def passes(self, path, text):
        self.assertEqual(self.check(path, text), (0, ""), text)

    def test_real_tree_passes(self):
        self.assertTrue(list(pathlib.Path("hardened/prim").glob("*.h")))
        self.assertEqual(run("."), (0, ""))

    def test_a_tree_without_sources_is_refused(self):
        with tempfile.TemporaryDirectory() as root:
            self.assertEqual(run(root)[0], 1)

    def test_includes_up_the_layers_are_refused(self):
        folders = {
            "prim": "hardened/prim",
            "core": "hardened/core",
            "hardened": "hardened",
            "policies": "policies",
            "shim": "hardened/shim",
            "bounds": "hardened/bounds",
        }
        allowed = {
            "prim": ["prim"],
            "core": ["prim", "core"],
            "hardened": ["prim", "core", "hardened"],
            "policies": ["prim", "hardened", "policies"],
            "shim": ["prim", "core", "hardened", "policies", "shim"],
            "bounds": ["bounds"],
        }
        for layer, folder in folders.items():
            for other, target in folders.items():
                text = '\n#include "%s/y.h"\n' % target
                if other in allowed[layer]:
                    self.passes(folder + "/x.cc", text)
                else:
                    self.refuses(folder + "/x.cc", text, 2, "%s may not include %s" % (layer, other))

    def test_the_bounds_see_the_public_interface_only(self):
        self.passes("hardened/bounds/x.cc", '#include "hardened/hardened.h"\n')
        self.refuses("hardened/bounds/x.cc", '#include "hardened/events.h"\n', 1, "bounds may not include hardened")

    def test_angle_brackets_hide_no_layer(self):
        self.refuses("hardened/prim/x.h", "#include <hardened/core/slab.h>\n", 1, "may not include core")

    def test_spacing_and_splices_hide_no_include(self):
        self.refuses("hardened/prim/x.cc", '/* a */ #  include /* b */ "policies/x.h"\n', 1, "policies")
        self.refuses("hardened/prim/x.cc", '\n#inc\\\nlude "policies/x.h"\n', 2, "policies")

    def test_comments_and_strings_are_not_includes(self):
        self.passes("hardened/core/x.cc", '// #include <string>\n/*\n#include <vector>\n#if 1\n*/\n')
        self.passes("hardened/core/x.cc", 'const char* a = R"(\n#if 1\n#include <map>\n)";\n')
        self.refuses("hardened/core/x.cc", 'const char* a = "/*";\n#include <map>\n', 2, "<map>")

    def test_includes_not_from_the_root_are_refused(self):
        self.refuses("hardened/core/x.cc", '#include "slab.h"\n', 1, "from the root")
        self.refuses("hardened/core/x.cc", '#include "hardened/core/../prim/x.h"\n', 1, "from the root")
        self.refuses("hardened/core/x.cc", '#include "tests/support/x.h"\n', 1, "neither")

    def test_folders_without_a_layer_are_refused(self):
        self.refuses("hardened/other/x.cc", "int x;\n", 1, "no layer")
        self.refuses("hardened/core/x.cc", '#include "hardened/other/x.h"\n', 1, "no layer")

    def test_only_the_listed_abseil_headers_pass(self):
        self.passes("hardened/core/x.cc", '#include "absl/base/optimization.h"\n#include "absl/numeric/bits.h"\n')
        for header in ("absl/types/span.h", "absl/strings/string_view.h", "absl/base/internal/spinlock.h"):
            self.refuses("hardened/core/x.cc", '#include "%s"\n' % header, 1, "Abseil")
            self.refuses("hardened/prim/x.cc", "#include <%s>\n" % header, 1, "Abseil")

    def test_runtime_headers_are_refused(self):
        for header in (
            "iostream string vector map memory functional thread mutex cstdio stdio.h regex locale exception"
        ).split():
            self.refuses("hardened/prim/x.cc", "#include <%s>\n" % header, 1, "<%s>" % header)
        self.passes("hardened/prim/x.cc", "#include <atomic>\n#include <new>\n#include <sys/mman.h>\n")

    def test_conditionals_are_for_prim_alone(self):
        self.passes("hardened/prim/x.h", "#if 1\n#else\n#endif\n")
        for folder in ("hardened/core", "hardened", "policies", "hardened/shim"):
            self.passes(folder + "/x.h", GUARDED % "int x;")
            status, output = self.check(folder + "/x.h", GUARDED % "#if 1\n#elif 2\n#else\n#endif")
            self.assertEqual(status, 1)
            for line, name in ((3, "if"), (4, "elif"), (5, "else"), (6, "endif")):
                self.assertIn("%s/x.h:%d: #%s outside prim/" % (folder, line, name), output)

    def test_a_guard_must_be_a_guard(self):
        status, output = self.check("hardened/core/x.h", "#ifndef A\n#define B\n#endif\n")
        self.assertEqual(status, 1)
        self.assertIn("x.h:1: #ifndef", output)

    def test_cplusplus_is_for_the_public_header_alone(self):
        block = "#ifdef __cplusplus\nextern \"C\" {\n#endif\n#if defined(__cplusplus)\n}\n#endif"
        self.passes("hardened/hardened.h", GUARDED % block)
        self.assertEqual(self.check("hardened/heap.h", GUARDED % block)[0], 1)
        status, output = self.check("hardened/hardened.h", GUARDED % "#ifdef NDEBUG\n#endif")
        self.assertEqual(status, 1)
        self.assertIn("hardened.h:3: #ifdef", output)

    def test_the_policy_macro_is_for_shim_alone(self):
        self.passes("hardened/shim/x.cc", "#include HARDENED_POLICY_HEADER\n")
        self.refuses("hardened/shim/x.cc", "#include OTHER\n", 1, "must name its file")
        self.refuses("hardened/core/x.cc", "#include HARDENED_POLICY_HEADER\n", 1, "must name its file")


if __name__ == "__main__":
    os.chdir(pathlib.Path(os.environ.get("TEST_SRCDIR", "."), os.environ.get("TEST_WORKSPACE", "")))
    unittest.main()
