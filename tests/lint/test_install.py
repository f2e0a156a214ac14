#!/usr/bin/env python3
"""What .ci/install would do on other machines, with the programs it calls replaced by ones that only write down."""

import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

INSTALL = Path(__file__).resolve().parents[2] / ".ci" / "install"
PACKAGES = "# a comment\n\nhas-it\nlacks-it\nsh:shell\nno-such-command:tool\n"
DPKG = 'case "$4" in has-*) echo installed ;; *) echo "no packages found" >&2; exit 1 ;; esac'
TELL = 'echo "$(basename "$0") $*" >>"$LOG"'


class Install(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "bin").mkdir()
        for name in ("sh", "dirname", "basename", "grep", "env"):
            (self.folder / "bin" / name).symlink_to(shutil.which(name))
        self.log = self.folder / "log"
        self.log.touch()
        shutil.copy(INSTALL, self.folder)
        self.packages(PACKAGES)
        self.program("dpkg-query", DPKG)
        self.program("apt-get", f'{TELL}; echo "frontend $DEBIAN_FRONTEND" >>"$LOG"')
        self.program("sudo", f'{TELL}; unset DEBIAN_FRONTEND; "$@"')
        self.program("id", "echo 1000")

    def packages(self, text):
        (self.folder / "packages.txt").write_text(text, encoding="utf-8")

    def program(self, name, text):
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        path.chmod(0o755)

    def run_it(self, *lists):
        done = subprocess.run([self.folder / "install", *lists], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env={"PATH": str(self.folder / "bin"), "LOG": str(self.log)}, check=False)
        return done.returncode, done.stdout, self.log.read_text(encoding="utf-8").splitlines()

    def test_installs_what_is_missing_with_sudo(self):
        status, output, log = self.run_it()
        self.assertEqual((status, output), (0, "installing: lacks-it tool\n"))
        self.assertEqual(log, ["sudo env DEBIAN_FRONTEND=noninteractive apt-get update -qq",
                               "apt-get update -qq", "frontend noninteractive",
                               "sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "
                               "--no-install-recommends lacks-it tool",
                               "apt-get install -y -qq --no-install-recommends lacks-it tool",
                               "frontend noninteractive"])

    def test_root_needs_no_sudo(self):
        self.program("id", "echo 0")
        (self.folder / "bin" / "sudo").unlink()
        status, _, log = self.run_it()
        self.assertEqual(status, 0)
        self.assertEqual([line for line in log if line.startswith("apt-get install")],
                         ["apt-get install -y -qq --no-install-recommends lacks-it tool"])

    def test_neither_root_nor_sudo(self):
        (self.folder / "bin" / "sudo").unlink()
        status, output, log = self.run_it()
        self.assertEqual((status, log), (1, []))
        self.assertIn("apt-get install lacks-it tool", output)

    def test_other_lists(self):
        (self.folder / "one.txt").write_text("one\nhas-it\n", encoding="utf-8")
        (self.folder / "two.txt").write_text("two\n", encoding="utf-8")
        for name in ("tee", "chmod", "rm"):  # they keep services from starting, where nothing else does
            self.program(name, "exit 0")
        status, output, log = self.run_it(self.folder / "one.txt", self.folder / "two.txt")
        self.assertEqual((status, output), (0, "installing: one two\n"))
        self.assertIn("apt-get install -y -qq --no-install-recommends one two", log)

    def test_nothing_missing(self):
        self.packages("has-it\nsh:shell\n")
        self.assertEqual(self.run_it(), (0, "", []))

    def test_failure_is_told(self):
        self.program("apt-get", "exit 100")
        self.assertEqual(self.run_it()[0], 100)

    def test_removed_package_is_missing(self):
        self.program("dpkg-query", "echo config-files")
        self.assertIn("has-it", self.run_it()[1])

    def test_list_is_sound(self):
        for path in INSTALL.parent.glob("*packages.txt"):
            lines = path.read_text(encoding="utf-8").splitlines()
            entries = [line for line in lines if line and not line.startswith("#")]
            self.assertEqual(len(entries), len(set(entries)), path)
            for entry in entries:
                self.assertRegex(entry, r"^([a-z0-9][a-z0-9.+-]*:)?[a-z0-9][a-z0-9.+-]+$")


if __name__ == "__main__":
    os.umask(0o022)
    unittest.main()
