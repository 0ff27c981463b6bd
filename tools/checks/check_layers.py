#!/usr/bin/env python3
"""Checks what the allocator's sources include, and that #if stays in prim/.

usage: check_layers.py [ROOT]      (default: the checkout this script is in)

Prints file:line: reason for each violation; exits 1 when there is one.
"""

import argparse
import pathlib
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from hardened_version import ShowVersion

# Folder -> layer. The longest folder that holds a file decides.
LAYERS = {
    "hardened/prim": "prim",
    "hardened/core": "core",
    "hardened/bounds": "bounds",
    "hardened/shim": "shim",
    "hardened": "hardened",
    "policies": "policies",
}

# What each layer may include: prim <- core <- hardened <- policies <- shim.
# policies reaches core through hardened alone.
MAY_INCLUDE = {
    "prim": {"prim"},
    "core": {"prim", "core"},
    "hardened": {"prim", "core", "hardened"},
    "policies": {"prim", "hardened", "policies"},
    "shim": {"prim", "core", "hardened", "policies", "shim"},
    # A library of its own, which knows the public interface only.
    "bounds": {"bounds"},
}

PUBLIC_INTERFACE = "hardened/hardened.h"

# Header-only, and free of the C++ runtime.
ABSL_ALLOWED = {
    "absl/base/attributes.h",
    "absl/base/config.h",
    "absl/base/const_init.h",
    "absl/base/macros.h",
    "absl/base/optimization.h",
    "absl/base/prefetch.h",
    "absl/base/thread_annotations.h",
    "absl/numeric/bits.h",
}

# Headers whose use allocates, throws, locks through libstdc++ or needs stdio,
# locale or RTTI.
FORBIDDEN = set(
    """
    any barrier bitset charconv chrono codecvt complex condition_variable deque
    exception execution experimental/filesystem filesystem format forward_list
    fstream functional future generator iomanip ios iosfwd iostream istream latch
    list locale map memory memory_resource mutex ostream print queue random regex
    scoped_allocator semaphore set shared_mutex spanstream sstream stack
    stacktrace stdexcept stop_token streambuf string strstream syncstream
    system_error thread typeindex typeinfo unordered_map unordered_set valarray
    vector
    clocale cstdio cwchar execinfo.h locale.h malloc.h printf.h stdio.h
    stdio_ext.h syslog.h wchar.h
    """.split()
)

# glibc's statistics calls are declared there; none of them is used before main().
EXCEPTIONS = {"hardened/shim/statistics.cc": {"malloc.h", "stdio.h"}}

SUFFIXES = {".h", ".hh", ".hpp", ".inc", ".c", ".cc", ".cpp", ".cxx"}

# The policy header of the level being built; its value comes from Bazel.
SHIM_MACRO_INCLUDE = "HARDENED_POLICY_HEADER"

_TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?\*/)
      | R"(?P<delim>[^()\\\s]{0,16})\(.*?\)(?P=delim)"
      | "(?:\\.|[^"\\\n])*"
      | '(?:\\.|[^'\\\n])*'""",
    re.DOTALL | re.VERBOSE,
)
_DIRECTIVE = re.compile(r"^\s*(?:\#|%:)\s*(\w+)\s*(.*?)\s*$")
_CONDITIONALS = {"if", "ifdef", "ifndef", "elif", "elifdef", "elifndef", "else", "endif"}


def layer_of(path):
    """The layer of a path from the root (file or include), or None."""
    parts = path.split("/")[:-1]
    while parts:
        layer = LAYERS.get("/".join(parts))
        if layer:
            # A folder below hardened/ that is not named above has no layer.
            if layer == "hardened" and len(path.split("/")) > 2:
                return None
            return layer
        parts.pop()
    return None


def without_comments(text):
    """The text with comments blanked; the number of lines stays the same."""

    def blank(match):
        token = match.group(0)
        if match.group("comment") or token.startswith('R"'):
            return " " + "\n" * token.count("\n")
        return token

    # A spliced line counts where it starts; the blank lines after it keep count.
    text = re.sub(r"((?:[^\n]*\\\n)+)([^\n]*)", splice, text)
    return _TOKEN.sub(blank, text)


