"""program_checks: what tools/checks/programs runs, a module for each kind of program.

harness runs one program and ends all it started; command is the command line.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # tools/, for hardened_version

from . import browser, mail, network, preloads, python_tests, signals, stores, tools, web
from .command import install
from .harness import PATH, Run, connects, end_all_groups

GROUPS = [python_tests, tools, signals, preloads, stores, web, network, mail, browser]
PROGRAMS = [program for group in GROUPS for program in group.PROGRAMS]

__all__ = ["PATH", "PROGRAMS", "Run", "connects", "end_all_groups", "install"]
