#!/usr/bin/env python3
"""tools/bench runs every pattern, compares equal work only, and writes what it measured."""

import importlib.machinery
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest
import xml.dom.minidom

BENCH = "tools/bench"
BINARIES = pathlib.Path("tools/benchmarks")
STUB = BINARIES / "libstub_malloc.so"

sys.dont_write_bytecode = True
loader = importlib.machinery.SourceFileLoader("bench", BENCH)
bench = importlib.util.module_from_spec(importlib.util.spec_from_loader("bench", loader))
sys.modules["bench"] = bench
loader.exec_module(bench)
import programs  # tools/bench made it known
import report
import tables


def run_bench(*options):
    return subprocess.run([sys.executable, BENCH, "--binaries=%s" % BINARIES, "--levels=", "--peers=", *options],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=240)


def alive(text):
    """Processes whose command line holds `text`."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if text.encode() in path.read_bytes():
                found.append(path)
        except OSError:
            pass
    return found


class FolderTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def assert_svg(self, path):
        document = xml.dom.minidom.parse(str(path))
        self.assertEqual(document.documentElement.tagName, "svg")
        return document


class PatternTest(unittest.TestCase):
    def test_every_pattern_does_the_same_work_under_the_stub(self):
        listed = subprocess.run([BINARIES / "micro", "--list"], stdout=subprocess.PIPE, text=True, check=True)
        patterns = listed.stdout.split()
        self.assertGreater(len(patterns), 50)
        for pattern in patterns:
            # Large, or asleep for a second each.
            if pattern.startswith(("footprint/", "fragmentation/", "burst/")):
                continue
            with self.subTest(pattern):
                plain = bench.run_driver(BINARIES / "micro", pattern, bench.Allocator("glibc"), 1)
                floor = bench.run_driver(BINARIES / "micro", pattern, bench.Allocator("floor", str(STUB)), 1)
                bench.check_same_work(pattern, {"glibc": [plain], "floor": [floor]})
                self.assertGreater(plain["ops"], 0)
                self.assertGreater(plain["cpu_ns"], 0)

    def test_unequal_work_is_refused(self):
        with self.assertRaises(bench.BenchError):
            bench.check_same_work("p", {"a": [{"ops": 1, "bytes": 2}], "b": [{"ops": 2, "bytes": 2}]})


class OutputTest(FolderTest):
    def test_table_json_and_charts_of_patterns(self):
        file = self.folder / "figures.json"
        done = run_bench("--quick", "--rounds=1", "--floor", "--only=^(pair/16|threads/ring|footprint/100000x16)$",
                         "--json=%s" % file, "--svg=%s" % self.folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("operation counts and outputs agree", done.stdout)
        figures = json.loads(file.read_text())
        self.assertEqual(set(figures["patterns"]), {"control", "pair/16", "threads/ring", "footprint/100000x16"})
        self.assertIn("allocator benchmarks", figures["means"]["floor"])
        self.assert_svg(self.folder / "performance_benchmarks.svg")

    def test_markdown(self):
        done = run_bench("--quick", "--rounds=1", "--only=^pair/16$", "--markdown")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("| pair/16 |", done.stdout)

    def test_programs_and_starts(self):
        file = self.folder / "figures.json"
        done = run_bench("--programs", "--quick", "--rounds=1", "--only=^perl$", "--peer=stub=%s" % STUB,
                         "--json=%s" % file)
        self.assertEqual(done.returncode, 0, done.stderr)
        figures = json.loads(file.read_text())
        for name in ("glibc", "stub"):
            self.assertGreater(figures["programs"]["perl"][name]["cpu_ns"]["median"], 0)
            self.assertGreater(figures["start-up"][name]["rss_kib"]["median"], 0)


def fake(cpu_ns, rss_kib=1000):
    return [{"cpu_ns": cpu_ns, "wall_ns": cpu_ns, "rss_kib": rss_kib, "maps": 20}] * 3


class ReportTest(FolderTest):
    def results(self):
        return {
            "times": {"control": {"glibc": fake(1), "light": fake(1)},
                      "pair/16": {"glibc": fake(10), "light": fake(4)},
                      "pair/64": {"glibc": fake(10), "light": fake(9)},
                      "threads/ring": {"glibc": fake(10), "light": fake(6)}},
            "programs": {"lua": {"glibc": fake(100), "light": fake(81)},
                         "a<b": {"glibc": fake(100), "light": fake(100, 2000)},
                         "git": {"glibc": fake(100), "light": []}},
            "starts": {"glibc": fake(5000), "light": fake(6000)},
            "latencies": {}, "probes": {},
        }

    def test_means(self):
        results = self.results()
        means = tables.means(results["times"], results["programs"], "light")
        self.assertAlmostEqual(means["real programs"], 0.9)
        # The two sizes of pair count once: sqrt(0.4 * 0.9) = 0.6.
        self.assertAlmostEqual(means["allocator benchmarks"], 0.6)
        self.assertEqual((means["worst single"], means["worst is"]), (1, "a<b"))

    def test_only_the_measured_part_is_replaced(self):
        file = self.folder / "PERFORMANCE.md"
        file.write_text("before\n%s\nold\n%s\nafter\n" % (report.BEGIN, report.END))
        report.write(file, self.results(), {"cpus": 2}, [("glibc", "glibc 2.36"), ("light", "this library")],
                     ["A note."])
        text = file.read_text()
        self.assertTrue(text.startswith("before\n") and text.endswith("after\n"))
        self.assertNotIn("old", text)
        self.assertIn("0.90 (<= 0.94, met)", text)
        self.assertIn("A note.", text)
        charts = list((self.folder / "docs").glob("*.svg"))
        self.assertEqual(len(charts), 4)
        for chart in charts:
            self.assert_svg(chart)
            self.assertIn("(docs/%s)" % chart.name, text)

    def test_a_file_without_markers_is_left_alone(self):
        file = self.folder / "PERFORMANCE.md"
        file.write_text("mine\n")
        with self.assertRaises(ValueError):
            report.write(file, self.results(), {}, [("glibc", ""), ("light", "")], [])
        self.assertEqual(file.read_text(), "mine\n")


class ProgramTest(FolderTest):
    def measure(self, run):
        allocators = [bench.Allocator("glibc"), bench.Allocator("stub", str(STUB.resolve()))]
        program = programs.Program("made up", ("sh",), (), run, flag="-c true")
        return bench.measure_programs(BINARIES.resolve() / "launch", [program], allocators, 2, self.folder)

    def test_same_output(self):
        results, failures = self.measure(programs.command("sh", "-c", "echo same"))
        self.assertEqual(failures, [])
        self.assertEqual([len(runs) for runs in results["made up"].values()], [2, 2])

    def test_other_output(self):
        results, failures = self.measure(programs.command("sh", "-c", "echo $LD_PRELOAD"))
        self.assertEqual(len(failures), 1)
        self.assertIn("another output", failures[0])
        self.assertEqual(results["made up"]["stub"], [])

    def test_failure_under_the_base(self):
        results, failures = self.measure(programs.command("sh", "-c", "exit 3"))
        self.assertEqual(results, {})
        self.assertIn("exit status 3", failures[0])

    def test_nothing_is_left_running(self):
        mark = "987.%d" % os.getpid()

        def run(session):
            session.serve("sh", "-c", "sleep %s & sleep %s" % (mark, mark), ready=lambda: alive(mark))
            raise programs.ProgramError("made up")

        self.measure(run)
        end = time.monotonic() + 5
        while alive(mark) and time.monotonic() < end:
            time.sleep(0.01)
        self.assertEqual(alive(mark), [])


if __name__ == "__main__":
    unittest.main()