def splice(match):
    return match.group(1).replace("\\\n", "") + match.group(2) + "\n" * match.group(1).count("\n")


def directives(text):
    """[(line number, name, rest)] of the preprocessor's lines."""
    found = []
    for number, line in enumerate(without_comments(text).split("\n"), 1):
        match = _DIRECTIVE.match(line)
        if match:
            found.append((number, match.group(1), match.group(2)))
    return found


def guard_of(lines):
    """Indexes of an include guard's #ifndef and #endif, or an empty set."""
    if len(lines) < 3:
        return set()
    first, second, last = lines[0], lines[1], lines[-1]
    if first[1] == "ifndef" and second[1:] == ("define", first[2]) and last[1] == "endif":
        return {0, len(lines) - 1}
    return set()


def cplusplus_blocks(lines):
    """Indexes of the directives of the #ifdef __cplusplus blocks."""
    found, stack = set(), []
    for i, (_, name, rest) in enumerate(lines):
        if name in ("if", "ifdef", "ifndef"):
            condition = re.sub(r"[()\s]", " ", rest).split()
            stack.append(condition in (["__cplusplus"], ["defined", "__cplusplus"]))
        if name in _CONDITIONALS and stack and stack[-1]:
            found.add(i)
        if name == "endif" and stack:
            stack.pop()
    return found


def check_include(layer, rest, source):
    """The reason why this layer may not have this include, or None."""
    match = re.match(r'([<"])([^>"]+)[>"]', rest)
    if not match:
        if layer == "shim" and rest == SHIM_MACRO_INCLUDE:
            return None
        return "an include must name its file: " + rest
    kind, path = match.groups()
    if ".." in path.split("/"):
        return "include from the root of the workspace: " + path
    if path.startswith("absl/"):
        if path in ABSL_ALLOWED:
            return None
        return "this part of Abseil is not allowed inside the allocator: " + path
    if path.startswith(("hardened/", "policies/")):
        other = layer_of(path)
        if other is None:
            return "this include has no layer: " + path
        if other not in MAY_INCLUDE[layer] and (layer, path) != ("bounds", PUBLIC_INTERFACE):
            return "%s may not include %s: %s" % (layer, other, path)
        return None
    if path in FORBIDDEN and path not in EXCEPTIONS.get(source, ()):
        return "not allowed inside the allocator: <%s>" % path
    if kind == '"':
        return "neither the allocator's nor Abseil's (write it from the root): " + path
    if path.startswith(("gtest/", "gmock/", "benchmark/", "boost/")):
        return "not allowed inside the allocator: <%s>" % path
    return None


def check_file(root, file):
    """[(line number, reason)] for one source file."""
    path = file.relative_to(root).as_posix()
    layer = layer_of(path)
    if layer is None:
        return [(1, "this folder has no layer (see LAYERS in check_layers.py)")]
    lines = directives(file.read_text(encoding="utf-8", errors="replace"))
    found = []
    allowed = guard_of(lines)
    if path == PUBLIC_INTERFACE:
        allowed |= cplusplus_blocks(lines)
    for i, (number, name, rest) in enumerate(lines):
        if name in ("include", "include_next", "import"):
            reason = check_include(layer, rest, path)
            if reason:
                found.append((number, reason))
        elif name in _CONDITIONALS and layer != "prim" and i not in allowed:
            found.append((number, "#%s outside prim/: use an empty type or if constexpr" % name))
    return found


def sources(root):
    for top in ("hardened", "policies"):
        for file in sorted((root / top).rglob("*")):
            if file.suffix in SUFFIXES and file.is_file():
                yield file


def main(argv):
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].split("\n")[0])
    parser.add_argument("--version", action=ShowVersion)
    parser.add_argument("root", nargs="?", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parents[2])
    root = parser.parse_args(argv[1:]).root
    files = list(sources(root))
    if not files:
        print("%s: no sources found below hardened/ and policies/" % root, file=sys.stderr)
        return 1
    bad = 0
    for file in files:
        for number, reason in check_file(root, file):
            print("%s:%d: %s" % (file.relative_to(root).as_posix(), number, reason))
            bad += 1
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
