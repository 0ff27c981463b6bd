#!/usr/bin/env python3
"""Counts test cases over Bazel runs and prints the closing line of tools/test.

usage: count_tests.py NAME:STATUS:EVENTS...

One argument per run: its name, Bazel's exit status and the file of
--build_event_json_file. The events say which test.xml files belong to the run;
the folder may hold older ones. A target that was not built, a test without a
test.xml and a run that failed for no reason found here count as one failed each.
A script that is no Bazel run names the test.xml that it wrote, ending in .xml.

Exits 1 when anything failed.
"""

import argparse
import collections
import json
import os
import pathlib
import sys
import urllib.parse
import xml.etree.ElementTree as ET

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from hardened_version import ShowVersion

# Bazel's exit statuses. Any other means that something was not built.
SUCCESS = 0
TESTS_FAILED = 3
NO_TESTS_FOUND = 4  # The patterns hold no test with the wanted tag.

Outcome = collections.namedtuple("Outcome", "kind label case detail")


def read_events(path):
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                try:
                    yield json.loads(line)
                except ValueError:
                    pass  # A killed Bazel leaves half a line.
    except OSError:
        pass


def case_outcome(label, case):
    name = ("%s.%s" % (case.get("classname", ""), case.get("name", ""))).strip(".")
    for tag in ("failure", "error"):
        if case.find(tag) is not None:
            return Outcome("failed", label, name, "")
    skipped = case.find("skipped")
    if skipped is not None or case.get("status") == "notrun" or case.get("result") == "skipped":
        message = skipped.get("message", "") if skipped is not None else "disabled"
        # GoogleTest's message is file:line, then the reason.
        return Outcome("skipped", label, name, " ".join(message.split("\n")[1:] or [message]).strip())
    return Outcome("passed", label, name, "")


def xml_outcomes(label, path):
    """The outcomes of the cases in one test.xml."""
    try:
        cases = list(ET.parse(path).getroot().iter("testcase"))
    except (OSError, ET.ParseError) as error:
        return [Outcome("failed", label, "", "unreadable test.xml: %s" % error)]
    return [case_outcome(label, case) for case in cases]


def result_outcomes(label, result):
    """The outcomes of one testResult event."""
    xml = [o for o in result.get("testActionOutput", []) if o.get("name") == "test.xml"]
    outcomes = []
    for output in xml:
        path = urllib.parse.unquote(urllib.parse.urlparse(output.get("uri", "")).path)
        outcomes += xml_outcomes(label, path)
    status = result.get("status", "NO_STATUS")
    if not xml:
        outcomes.append(Outcome("failed", label, "", "no test.xml (%s)" % status))
    elif status not in ("PASSED", "FLAKY") and not any(o.kind == "failed" for o in outcomes):
        outcomes.append(Outcome("failed", label, "", status))
    return outcomes


def script_outcomes(status, path):
    """The outcomes of a script that wrote one test.xml."""
    outcomes = xml_outcomes("", path)
    if (status != SUCCESS or not outcomes) and not any(o.kind == "failed" for o in outcomes):
        outcomes.append(Outcome("failed", "", "", "exit status %d, %d cases" % (status, len(outcomes))))
    return outcomes


def run_outcomes(status, events):
    """The outcomes of one Bazel run."""
    results = {}  # (label, run, shard) -> (attempt, result): the last attempt counts.
    tests, broken = set(), {}
    for event in events:
        ids = event.get("id", {})
        if "testResult" in ids:
            key = ids["testResult"]
            where = (key["label"], key.get("run", 1), key.get("shard", 1))
            attempt = key.get("attempt", 1)
            if attempt >= results.get(where, (0, None))[0]:
                results[where] = (attempt, event.get("testResult", {}))
        elif "targetCompleted" in ids:
            label = ids["targetCompleted"]["label"]
            if not event.get("completed", {}).get("success"):
                broken[label] = "not built"
        elif "targetConfigured" in ids:
            label = ids["targetConfigured"]["label"]
            if event.get("configured", {}).get("testSize"):
                tests.add(label)
            elif event.get("aborted", {}).get("reason", "SKIPPED") != "SKIPPED":
                broken[label] = "not analyzed"
    outcomes = []
    for (label, _, _), (_, result) in sorted(results.items()):
        outcomes += result_outcomes(label, result)
    ran = {label for label, _, _ in results}
    outcomes += [Outcome("failed", label, "", broken[label]) for label in sorted(broken) if label not in ran]
    explained = any(o.kind == "failed" for o in outcomes) if status == TESTS_FAILED else broken
    if status not in (SUCCESS, NO_TESTS_FOUND) and not explained:
        outcomes.append(Outcome("failed", "", "", "exit status %d" % status))
    return outcomes


def main(argv):
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].split("\n")[0])
    parser.add_argument("--version", action=ShowVersion)
    parser.add_argument("runs", nargs="*", metavar="NAME:STATUS:EVENTS")
    total = collections.Counter()
    for argument in parser.parse_args(argv[1:]).runs:
        name, status, path = argument.split(":", 2)
        if path.endswith(".xml"):
            outcomes = script_outcomes(int(status), path)
        else:
            outcomes = run_outcomes(int(status), read_events(path))
        for outcome in outcomes:
            total[outcome.kind] += 1
            if outcome.kind != "passed":
                words = (outcome.kind, "(%s)" % name, outcome.label, outcome.case, outcome.detail)
                print("  ".join(word for word in words if word))
    if not total:
        print("no test was run")
    line = "%d passed, %d failed" % (total["passed"], total["failed"])
    if total["skipped"]:
        line += ", %d skipped" % total["skipped"]
    print(line, flush=True)
    return 1 if total["failed"] or not total else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv))
    except BrokenPipeError:
        os._exit(1)
