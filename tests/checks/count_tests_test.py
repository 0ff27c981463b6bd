#!/usr/bin/env python3
"""count_tests.py counts what ran, and what should have run and did not."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

COUNT = "tools/checks/count_tests.py"
PASS = '<testcase name="A" status="run" classname="S"/>'
FAIL = '<testcase name="B" status="run" classname="S"><failure message="m"/></testcase>'
SKIP = '<testcase name="C" classname="S" result="skipped"><skipped message="f:1&#x0A;why"/></testcase>'


class CountTestsTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.events = []

    def result(self, label, status, cases=None, attempt=1, shard=1):
        outputs = []
        if cases is not None:
            xml = self.folder / ("test %d.xml" % len(self.events))
            xml.write_text("<testsuites><testsuite>%s</testsuite></testsuites>" % cases, encoding="utf-8")
            outputs = [{"name": "test.xml", "uri": xml.as_uri()}]
        self.events.append(
            {
                "id": {"testResult": {"label": label, "run": 1, "shard": shard, "attempt": attempt}},
                "testResult": {"status": status, "testActionOutput": outputs},
            }
        )

    def completed(self, label, success):
        self.events.append(
            {"id": {"targetCompleted": {"label": label}}, "completed": {"success": True} if success else {}}
        )

    def count(self, status=0):
        file = self.folder / "events.json"
        file.write_text("".join(json.dumps(e) + "\n" for e in self.events), encoding="utf-8")
        return self.count_file(status, file)

    def count_script(self, status, cases):
        file = self.folder / "outside.xml"
        if cases is not None:
            file.write_text("<testsuites><testsuite>%s</testsuite></testsuites>" % cases, encoding="utf-8")
        return self.count_file(status, file)

    def count_file(self, status, file):
        done = subprocess.run(
            [sys.executable, COUNT, "gcc:%d:%s" % (status, file)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout.splitlines()[-1]

    def test_cases_are_counted_over_targets_and_shards(self):
        self.result("//a:t", "PASSED", PASS + SKIP)
        self.result("//b:t", "PASSED", PASS, shard=1)
        self.result("//b:t", "PASSED", PASS, shard=2)
        self.assertEqual(self.count(), (0, "3 passed, 0 failed, 1 skipped"))

    def test_a_failed_case_fails(self):
        self.result("//a:t", "FAILED", PASS + FAIL)
        self.assertEqual(self.count(3), (1, "1 passed, 1 failed"))

    def test_the_last_attempt_counts(self):
        self.result("//a:t", "FAILED", FAIL, attempt=1)
        self.result("//a:t", "PASSED", PASS, attempt=2)
        self.assertEqual(self.count(), (0, "1 passed, 0 failed"))

    def test_a_missing_test_xml_is_one_failed(self):
        self.result("//a:t", "PASSED")
        self.assertEqual(self.count(), (1, "0 passed, 1 failed"))

    def test_a_test_that_failed_after_its_cases_is_one_failed(self):
        self.result("//a:t", "TIMEOUT", PASS)
        self.assertEqual(self.count(3), (1, "1 passed, 1 failed"))

    def test_a_target_that_was_not_built_is_one_failed(self):
        self.result("//a:t", "PASSED", PASS)
        self.completed("//a:t", True)
        self.completed("//b:t", False)
        self.completed("//b:lib", False)
        self.assertEqual(self.count(1), (1, "1 passed, 2 failed"))

    def test_a_run_that_failed_without_a_reason_is_one_failed(self):
        self.result("//a:t", "PASSED", PASS)
        self.assertEqual(self.count(1), (1, "1 passed, 1 failed"))

    def test_a_package_that_did_not_load_is_one_failed_beside_others(self):
        self.result("//a:t", "FAILED", FAIL)
        self.completed("//a:t", True)
        self.assertEqual(self.count(1), (1, "0 passed, 2 failed"))

    def test_no_test_with_the_tag_is_no_failure(self):
        self.result("//a:t", "PASSED", PASS)
        self.assertEqual(self.count(4), (0, "1 passed, 0 failed"))

    def test_a_run_without_any_test_does_not_pass(self):
        self.assertEqual(self.count(), (1, "0 passed, 0 failed"))

    def test_a_script_is_counted_by_its_xml(self):
        self.assertEqual(self.count_script(0, PASS + SKIP), (0, "1 passed, 0 failed, 1 skipped"))
        self.assertEqual(self.count_script(1, PASS + FAIL), (1, "1 passed, 1 failed"))

    def test_a_script_that_failed_or_wrote_nothing_is_one_failed(self):
        self.assertEqual(self.count_script(1, PASS), (1, "1 passed, 1 failed"))
        self.assertEqual(self.count_script(0, ""), (1, "0 passed, 1 failed"))
        self.assertEqual(self.count_script(0, "<broken"), (1, "0 passed, 1 failed"))

    def test_a_script_without_an_xml_is_one_failed(self):
        self.assertEqual(self.count_script(0, None), (1, "0 passed, 1 failed"))


if __name__ == "__main__":
    os.chdir(pathlib.Path(os.environ.get("TEST_SRCDIR", "."), os.environ.get("TEST_WORKSPACE", "")))
    unittest.main()
