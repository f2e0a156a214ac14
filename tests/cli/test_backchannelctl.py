#!/usr/bin/env python3
"""The command line of backchannelctl: what it prints, and that backchanneld takes what it printed."""

import hashlib
import socket
import subprocess
import sys
import tempfile
import threading
import tomllib
import unittest
from pathlib import Path

CTL, DAEMON = sys.argv[1:3]
NAME_MAX = 64


def run(*args, stdout=subprocess.PIPE):
    return subprocess.run([CTL, *args], stdout=stdout, stderr=subprocess.PIPE, check=False)


class KeyNew(unittest.TestCase):
    def made(self, name):
        done = run("key", "new", name)
        self.assertEqual(done.returncode, 0, done.stderr)
        key, _, section = done.stdout.decode().partition("\n\n")
        return key, section

    def test_section_belongs_to_key_and_name(self):
        for name in ("frontdesk", 'a "b" \\ c', "Zürich ☎ 🙂", "x" * NAME_MAX):
            key, section = self.made(name)
            self.assertEqual(tomllib.loads(section)["client_key"],
                             [{"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest()}])

    def test_keys_are_long_and_differ(self):
        keys = {self.made("x")[0] for _ in range(8)}
        self.assertEqual(len(keys), 8)
        for key in keys:
            self.assertRegex(key, r"^bck_[A-Za-z0-9_-]{43}$")

    def test_gateway_takes_the_section_and_hides_nothing_it_needs(self):
        _, section = self.made('a "b" \\ c')
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "backchannel.toml"
            path.write_text('[[listen]]\n[[upstream]]\nkey_header = "none"\n' + section, encoding="utf-8")
            done = subprocess.run([DAEMON, "--config", path, "--check"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_key_is_not_on_stderr(self):
        done = run("key", "new", "x")
        self.assertNotIn(b"bck_", done.stderr)

    def test_impossible_names(self):
        for name in (b"", b"x" * (NAME_MAX + 1), b"a\nb", b"a\x7f", b"\xff"):
            done = run("key", "new", name)
            self.assertEqual((done.returncode, done.stdout), (2, b""), name)
            self.assertIn(b"name", done.stderr)

    def test_lost_output_is_a_failure(self):
        with open("/dev/full", "wb") as full:
            self.assertEqual(run("key", "new", "x", stdout=full).returncode, 1)


class CommandLine(unittest.TestCase):
    def test_version_and_help(self):
        self.assertRegex(run("--version").stdout, rb"^backchannelctl \d+\.\d+\.\d+\n$")
        done = run("--help")
        self.assertEqual(done.returncode, 0)
        self.assertIn(b"usage: backchannelctl key new NAME", done.stdout)

    def test_misuse(self):
        for args in ((), ("key",), ("key", "new"), ("key", "new", "a", "b"), ("key", "old", "a"), ("--no-such",)):
            done = run(*args)
            self.assertEqual((done.returncode, done.stdout), (2, b""), args)
            self.assertIn(b"usage: ", done.stderr)

    def test_no_answer_is_a_failure(self):
        """A gateway that ends takes the question and closes."""
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
            path = str(Path(folder, "control.sock"))
            listener.bind(path)
            listener.listen()

            def hang_up():
                peer, _ = listener.accept()
                with peer:
                    peer.recv(4096)

            thread = threading.Thread(target=hang_up)
            thread.start()
            done = run("--socket", path, "sessions")
            thread.join()
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertIn(b"broke the connection off", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
