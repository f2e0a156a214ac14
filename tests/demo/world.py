"""Starts and stops the programs of one demo run: provider, tool server, gateway, caller."""
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

READY_WITHIN = 30  # seconds a program may take to start or to end; generous, none depends on it


class DemoError(Exception):
    """Something did not work; the text says what and where to look."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_certificate(folder):
    """A certificate for localhost that is its own authority, valid for two days."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
               "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
               "-keyout", os.path.join(folder, "key.pem"), "-out", os.path.join(folder, "cert.pem")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DemoError(f"openssl could not make a certificate:\n{done.stderr}")


def toml_string(text):
    return json.dumps(text, ensure_ascii=True)


def json_template(arguments):
    """A JSON body whose members are filled in, e.g. {"visit_id": {args.visit_id}}."""
    members = (f"{json.dumps(name)}: {{{reference.lstrip('$')}}}" for name, reference in arguments.items())
    return "{" + ", ".join(members) + "}"


def request_toml(base, tool, body):
    headers = '{ "Content-Type" = "application/json", "X-Session" = "demo" }'
    return (f'{{ method = "POST", url = {toml_string(base + tool)}, headers = {headers}, '
            f"body = {toml_string(body)} }}")


def tool_toml(dialogue, tool, port):
    """One [[tool]] of a dialogue.  A write that can be taken back is reversible, any other is held."""
    base = f"http://127.0.0.1:{port}/d/{dialogue['id']}/tools/"
    inverse = tool["inverse"]
    reversible = inverse is not None and inverse["kind"] in ("exact", "compensate")
    effect = "read" if tool["read_only"] else "reversible" if reversible else "hold"
    lines = ["[[tool]]", f"name = {toml_string(tool['name'])}",
             f"description = {toml_string(tool['description'])}",
             f"parameters = {toml_string(json.dumps(tool['parameters']))}",
             f"request = {request_toml(base, tool['name'], '{*}')}",
             f'effect = "{effect}"', 'disclosure = "first_party"',
             f'idempotency = "{"natural" if tool["read_only"] else "key"}"',
             f"tags = [{toml_string(dialogue['id'])}]"]
    if effect == "read":
        # An order or a bill does not change within a sentence; a write of the same call ends it at once.
        lines.append('fresh_for = "30s"')
    if effect == "reversible":
        lines.append(f"undo = {request_toml(base, inverse['name'], json_template(inverse['args']))}")
    return "\n".join(lines) + "\n"


def set_option(text, section, key, value):
    """Give an option that stands in a TOML text another value."""
    pattern = re.compile(rf"(^\[+{re.escape(section)}\]+\n(?:(?!\[).*\n)*?{re.escape(key)} = ).*$", re.MULTILINE)
    changed, count = pattern.subn(lambda match: match[1] + value, text)
    if count != 1:
        raise DemoError(f"conf/demo.toml: expected {key} in [{section}] once")
    return changed


