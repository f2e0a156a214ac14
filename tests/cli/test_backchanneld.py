#!/usr/bin/env python3
"""The command line of backchanneld: what it prints and returns, and that it starts nothing it should not."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import tomllib
import unittest
import urllib.error
import urllib.request
from pathlib import Path

DAEMON = sys.argv[1]
PATIENCE = 60  # seconds; only a hang reaches it
SECRET = "sk-not-for-anybody"


def reserve():
    """A socket that keeps a port from everybody but the daemon, whose listeners set SO_REUSEPORT as well."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(("127.0.0.1", 0))
    return held


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.config = self.folder / "backchannel.toml"
        held = [reserve(), reserve()]
        for entry in held:
            self.addCleanup(entry.close)
        self.port, self.admin = (entry.getsockname()[1] for entry in held)
        (self.folder / "provider.key").write_text(SECRET + "\n", encoding="ascii")

    def write(self, more=""):
        self.config.write_text(f"""
[daemon]
workers = 1
[[listen]]
port = {self.port}
[admin]
port = {self.admin}
[auth]
mode = "open"
[[upstream]]
key = "file:provider.key"
[journal]
path = "journal.db"
{more}""", encoding="utf-8")

    def run_daemon(self, *args):
        return subprocess.run([DAEMON, *args], capture_output=True, text=True, check=False, timeout=PATIENCE)

    def with_config(self, *args):
        return self.run_daemon("--config", str(self.config), *args)

    def assert_nothing_was_started(self):
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", self.port)).close()
        self.assertEqual([entry.name for entry in self.folder.iterdir() if entry.name.startswith("journal")], [])


class CommandLine(Case):
    def test_version(self):
        done = self.run_daemon("--version")
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stdout, r"^backchanneld \d+\.\d+\.\d+\n$")

    def test_help(self):
        for option in ("--help", "-h"):
            done = self.run_daemon(option)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            for word in ("--config", "--check", "--print-config", "--version"):
                self.assertIn(word, done.stdout)

    def test_misuse(self):
        self.write()
        for args in (("--no-such-option",), ("--config",), ("unexpected",), ("--check", "unexpected")):
            done = self.with_config(*args)
            self.assertEqual((done.returncode, done.stdout), (2, ""), args)
            self.assertIn("usage: backchanneld", done.stderr)
        self.assert_nothing_was_started()


class Check(Case):
    def test_good(self):
        self.write()
        done = self.with_config("--check")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("ok", done.stdout)
        self.assert_nothing_was_started()

    def test_findings_name_file_line_and_column(self):
        self.write('[speculation]\nmode = "strickt"\n[session]\nidle_timeout = 5\n')
        for args in (("--check",), ("--print-config",), ()):  # also without any: it must not start with these
            done = self.with_config(*args)
            self.assertEqual((done.returncode, done.stdout), (2, ""), args)
            lines = done.stderr.splitlines()
            self.assertEqual(len(lines), 2, done.stderr)
            text = self.config.read_text(encoding="utf-8").splitlines()
            for line, key in zip(sorted(lines), ("mode", "idle_timeout")):
                path, row, column, message = line.split(":", 3)
                self.assertEqual(Path(path), self.config)
                self.assertTrue(text[int(row) - 1].startswith(key), line)
                self.assertGreaterEqual(int(column), 1)
                self.assertIn(key, message)
            self.assertIn("strict", done.stderr)
        self.assert_nothing_was_started()

    def test_unknown_key(self):
        self.write("[speculation]\nspeed = 9\n")
        done = self.with_config("--check")
        self.assertEqual(done.returncode, 2)
        self.assertRegex(done.stderr, r"^\S+:\d+:\d+: .*speed")

    def test_no_toml(self):
        self.write("[[[")
        done = self.with_config("--check")
        self.assertEqual(done.returncode, 2)
        self.assertRegex(done.stderr, r"^\S+:\d+:\d+: ")

    def test_tool_that_cannot_be_offered(self):
        self.write("""[[tool]]
name = "t"
description = "d"
parameters = { type = "no such type" }
request = { method = "GET", url = "http://127.0.0.1/{absent}" }
""")
        done = self.with_config("--check")
        self.assertEqual(done.returncode, 2)
        self.assertRegex(done.stderr, r"^\S+:\d+:\d+: ")

    def test_missing_files(self):
        done = self.run_daemon("--config", str(self.folder / "absent.toml"), "--check")
        self.assertEqual(done.returncode, 2)
        self.assertIn("absent.toml", done.stderr)
        self.write()
        (self.folder / "provider.key").unlink()
        done = self.with_config("--check")
        self.assertEqual(done.returncode, 2)
        self.assertIn("provider.key", done.stderr)


class Print(Case):
    def test_what_is_in_effect_without_secrets(self):
        self.write()
        done = self.with_config("--print-config")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertNotIn(SECRET, done.stdout)
        printed = tomllib.loads(done.stdout)
        self.assertEqual(printed["upstream"][0]["key"], f"file:{self.folder.resolve()}/provider.key")
        self.assertEqual(printed["listen"][0]["port"], self.port)
        self.assertEqual(printed["speculation"]["mode"], "confirm")  # a default
        self.assert_nothing_was_started()

    def test_is_a_configuration_again(self):
        self.write()
        first = self.with_config("--print-config").stdout
        self.config.write_text(first, encoding="utf-8")
        self.assertEqual(self.with_config("--print-config").stdout, first)


class Serve(Case):
    def start(self):
        """The daemon, once it says that it is ready; and what systemd would have been told."""
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(manager.close)
        manager.bind(str(self.folder / "notify"))
        manager.settimeout(PATIENCE)
        process = subprocess.Popen([DAEMON, "--config", self.config], stderr=subprocess.PIPE, text=True,
                                   env={**os.environ, "NOTIFY_SOCKET": str(self.folder / "notify")})
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.wait_for(manager, "READY=1")
        return process, manager

    def wait_for(self, manager, message):
        while message not in manager.recv(4096).decode().splitlines():
            pass

    def get(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=PATIENCE) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def test_from_start_to_end(self):
        self.write()
        process, manager = self.start()
        self.wait_for(manager, "WATCHDOG=1")
        self.assertEqual(self.get("/healthz"), (200, "ok\n"))
        self.assertEqual(self.get("/readyz"), (200, "ready\n"))
        status, metrics = self.get("/metrics")
        self.assertEqual(status, 200)
        self.assertIn("backchannel_sessions_open 0", metrics)
        self.assertEqual(self.get("/absent")[0], 404)
        process.send_signal(signal.SIGTERM)
        self.wait_for(manager, "STOPPING=1")
        self.assertEqual(process.wait(PATIENCE), 0)
        self.assertNotIn(SECRET, process.stderr.read())

    def test_reload_keeps_a_good_configuration(self):
        self.write()
        process, manager = self.start()
        self.write("[speculation]\nmode = \"strickt\"\n")
        process.send_signal(signal.SIGHUP)
        self.wait_for(manager, "READY=1")
        self.assertEqual(self.get("/readyz"), (200, "ready\n"))
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(PATIENCE), 0)
        self.assertRegex(process.stderr.read(), r"backchannel\.toml:\d+:\d+: .*strict")

    def test_address_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as other:
            self.admin = other.getsockname()[1]
            self.write()
            done = self.with_config()
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(str(self.admin), done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
