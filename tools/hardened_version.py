"""hardened_version: --version of the tools that are Python."""

import argparse
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def version():
    """The version, as hardened/hardened.h has it."""
    text = (ROOT / "hardened" / "hardened.h").read_text(encoding="utf-8")
    return re.search(r'^#define HARDENED_VERSION "(.*)"$', text, re.MULTILINE)[1]


class ShowVersion(argparse.Action):
    """Prints the program and the version, and exits with 0."""

    def __init__(self, option_strings, dest):
        super().__init__(option_strings, dest, nargs=0, help="print the version")

    def __call__(self, parser, *_):
        program = pathlib.Path(sys.argv[0]).resolve()
        inside = program.is_relative_to(ROOT)
        print(f"{program.relative_to(ROOT) if inside else program.name} (hardened) {version()}")
        parser.exit(0)
