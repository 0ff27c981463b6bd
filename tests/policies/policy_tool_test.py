#!/usr/bin/env python3
"""tools/policy says which rule gave which value, and finds what is wrong with policy files."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

TOOL = os.path.abspath("tools/policy_tool/policy_tool")
READY = pathlib.Path("policies/ready")
LEVELS = ["light", "standard", "strict", "paranoid"]
SETTINGS = """level floor disable audit quarantine quarantine_check sample run_hold run_cache
              guard_slabs placement lanes purge_delay explain_faults deepbind seed double_free invalid_free
              foreign_pointer mismatch sized_delete canary write_after_free""".split()


def run(*words):
    return subprocess.run([TOOL, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=600, check=False)


class PolicyToolTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.folder.chmod(0o755)

    def write(self, name, text):
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.parent.chmod(0o755)
        file.write_bytes(text.encode())
        file.chmod(0o644)
        return file

    def explain(self, program, *options):
        done = run("explain", program, "--directory=%s" % self.folder, "--owner=%d" % os.getuid(),
                   "--json", *options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def explain_text(self, program, *options):
        done = run("explain", program, "--directory=%s" % self.folder, "--owner=%d" % os.getuid(),
                   *options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return [line.split(maxsplit=2) for line in done.stdout.splitlines()]


class ExplainTest(PolicyToolTest):
    def test_names_file_and_line_of_every_value(self):
        first = self.write("policy", "# everyone\n* level=standard sample=1/9\n/opt/* quarantine=4M\n")
        second = self.write("policy.d/a.policy", "/opt/x level=strict\n/opt/y seed=1\n")
        found = self.explain("/opt/x")
        self.assertEqual(found["files"], [str(first), str(second)])
        policy = found["policy"]
        self.assertEqual(policy["level"], {"value": "strict", "origin": "%s:1" % second})
        self.assertEqual(policy["floor"], {"value": "strict", "origin": "%s:1 (level)" % second})
        self.assertEqual(policy["sample"], {"value": "1/9", "origin": "%s:2" % first})
        self.assertEqual(policy["quarantine"], {"value": "4M", "origin": "%s:3" % first})
        self.assertEqual(policy["guard_slabs"], {"value": "2", "origin": "level"})
        self.assertNotIn("seed", policy)
        self.assertEqual([(r["file"], r["line"], r["setting"], r["value"]) for r in found["rules"]],
                         [(str(first), 2, "level", "standard"), (str(first), 2, "sample", "1/9"),
                          (str(first), 3, "quarantine", "4M"), (str(second), 1, "level", "strict")])
        self.assertIn(["level", "strict", "%s:1" % second], self.explain_text("/opt/x"))

    def test_tells_what_the_environment_may_not_say(self):
        self.write("policy", "* level=strict\n")
        environment = "--environment=HARDENED_LEVEL=light HARDENED_OPTIONS=sample=1/5:seed=1:bad=2"
        found = self.explain("/opt/x", environment)
        self.assertEqual([(r["origin"], r["setting"], r["reason"]) for r in found["rejected"]],
                         [("environment", "level", "below the floor"),
                          ("environment", "seed", "weaker than what the policy files give")])
        self.assertEqual([(c["source"], c["column"], c["word"]) for c in found["complaints"]],
                         [("HARDENED_OPTIONS", 19, "bad=2")])
        self.assertEqual(found["policy"]["sample"], {"value": "1/5", "origin": "environment"})
        self.assertIn(["environment", "level=light:", "below the floor"],
                      self.explain_text("/opt/x", environment))

    def test_options_hold_against_the_level_variable(self):
        found = self.explain("/opt/x", "--environment=HARDENED_OPTIONS=level=strict HARDENED_LEVEL=light")
        self.assertEqual(found["policy"]["level"], {"value": "strict", "origin": "environment"})

    def test_a_malformed_level_variable_is_told(self):
        found = self.explain("/opt/x", "--environment=HARDENED_LEVEL=hard")
        self.assertEqual(found["complaints"][0]["source"], "HARDENED_LEVEL")
        self.assertEqual(found["policy"]["level"], {"value": "standard", "origin": "build"})

    def test_files_the_library_would_refuse_are_refused(self):
        self.write("policy", "* level=strict\n").chmod(0o664)
        found = self.explain("/opt/x")
        self.assertEqual(found["refused"], [{"file": str(self.folder / "policy"), "reason":
                                             "can be written by its group or by others"}])
        self.assertEqual(found["policy"]["level"]["value"], "standard")
        self.assertIn([str(self.folder / "policy"), "refused:",
                       "can be written by its group or by others"], self.explain_text("/opt/x"))

    def test_set_uid_programs_do_not_listen_to_the_environment(self):
        program = self.write("program", "x")
        self.assertFalse(self.explain(program)["secure"])
        program.chmod(0o4755)
        found = self.explain(program, "--environment=HARDENED_LEVEL=paranoid")
        self.assertTrue(found["secure"])
        self.assertEqual(found["policy"]["level"]["value"], "standard")
        self.assertEqual(found["rejected"][0]["reason"], "the program runs with raised privileges")
        self.assertTrue(self.explain("/opt/x", "--secure")["secure"])

    def test_links_are_followed_as_the_kernel_does(self):
        program = self.write("real", "x")
        (self.folder / "link").symlink_to("real")
        self.write("policy", "%s level=strict\n" % program.resolve())
        self.assertEqual(self.explain(self.folder / "link")["policy"]["level"]["value"], "strict")

    def test_names_are_looked_for_in_path(self):
        self.assertTrue(self.explain("sh")["program"].startswith("/"))
        done = run("explain", "no-such-program-anywhere")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("no such program", done.stderr)

    def test_scripts_are_pointed_out(self):
        program = self.write("script", "#!/bin/sh\n")
        self.assertIn("interpreter", self.explain(program)["note"])

    def test_floor_audit_and_disable_name_their_rule(self):
        file = self.write("policy", "* floor=strict\n* audit\n/opt/old disable\n")
        policy = self.explain("/opt/x")["policy"]
        self.assertEqual(policy["level"], {"value": "strict", "origin": "%s:1 (floor)" % file})
        self.assertEqual(policy["canary"], {"value": "report", "origin": "%s:2 (audit)" % file})
        self.assertTrue(self.explain("/opt/old")["disabled"])
        self.assertFalse(self.explain("/opt/x")["disabled"])
        self.assertIn(["policy:", "disabled;", "the program runs on libc's malloc"],
                      self.explain_text("/opt/old"))

    def test_the_build_and_the_program_count(self):
        found = self.explain("/opt/x", "--level=light", "--defaults=sample=1/7:quarantine=4M")
        self.assertEqual(found["policy"]["level"], {"value": "light", "origin": "build"})
        self.assertEqual(found["policy"]["sample"], {"value": "1/7", "origin": "program"})
        self.assertEqual(found["rejected"][0]["reason"], "without effect at this level")
        found = self.explain("/opt/x", "--fixed", "--environment=HARDENED_LEVEL=strict")
        self.assertEqual(found["policy"]["level"], {"value": "standard", "origin": "build"})

    def test_other_variables_are_a_mistake(self):
        done = run("explain", "/opt/x", "--environment=HARDENED_SEED=1")
        self.assertEqual((done.returncode, done.stdout), (2, ""))


class CheckTest(PolicyToolTest):
    def test_every_ready_policy_passes(self):
        files = sorted(READY.glob("*.policy"))
        self.assertEqual([file.stem for file in files],
                         ["build_farm", "containers", "fuzzing", "server", "workstation"])
        done = run("check", *files)
        self.assertEqual((done.returncode, done.stdout), (0, ""))
        for file in files:
            head = file.read_text().split("\n\n")[0]
            self.assertTrue(all(line.startswith("#") for line in head.splitlines()), file)
            self.assertIn("\n# For: ", head)
            self.assertIn("\n# Install", head)

    def test_ready_policies_give_what_they_say(self):
        for name, program, level, floor in (
                ("server", "/usr/sbin/nginx", "strict", "strict"),
                ("server", "/usr/bin/redis-server", "strict", "standard"),
                ("server", "/usr/bin/true", "standard", "light"),
                ("workstation", "/usr/bin/evince", "strict", "strict"),
                ("workstation", "/usr/bin/x", "standard", "standard"),
                ("build_farm", "/usr/bin/x", "light", "light"),
                ("fuzzing", "/opt/fuzz/x", "paranoid", "paranoid"),
                ("containers", "/usr/local/bin/service", "strict", "standard")):
            self.write("policy", (READY / (name + ".policy")).read_text())
            found = self.explain(program)
            self.assertEqual((found["policy"]["level"]["value"], found["policy"]["floor"]["value"]),
                             (level, floor), (name, program))
            self.assertEqual(found["rejected"], [], (name, program))

    def test_ready_policies_except_programs_with_harmless_bugs(self):
        for name, program, setting in (
                ("server", "/usr/sbin/squid", "sized_delete"),
                ("server", "/usr/bin/troff", "mismatch"),
                ("workstation", "/usr/sbin/squid", "sized_delete"),
                ("workstation", "/usr/bin/troff", "mismatch"),
                ("containers", "/usr/bin/troff", "mismatch")):
            self.write("policy", (READY / (name + ".policy")).read_text())
            found = self.explain(program)
            self.assertEqual(found["policy"][setting]["value"], "ignore", (name, program))
            self.assertEqual(found["rejected"], [], (name, program))

    def test_findings_have_file_line_and_column(self):
        good = self.write("good", "* level=strict\n")
        bad = self.write("bad", "# x\n* quarantin=4M  seed=1 seed=2\nnginx audit\n/a\n* a\x1b[2J\n")
        done = run("check", good, bad)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stdout.splitlines(), [
            "%s:2:3: error: \"quarantin=4M\": no setting has this name" % bad,
            "%s:2:24: warning: \"seed=2\": said twice; the last one counts" % bad,
            "%s:3:1: error: \"nginx\": a pattern is '*' or starts with '/', and does not end with '\\'"
            % bad,
            "%s:4:1: error: \"/a\": a pattern without a setting" % bad,
            "%s:5:4: error: \"\\x1b\": a control byte" % bad,
        ])
        found = json.loads(run("check", "--json", good, bad).stdout)
        self.assertFalse(found["good"])
        self.assertEqual([(f["file"], f["line"], f["column"], f["kind"]) for f in found["findings"]],
                         [(str(bad), 2, 3, "error"), (str(bad), 2, 24, "warning"),
                          (str(bad), 3, 1, "error"), (str(bad), 4, 1, "error"),
                          (str(bad), 5, 4, "error")])

    def test_a_warning_is_no_error(self):
        file = self.write("policy", "* seed=1 seed=2\n")
        done = run("check", file)
        self.assertEqual(done.returncode, 0)
        self.assertIn("warning", done.stdout)

    def test_what_cannot_be_read_is_an_error(self):
        for file in (self.folder, self.folder / "nowhere"):
            done = run("check", file)
            self.assertEqual((done.returncode, done.stdout), (1, "%s: error: cannot be read\n" % file))
        done = run("check", self.write("large", "#" * 65 * 1024))
        self.assertEqual(done.returncode, 1)
        self.assertIn("is too large", done.stdout)

    def test_bytes_that_are_no_text_do_not_break_json(self):
        file = self.write("policy", "")
        file.write_bytes(b"* \xff\xfe=1\n")
        self.assertFalse(json.loads(run("check", "--json", file).stdout)["good"])
        self.assertIn('"\\xff\\xfe=1"', run("check", file).stdout)


class ShowTest(PolicyToolTest):
    def test_every_level_is_shown_alike_in_text_and_json(self):
        for level in LEVELS:
            found = json.loads(run("show", level, "--json").stdout)
            self.assertEqual(found["level"], level)
            self.assertEqual(found["costs"], {})
            self.assertEqual(found["features"]["canary"], "off" if level == "light" else "on")
            self.assertEqual("quarantine" in found["settings"], level != "light")
            lines = run("show", level).stdout.splitlines()
            self.assertEqual(lines[0], "level " + level)
            words = [line.split() for line in lines]
            for name, value in {**found["features"], **found["settings"]}.items():
                self.assertIn([name] + value.split(), words)

    def test_costs_are_shown_where_there_are_figures(self):
        costs = self.write("costs.json", json.dumps(
            {"source": "a test", "levels": {"strict": {"total": 1.5, "features": {"canary": 1.25}}}}))
        text = run("show", "strict", "--costs=%s" % costs).stdout
        self.assertTrue(text.startswith("level strict, x 1.500\n"))
        self.assertRegex(text, r"\n  canary +on +x 1\.250\n")
        self.assertTrue(text.endswith("costs: a test\n"))
        self.assertNotIn("x 1", run("show", "light", "--costs=%s" % costs).stdout)
        self.assertEqual(run("show", "strict", "--costs=%s" % self.write("bad", "[")).returncode, 1)

    def test_unknown_levels_are_named(self):
        done = run("show", "hard")
        self.assertEqual(done.returncode, 2)
        self.assertIn('"hard"', done.stderr)


class SettingsTest(PolicyToolTest):
    def test_the_table_has_every_setting_once(self):
        lines = run("settings").stdout.splitlines()
        self.assertEqual([line.split("`")[1] for line in lines[2:]], SETTINGS)
        self.assertEqual({line.count("|") for line in lines}, {8})
        found = json.loads(run("settings", "--json").stdout)["settings"]
        self.assertEqual([row["name"] for row in found], SETTINGS)
        self.assertEqual([row["name"] for row in found if row["file_only"]], ["floor", "disable"])


class ReadmeTest(unittest.TestCase):
    def test_its_tables_are_the_tools(self):
        readme = pathlib.Path("README.md").read_text()
        for command, marker in (("settings", "settings"), ("show", "levels")):
            table = readme.split("<!-- %s -->\n" % marker, 1)[1].split("<!-- /%s -->" % marker, 1)[0]
            self.assertEqual(table, run(command).stdout)


class UsageTest(unittest.TestCase):
    def test_mistakes_print_the_usage_and_exit_with_2(self):
        for words in ([], ["explain"], ["explain", "a", "b"], ["check"], ["nosuch"],
                      ["show", "light", "strict"], ["settings", "x"], ["check", "--nosuch", "x"],
                      ["explain", "/x", "--level=hard"], ["--json"]):
            done = run(*words)
            self.assertEqual((done.returncode, done.stdout), (2, ""), words)
            self.assertIn("usage: tools/policy", done.stderr, words)

    def test_help_and_version_are_answers_wherever_they_stand(self):
        for words in (["--help"], ["-h"], ["explain", "--help"], ["show", "strict", "-h"]):
            done = run(*words)
            self.assertEqual((done.returncode, done.stderr), (0, ""), words)
            self.assertIn("usage: tools/policy explain FILE", done.stdout, words)
        done = run("explain", "--version")
        self.assertRegex(done.stdout, r"\Atools/policy \(hardened\) \d+\.\d+\.\d+\n\Z")
        self.assertEqual((done.returncode, done.stderr), (0, ""))


if __name__ == "__main__":
    os.chdir(pathlib.Path(os.environ.get("TEST_SRCDIR", "."), os.environ.get("TEST_WORKSPACE", "")))
    TOOL = os.path.abspath("tools/policy_tool/policy_tool")
    unittest.main()
