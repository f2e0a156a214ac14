#!/usr/bin/env python3
"""The configuration shown in the README is one that backchanneld takes."""

import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

DAEMON, README = sys.argv[1], Path(sys.argv[2]).read_text(encoding="utf-8")
ROOT = Path(sys.argv[2]).parent


class Readme(unittest.TestCase):
    def test_examples(self):
        blocks = re.findall(r"^```toml\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
        self.assertEqual(len(blocks), 2)
        with tempfile.TemporaryDirectory() as folder:
            for name in ("fullchain.pem", "privkey.pem", "openai", "shop"):
                (Path(folder) / name).write_text("x\n", encoding="ascii")
            config = Path(folder) / "backchannel.toml"
            config.write_text("".join(blocks).replace("/etc/backchannel", folder), encoding="utf-8")
            done = subprocess.run([DAEMON, "--config", config, "--check"], capture_output=True, text=True, check=False,
                                  env={**os.environ, "CREDENTIALS_DIRECTORY": folder})
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_no_example_lets_anybody_in(self):
        """What is copied as it stands must not be the digest of a key that others know."""
        for path in [Path(sys.argv[2]), *ROOT.glob("conf/*.toml"), *ROOT.glob("daemon/**/*.scd")]:
            for digest in re.findall(r"\b[0-9a-f]{64}\b", path.read_text(encoding="utf-8")):
                self.assertEqual(digest, "0" * 64, path.name)

    def test_options_it_names(self):
        table = (ROOT / "conf" / "options.def").read_text(encoding="utf-8")
        options = set(re.findall(r"^OPT\(\w+,\s*(\w+),", table, re.MULTILINE))
        for word in ("sessions_max", "fresh_for", "drain_timeout"):
            self.assertIn(f"`{word}`", README)
            self.assertIn(word, options)

    def test_metrics_it_names(self):
        table = (ROOT / "daemon" / "base" / "metric.def").read_text(encoding="utf-8")
        for name in re.findall(r"`(backchannel_\w+)`", README):
            self.assertIn(f'"{name}"', table)
        for ending in re.findall(r"`…(_\w+)`", README):
            self.assertRegex(table, rf'"backchannel_spec{ending}"')


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
