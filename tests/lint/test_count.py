#!/usr/bin/env python3
"""The closing line of make check tells the truth about a run in which everything happens that can: test_count.py MESON"""

import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROJECT = """project('p')
sh = find_program('sh')
"""
TAP = {
    "good": "echo 1..2; echo ok 1 a; echo ok 2 b",
    "crash": "echo 1..3; echo ok 1 a; kill -SEGV $$",
    "short": "echo 1..3; echo ok 1 a",
    "status": "echo 1..1; echo ok 1 a; exit 1",
    "case": "echo 1..2; echo not ok 1 a; echo ok 2 b; exit 1",
    "early": "exit 3",
    "nothing": "echo 1..0 \\# SKIP",
    "partly": "echo 1..2; echo ok 1 a \\# SKIP; echo ok 2 b",
    "stuck": "echo 1..2; echo ok 1 a; sleep 60",
}
PLAIN = {"fine": "true", "bad": "exit 2", "skip": "exit 77", "hang": "sleep 60"}
FAILED = ["crash: error", "short: error", "status: error", "case: 1 a", "early: error", "stuck: timeout", "bad: fail",
          "hang: timeout"]


class Count(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        shutil.copytree(ROOT / ".ci", self.folder / ".ci")

    def run_tests(self, programs, *args):
        lines = [f"test('{name}', sh, args: ['-c', '{command}'], protocol: '{protocol}', suite: 't', "
                 f"timeout: {2 if 'sleep' in command else 300})"
                 for name, (protocol, command) in programs.items()]
        (self.folder / "meson.build").write_text(PROJECT + "\n".join(lines) + "\n", encoding="utf-8")
        subprocess.run([sys.argv[1], "setup", "b"], cwd=self.folder, check=True, stdout=subprocess.DEVNULL)
        return self.count(*args)

    def count(self, *args):
        done = subprocess.run([".ci/test", "b", *args], cwd=self.folder, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
        return done.returncode, done.stdout.splitlines()

    def test_everything(self):
        programs = {name: ("tap", command.replace("\\", "\\\\")) for name, command in TAP.items()}
        programs |= {name: ("exitcode", command) for name, command in PLAIN.items()}
        status, lines = self.run_tests(programs)
        self.assertNotEqual(status, 0)
        self.assertEqual(sorted(line for line in lines if line.startswith("failed: ")),
                         sorted(f"failed: {name}" for name in FAILED))
        # Passed: good 2, crash, short, status and stuck 1 each, case 1, partly 1, fine.
        self.assertEqual(lines[-2:], ["skipped: 3", "9 passed, 8 failed"])

    def test_all_well(self):
        status, lines = self.run_tests({"good": ("tap", TAP["good"]), "fine": ("exitcode", "true")})
        self.assertEqual((status, lines[-1]), (0, "3 passed, 0 failed"))
        # A run that does not come about must not show the numbers of the one before it.
        status, lines = self.count("--no-such-option")
        self.assertNotEqual(status, 0)
        self.assertEqual(lines[-1], "0 passed, 1 failed")

    def test_nothing_was_proved(self):
        status, lines = self.run_tests({"skip": ("exitcode", "exit 77")})
        self.assertNotEqual(status, 0)
        self.assertEqual(lines[-1], "0 passed, 0 failed")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
