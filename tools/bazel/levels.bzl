"""The hardening levels that are built, weakest first.

Each has policies/<level>.h with hardened::policies::<Level>. tools/run reads
the list below, so it stays on one line.
"""

LEVELS = ["light", "standard", "strict", "paranoid"]

DEFAULT_LEVEL = "standard"
