#!/usr/bin/env python3
"""tools/bench runs every pattern, compares equal work only, and writes what it measured."""

import importlib.machinery
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
import xml.dom.minidom

BENCH = "tools/bench"
BINARIES = pathlib.Path("tools/benchmarks")
STUB = BINARIES / "libstub_malloc.so"
PROBE = pathlib.Path("tools/entropy_probe/entropy_probe")
LIGHT = pathlib.Path("hardened/shim/libhardened_light.so")

sys.dont_write_bytecode = True
loader = importlib.machinery.SourceFileLoader("bench", BENCH)
bench = importlib.util.module_from_spec(importlib.util.spec_from_loader("bench", loader))
sys.modules["bench"] = bench
loader.exec_module(bench)
import programs  # tools/bench made it known
import randomness
import report
import tables


def run_bench(*options, binaries=BINARIES):
    return subprocess.run([sys.executable, BENCH, "--binaries=%s" % binaries, "--levels=", "--peers=", *options],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=1000)


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
            if pattern.startswith(("footprint/", "fragmentation/", "burst/", "heap/100MB")):
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


class RandomnessTest(FolderTest):
    def results(self, bits, seconds):
        """Of light: placement -> its bits and its CPU time."""
        entropy = randomness.load_entropy()
        columns = randomness.columns(["light"], "in order$|" + "|".join(bits))

        def figure(column):
            return entropy.Entropy(100, 50, bits.get(column.placement, 0.0), 0.1, False, 0.01, 0.02)

        times = {"glibc": 10.0, **{column.name: seconds.get(column.placement, 10.0) for column in columns}}
        runs = {heap: {name: [{**run, "walk_ns": time} for run in fake(time)] for name, time in times.items()}
                for heap in (randomness.CACHE, randomness.LARGE, randomness.PROGRAM)}
        moments = [moment for of_pattern in randomness.MOMENTS.values() for moment in of_pattern]
        return randomness.Results(columns, {column: {moment: figure(column) for moment in moments}
                                            for column in columns}, runs, randomness.Sampling(2000, 1))

    def test_bits_and_cost_of_the_real_library(self):
        for file in (*BINARIES.iterdir(), PROBE):
            if file.is_file():
                shutil.copy(file, self.folder)
        figures = self.folder / "figures.json"
        done = run_bench("--randomness", "--quick", "--rounds=1", "--only=uniform", "--json=%s" % figures,
                         "--peer=light=%s" % LIGHT, binaries=self.folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("100,000 allocations of churn", done.stdout)
        in_order, uniform = json.loads(figures.read_text())["randomness"]
        self.assertEqual((in_order["placement"], uniform["placement"]), ("in order", "uniform"))
        for moment in ("p1-p0", "p99-p98"):
            # Nothing, and of 60 processes perhaps one in which a guarded sample stands in between.
            self.assertLess(in_order["entropy"][moment]["bits"], 0.5)
            self.assertGreater(uniform["entropy"][moment]["bits"], 7)
        for heap in ("heap/cache", "heap/10MB", "python3 json"):
            self.assertEqual(in_order["heaps"][heap]["ratio"], 1)
            self.assertGreater(uniform["heaps"][heap]["ratio"], 0)

    def test_settings_that_the_library_does_not_know_are_refused(self):
        done = subprocess.run([PROBE, "library"], capture_output=True, text=True,
                              env={"LD_PRELOAD": str(LIGHT.resolve()), "HARDENED_OPTIONS": "placement=1"})
        self.assertNotEqual(done.stderr, "")
        with self.assertRaises(bench.BenchError):
            bench.check_settings(PROBE.resolve(), bench.Allocator(
                "light", str(LIGHT.resolve()), (("HARDENED_OPTIONS", "placement=1"),)))

    def test_the_cheapest_with_enough_bits(self):
        results = self.results({"window 4 KiB": 6.6, "8 lanes": 3.6, "64 lanes": 9.5, "uniform": 10.5},
                               {"window 4 KiB": 19.0, "8 lanes": 22.0, "64 lanes": 30.0, "uniform": 25.0})
        said = randomness.findings(results)
        self.assertIn("The cheapest placement of light with 9 bits at every moment is uniform (2.50).", said)
        self.assertIn("Dearer than a placement of light with more bits: 8 lanes; 64 lanes.", said)
        self.assertNotIn("with more bits: window", said)

    def test_only_the_section_is_replaced(self):
        file = self.folder / "PERFORMANCE.md"
        results = self.results({"uniform": 10.5}, {"uniform": 25.0})
        file.write_text("before\n")
        randomness.write(file, results, {"cpus": 2})
        file.write_text(file.read_text().replace("cpus 2", "old figures") + "after\n")
        randomness.write(file, results, {"cpus": 2})
        text = file.read_text()
        self.assertTrue(text.startswith("before\n") and text.endswith("after\n"))
        self.assertNotIn("old figures", text)
        self.assertIn("| uniform | 10.50±0.10 |", text)
        self.assertIn("(docs/%s)" % randomness.PICTURE, text)
        chart = self.assert_svg(self.folder / "docs" / randomness.PICTURE)
        points = [element.firstChild.data for element in chart.getElementsByTagName("title")]
        self.assertIn("light, heap/100MB, uniform: 10.5 bits, 2.50", points)


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
        end = time.monotonic() + 60
        while alive(mark) and time.monotonic() < end:
            time.sleep(0.01)
        self.assertEqual(alive(mark), [])


if __name__ == "__main__":
    unittest.main()
