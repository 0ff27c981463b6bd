#!/usr/bin/env python3
"""A level that makes no sense, or that names a feature which does not exist, does not compile."""

import subprocess
import unittest

LEVEL = """
#include "hardened/heap.h"
struct Custom {
  static constexpr hardened::Features kFeatures = {%s};
};
void* Use() { return hardened::Heap<Custom>::Allocate(1, hardened::core::AllocationKind::kMalloc); }
"""

# What a level says -> what the compiler says; None: it compiles.
LEVELS = {
    '.name = "custom"': None,
    '.name = "custom", .core = {.record_shift = 2, .collect_into_magazine = false}, .exact_size = true, '
    '.canary = true, .wipe_limit = 64, .quarantine = {.bytes = 1 << 20, .least_weight = 64}': None,
    "": "IsCoherent",
    '.name = "custom", .canary = true': "IsCoherent",
    '.name = "custom", .exact_size = true, .canary = true': "IsCoherent",
    '.name = "custom", .check_neighbours = true': "IsCoherent",
    '.name = "custom", .sweep = true': "IsCoherent",
    '.name = "custom", .check_on_allocate = true': "IsCoherent",
    '.name = "custom", .check_stated_size = true': "IsCoherent",
    '.name = "custom", .quarantine = {.bytes = 1 << 20, .least_weight = 64}': "IsCoherent",
    '.name = "custom", .core = {.guard_slab_interval = 2}': "IsCoherent",
    '.name = "custom", .canarry = true': "canarry",
    '.name = "custom", .core = {.placment = {}}': "placment",
    '.name = "custom", .quarantine = {.bites = 1}': "bites",
}


class CompileFailTest(unittest.TestCase):
    def test_levels(self):
        for features, error in LEVELS.items():
            done = subprocess.run(["g++", "-std=c++20", "-fsyntax-only", "-I.", "-x", "c++", "-"],
                                  input=LEVEL % features, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, text=True, timeout=600)
            with self.subTest(features=features):
                if error is None:
                    self.assertEqual((done.returncode, done.stderr), (0, ""))
                else:
                    self.assertNotEqual(done.returncode, 0)
                    self.assertIn(error, done.stderr)


if __name__ == "__main__":
    unittest.main()