class World:
    """The programs of one run; leaves the with block when all have ended."""

    CALLER_OPTIONS = ()  # further ones, of those who build on this

    def __init__(self, build, source, folder, dialogue, settings):
        self.build, self.source, self.folder = build, source, folder
        self.dialogue, self.settings = dialogue, settings
        self.processes = []
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder, mode=0o700)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for _, process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
        for name, process in reversed(self.processes):
            try:
                process.wait(READY_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self.close(process)

    @staticmethod
    def close(process):
        if process.stdout:
            process.stdout.close()

    def path(self, name):
        return os.path.join(self.folder, name)

    def program(self, *parts):
        path = os.path.join(self.build, *parts)
        if not os.access(path, os.X_OK):
            raise DemoError(f"{path} is not built")
        return path

    def write(self, name, text):
        with open(os.open(self.path(name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w",
                  encoding="utf-8") as file:
            file.write(text)

    def start(self, name, command, announces):
        """Start a program; with announces wait for its first line and return the port in it."""
        with open(self.path(name + ".err"), "wb") as errors:
            process = subprocess.Popen(command, cwd=self.folder, stderr=errors, text=True,
                                       stdout=subprocess.PIPE if announces else subprocess.DEVNULL)
        self.processes.append((name, process))
        if not announces:
            return process
        line = process.stdout.readline()
        match = re.search(r"listening.*?(\d+)\s*$", line)
        if not match:
            raise DemoError(f"{name} did not start, see {self.path(name + '.err')}")
        return int(match[1])

    def timing(self):
        return os.path.join(self.source, "tests", "provider", "timing.json")

    def start_all(self, mode):
        """Everything but the caller; returns (port of the gateway, of its admin listener, of the tools)."""
        make_certificate(self.folder)
        self.write("dialogue.jsonl", json.dumps(self.dialogue) + "\n")
        provider_key = "sk-" + secrets.token_urlsafe(24)
        self.write("provider.key", provider_key + "\n")
        provider = self.start("simprovider", [
            self.program("tests", "provider", "simprovider"), "--listen", "127.0.0.1:0", "--cert", self.path("cert.pem"),
            "--key-file", self.path("key.pem"), "--dialogues", self.path("dialogue.jsonl"), "--timing",
            self.timing(), "--key", provider_key, "--seed", str(self.settings.seed), "--log",
            self.path("provider.log")], True)
        tools = self.start("toolserver", [
            self.program("tests", "toolserver", "toolserver"), "--listen", "0", "--timing", self.timing(),
            "--profile", self.settings.profile, "--seed", str(self.settings.seed), "--effects",
            self.path("effects.jsonl"), "--dialogues", self.path("dialogue.jsonl")], True)
        gateway, admin = free_port(), free_port()
        self.write_config(mode, provider, tools, gateway, admin)
        process = self.start("backchanneld", [self.program("daemon", "backchanneld"), "--config",
                                              self.path("backchannel.toml")], False)
        self.wait_ready(process, admin)
        return gateway, admin, tools

    def write_config(self, mode, provider, tools, gateway, admin):
        self.key = "bk-" + secrets.token_urlsafe(24)
        with open(os.path.join(self.source, "conf", "demo.toml"), encoding="utf-8") as file:
            text = file.read()
        digest = hashlib.sha256(self.key.encode()).hexdigest()
        for section, key, value in (("listen", "port", str(gateway)), ("admin", "port", str(admin)),
                                    ("client_key", "sha256", f'"{digest}"'),
                                    ("upstream", "url", f'"wss://localhost:{provider}/v1/realtime"'),
                                    ("speculation", "mode", f'"{mode}"')):
            text = set_option(text, section, key, value)
        self.write("backchannel.toml", text)
        self.write("tools.toml", "\n".join(tool_toml(self.dialogue, tool, tools)
                                           for tool in self.dialogue["tools"]))

    def wait_ready(self, process, admin):
        limit = time.monotonic() + READY_WITHIN
        while time.monotonic() < limit and process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{admin}/readyz", timeout=5):
                    return
            except (OSError, urllib.error.HTTPError):
                time.sleep(0.05)
        raise DemoError(f"backchanneld did not become ready, see {self.path('backchanneld.err')}")

    def call(self, gateway):
        """Play the call; returns the caller's time line and what it says of itself."""
        command = [self.program("tests", "caller", "caller"), "--url",
                   f"wss://localhost:{gateway}/v1/realtime?model={self.dialogue['id']}", "--key", self.key,
                   "--ca", self.path("cert.pem"), "--dialogues", self.path("dialogue.jsonl"), "--timing",
                   self.timing(), "--seed", str(self.settings.seed), "--timeline", self.path("timeline.json"),
                   "--repairs", *self.CALLER_OPTIONS]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not os.path.exists(self.path("timeline.json")):
            raise DemoError(f"the caller ended with {done.returncode} and no time line: {done.stderr}")
        with open(self.path("timeline.json"), encoding="utf-8") as file:
            return json.load(file), done.returncode, done.stdout + done.stderr

    def stop_gateway(self):
        """End the daemon as systemd would; returns its exit status."""
        process = next(process for name, process in self.processes if name == "backchanneld")
        process.terminate()
        try:
            return process.wait(READY_WITHIN)
        except subprocess.TimeoutExpired as error:
            raise DemoError("backchanneld did not end after SIGTERM") from error


def fetch(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=READY_WITHIN) as answer:
        return answer.read().decode()


def metrics(port):
    """The daemon's numbers by name."""
    found = {}
    for line in fetch(port, "/metrics").splitlines():
        if line and not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            found[name.partition("{")[0]] = found.get(name.partition("{")[0], 0) + float(value)
    return found


def wait_idle(port):
    """The daemon's numbers once no session is open any more."""
    limit = time.monotonic() + READY_WITHIN
    while True:
        numbers = metrics(port)
        if numbers.get("backchannel_sessions_open", 0) == 0:
            return numbers
        if time.monotonic() > limit:
            raise DemoError("the gateway still has a session although the caller has hung up")
        time.sleep(0.05)
