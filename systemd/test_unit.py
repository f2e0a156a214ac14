#!/usr/bin/env python3
"""The unit file as generated: systemd understands every line of it, and its sandbox is as tight as promised."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ANALYZE = sys.argv[1]
UNIT = Path(sys.argv[2]).read_text(encoding="utf-8")
DAEMON = Path(sys.argv[3]).resolve()
EXPOSURE_MAX = 15  # tenths


def analyze(command, text):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "backchanneld.service"
        path.write_text(text, encoding="utf-8")
        return subprocess.run([ANALYZE, *command, str(path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, check=False)


def verify(text):
    lines = []
    for line in text.splitlines():
        if line.startswith("ExecStart="):
            line = f"ExecStart={DAEMON}"  # the installed one is not there yet
        lines.append(line)
    return analyze(["verify", "--man=no"], "\n".join(lines) + "\n").stdout


def exposure(text):
    return analyze(["security", "--offline=true", f"--threshold={EXPOSURE_MAX}"], text)


class UnitFile(unittest.TestCase):
    def test_is_understood(self):
        self.assertEqual(verify(UNIT), "")

    def test_mistake_would_be_noticed(self):
        self.assertIn("ProtectEverything", verify(UNIT.replace("ProtectProc=", "ProtectEverything=")))

    def test_sandbox_is_tight(self):
        done = exposure(UNIT)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_looser_sandbox_would_be_noticed(self):
        done = exposure(UNIT.replace("ProtectSystem=strict\n", "").replace("SystemCallFilter=", "#"))
        self.assertNotEqual(done.returncode, 0, done.stdout)

    def test_nothing_is_left_to_fill_in(self):
        self.assertNotIn("@sbindir@", UNIT)
        self.assertNotIn("@sysconfdir@", UNIT)

    def test_contract_with_the_daemon(self):
        for line in ("Type=notify", "DynamicUser=yes", "StateDirectory=backchannel", "RestartPreventExitStatus=2"):
            self.assertIn(f"\n{line}\n", UNIT)
        self.assertRegex(UNIT, r"\nExecReload=.*\bkill -HUP \$\$MAINPID\b")
        self.assertRegex(UNIT, r"\nWatchdogSec=\d+s\n")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
