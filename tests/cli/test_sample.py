#!/usr/bin/env python3
"""The sample is installed once; from then on the file is the operator's.

test_sample.py INSTALL-SAMPLE SAMPLE
"""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

INSTALL, SAMPLE = (Path(path) for path in sys.argv[1:3])


class Sample(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.file = self.folder / "etc" / "backchannel" / "backchannel.toml"

    def install(self, file, destdir=None):
        environment = {name: value for name, value in os.environ.items() if name != "DESTDIR"}
        if destdir is not None:
            environment["DESTDIR"] = str(destdir)
        subprocess.run([INSTALL, SAMPLE, file], check=True, stdout=subprocess.DEVNULL, env=environment)

    def test_first_time(self):
        self.install(self.file)
        self.assertEqual(self.file.read_bytes(), SAMPLE.read_bytes())
        self.assertEqual(self.file.stat().st_mode & 0o777, 0o644)

    def test_below_destdir(self):
        self.install("/etc/backchannel/backchannel.toml", self.folder)
        self.assertEqual(self.file.read_bytes(), SAMPLE.read_bytes())

    def test_upgrade(self):
        self.install(self.file)
        self.file.write_text("# mine\n", encoding="ascii")
        self.file.chmod(0o600)
        self.install(self.file)
        self.assertEqual(self.file.read_text(encoding="ascii"), "# mine\n")
        self.assertEqual(self.file.stat().st_mode & 0o777, 0o600)

    def test_link_to_nowhere(self):
        """A file that is elsewhere, perhaps not mounted yet."""
        self.file.parent.mkdir(parents=True)
        self.file.symlink_to(self.folder / "elsewhere")
        self.install(self.file)
        self.assertTrue(self.file.is_symlink())
        self.assertFalse((self.folder / "elsewhere").exists())


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
