"""The programs of one run: simulated provider, tool server, the shipped daemon, and one caller for all sessions.

All sessions of a run go through one daemon.  Its tools belong to the configuration, and every dialogue has its own; so
before a session opens, the file with its tools is replaced and the daemon told to read its configuration again.  A session
keeps the configuration it began with, so sessions of different dialogues run side by side, each with the tools, addresses
and tags of its own dialogue, and nothing of one can be seen in another.  What a reload costs lies before a session's first
word and is the same in every run.
"""
import collections
import json
import os
import queue
import re
import secrets
import socket
import subprocess
import tempfile
import threading
import time
import tomllib
import urllib.error
import urllib.request

from dialogues import can_be_undone

READY_WITHIN = 60  # seconds a program may take to start or to end; generous, none depends on it
SLOT_WAIT = 0.02  # seconds until a run that may not open a session looks again whether it may
PATIENCE = 300.0  # seconds of the machine, in a world of any speed and however busy, after which a caller gives up waiting
CROWD_MAX = 512  # calls one caller plays at once (tests/caller/crowd.h)
RELOADED = b"configuration read again"
REFUSED = b"the new configuration is not usable"
FRESH = 30.0  # seconds a read stays true within a call; a write of the same call ends it at once
# What the daemon counts by its own clock and decides by, in seconds: a world that runs faster has less of it.  Windows of
# speech are samples and need nothing; time-outs are there for peers that fail, and nothing here comes near them.
WASTE_PRICE = 0.05
OWN_CLOCK = {"confirm_wait": 0.3, "learn_half_life": 1800.0, "kill_rest": 600.0}


class RigError(Exception):
    """Something did not work; the text says what and where to look."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def quoted(text):
    return json.dumps(text, ensure_ascii=True)


def request_toml(scene, url, body):
    """A request to a tool; the header lets the tool server's records tell whose it was."""
    headers = f'{{ "Content-Type" = "application/json", "X-Session" = {quoted(scene)} }}'
    return f'{{ method = "POST", url = {quoted(url)}, headers = {headers}, body = {quoted(body)} }}'


def undo_toml(scene, base, tool):
    """The request that takes a call back."""
    inverse = tool["inverse"]
    members = (f"{json.dumps(name)}: {{{reference.lstrip('$')}}}" if str(reference).startswith("$")
               else f"{json.dumps(name)}: {json.dumps(reference)}" for name, reference in inverse["args"].items())
    return request_toml(scene, base + inverse["name"], "{" + ", ".join(members) + "}")


def duration(seconds, scale):
    """A duration of the daemon's configuration, in a world that runs scale times faster."""
    return f"{max(1, round(seconds * 1000 / scale))}ms"


def tool_toml(scene, tool, port, reversible, scale=1.0):
    """One [[tool]].  Effect classes are conservative: a write is held, unless reversible writes are what is measured."""
    base = f"http://127.0.0.1:{port}/d/{scene}/tools/"
    undo = undo_toml(scene, base, tool) if reversible and can_be_undone(tool) else None
    effect = "read" if tool["read_only"] else "reversible" if undo else "hold"
    lines = ["[[tool]]", f"name = {quoted(tool['name'])}",
             f"description = {quoted(tool.get('description') or tool['name'])}",
             f"parameters = {quoted(json.dumps(tool['parameters']))}",
             f"request = {request_toml(scene, base + tool['name'], '{*}')}",
             f'effect = "{effect}"', 'disclosure = "first_party"',
             f'idempotency = "{"natural" if tool["read_only"] else "key"}"',
             f"tags = [{quoted(scene)}]", "concurrency_max = 4096", 'timeout = "60s"',
             f'waste_price = "{duration(WASTE_PRICE, scale)}"']
    if effect == "read":
        lines.append(f'fresh_for = "{duration(FRESH, scale)}"')
    if undo:
        lines.append(f"undo = {undo}")
    return "\n".join(lines) + "\n"


def tools_toml(job, port, reversible, scale=1.0):
    return "\n".join(tool_toml(job.scene, tool, port, reversible, scale) for tool in job.dialogue["tools"])


def toml_value(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (int, float)) else quoted(value)


def gateway_toml(ports, options):
    """The daemon's configuration; options: {section: {key: value}} on top."""
    upstream = {"name": "simulated", "url": f"ws://127.0.0.1:{ports['provider']}/v1/realtime",
                "key": "file:provider.key", **options.get("upstream", {})}
    sections = {"daemon": {"workers": 1, "log_level": "notice", "drain_timeout": "5s"},
                "admin": {"address": "127.0.0.1", "port": ports["admin"]}, "auth": {"mode": "open"},
                "journal": {"path": "journal.db"}, "tools": {}, "speculation": {}, "session": {}}
    for section, pairs in options.items():
        if section != "upstream":
            sections.setdefault(section, {}).update(pairs)
    text = 'include = ["tools.toml"]\n'
    for name, pairs in sections.items():
        if pairs:
            text += f"\n[{name}]\n" + "".join(f"{key} = {toml_value(value)}\n" for key, value in pairs.items())
    text += f"\n[[listen]]\naddress = \"127.0.0.1\"\nport = {ports['gateway']}\n"
    text += "\n[[upstream]]\n" + "".join(f"{key} = {toml_value(value)}\n" for key, value in upstream.items())
    return text


def ask_daemon(daemon, action, speculation=""):
    """What the daemon says to a configuration, without starting anything."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(f'[[listen]]\nport = 8443\n[auth]\nmode = "open"\n[[upstream]]\nkey = "env:HOME"\n{speculation}')
        file.flush()
        return subprocess.run([daemon, "--config", file.name, action], capture_output=True, text=True, check=False)


def daemon_options(build):
    """What the daemon has: {section: {key: default}}, and the words [speculation] mode takes."""
    daemon = os.path.join(build, "daemon", "backchanneld")
    probe = ask_daemon(daemon, "--print-config")
    if probe.returncode != 0:
        raise RigError(f"{daemon} --print-config: {probe.stderr.strip() or probe.stdout.strip()}")
    modes = [word for word in ("off", "strict", "confirm", "inject")
             if ask_daemon(daemon, "--check", f'[speculation]\nmode = "{word}"\n').returncode == 0]
    return tomllib.loads(probe.stdout), modes


def cpu_seconds(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def fetch(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=READY_WITHIN) as answer:
        return answer.read().decode()


class Rig:
    """The programs of one run; a context manager that ends them."""

    def __init__(self, build, source, folder, run, settings):
        self.build, self.source, self.folder, self.run, self.settings = build, source, folder, run, settings
        self.ports = {}
        self.processes = []
        self.events = queue.Queue()
        self.reloads = 0
        self.log, self.half_line = None, b""
        self.reloaded = 0
        self.cpu = {}
        os.makedirs(folder, mode=0o700, exist_ok=True)

    def __enter__(self):
        return self

    def abort(self):
        """From another thread: end all programs, so that whoever waits for one of them is told."""
        for _, process in reversed(list(self.processes)):
            if process.poll() is None:
                process.terminate()

    def __exit__(self, *_):
        if self.log:
            self.log.close()
        self.abort()
        for _, process in reversed(self.processes):
            try:
                process.wait(READY_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for stream in (process.stdin, process.stdout):
                if stream:
                    stream.close()

    def path(self, name):
        return os.path.join(self.folder, name)

    def program(self, *parts):
        path = os.path.join(self.build, *parts)
        if not os.access(path, os.X_OK):
            raise RigError(f"{path} is not built")
        return path

    def write(self, name, text):
        """Replace a file whole: the daemon may read it at any moment."""
        with open(os.open(self.path(name + ".new"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w",
                  encoding="utf-8") as file:
            file.write(text)
        os.replace(self.path(name + ".new"), self.path(name))

    def start(self, name, command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL):
        with open(self.path(name + ".err"), "wb") as errors:
            process = subprocess.Popen(command, cwd=self.folder, stderr=errors, stdout=stdout, stdin=stdin, text=True)
        self.processes.append((name, process))
        return process

    def port_of(self, name, process):
        match = re.search(r"listening.*?(\d+)\s*$", process.stdout.readline())
        if not match:
            raise RigError(f"{name} did not start, see {self.path(name + '.err')}")
        return int(match[1])

    # ---- starting ----

    def start_all(self, jobs):
        distinct = {job.dialogue["id"]: job.dialogue for job in jobs}
        self.write("dialogues.jsonl", "".join(json.dumps(item) + "\n" for item in distinct.values()))
        self.write("provider.key", "sk-" + secrets.token_urlsafe(24) + "\n")
        common = ["--timing", self.settings.timing, "--seed", str(self.run.seed), "--scale", str(self.settings.scale)]
        if self.settings.provider is None:
            with open(self.path("provider.key"), encoding="utf-8") as file:
                key = file.read().strip()
            provider = self.start("simprovider", [
                self.program("tests", "provider", "simprovider"), "--listen", "127.0.0.1:0", "--dialogues",
                self.path("dialogues.jsonl"), "--profile", self.run.profile, "--rule", self.run.rule, "--key", key,
                "--log", self.path("provider.log"), "--log-kinds", "parameters,session,commit,response,conversation,closed",
                *common, *self.run.provider])
            self.ports["provider"] = self.port_of("simprovider", provider)
            threading.Thread(target=provider.stdout.read, daemon=True).start()
        tools = self.start("toolserver", [
            self.program("tests", "toolserver", "toolserver"), "--listen", "0", "--profile", self.run.tools,
            "--effects", self.path("effects.jsonl"), "--dialogues", self.path("dialogues.jsonl"), *common])
        self.ports["tools"] = self.port_of("toolserver", tools)
        self.start_gateway(jobs[0])
        self.start_caller()
        self.watch = {name: process.pid for name, process in self.processes}
        self.cpu = {name: -cpu_seconds(pid) for name, pid in self.watch.items()}
        self.began = time.monotonic()

    def write_tools(self, job):
        self.write("tools.toml", tools_toml(job, self.ports["tools"], self.run.reversible, self.settings.scale))

    def start_gateway(self, job):
        self.ports["gateway"], self.ports["admin"] = free_port(), free_port()
        options = {section: dict(pairs) for section, pairs in self.run.options.items()}
        if self.settings.scale != 1:
            clock = {name: duration(seconds, self.settings.scale) for name, seconds in OWN_CLOCK.items()}
            options["speculation"] = {**clock, **options.get("speculation", {})}
        if self.settings.provider is not None:
            options["upstream"] = {"url": self.settings.provider, "key": self.settings.key}
        self.write_tools(job)
        self.write("backchannel.toml", gateway_toml({"provider": 0, **self.ports}, options))
        process = self.start("backchanneld", [self.program("daemon", "backchanneld"), "--config",
                                              self.path("backchannel.toml")], subprocess.DEVNULL)
        self.gateway = process
        limit = time.monotonic() + READY_WITHIN
        while time.monotonic() < limit and process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['admin']}/readyz", timeout=5):
                    return
            except (OSError, urllib.error.HTTPError):
                time.sleep(0.02)
        raise RigError(f"backchanneld did not become ready, see {self.path('backchanneld.err')}")

    def start_caller(self):
        command = [self.program("tests", "caller", "caller"), "--crowd", "--dialogues", self.path("dialogues.jsonl"),
                   "--timing", self.settings.timing, "--provider", self.run.profile, "--seed", str(self.run.seed),
                   "--scale", str(self.settings.scale), "--format", "pcmu", "--turns", self.run.turns,
                   "--repair-rate", str(self.run.repair_rate), "--pause-rate", str(self.run.pause_rate),
                   "--resume-rate", str(self.settings.resume_rate),
                   "--patience", str(PATIENCE * max(1.0, self.settings.scale))]
        if self.run.silence is not None:
            command += ["--silence", str(self.run.silence)]
        self.caller = self.start("caller", command, stdin=subprocess.PIPE)
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.caller.stdout:
            self.events.put((time.monotonic(), json.loads(line)))
        self.events.put((time.monotonic(), None))

    # ---- playing ----

    def reload(self, job):
        """Give the daemon the tools of a job; returns when new sessions have them."""
        self.write_tools(job)
        self.gateway.send_signal(1)
        self.reloads += 1
        limit = time.monotonic() + READY_WITHIN
        while time.monotonic() < limit:
            self.read_log(job)
            if self.reloaded >= self.reloads:
                return
            if self.gateway.poll() is not None:
                break
            time.sleep(0.001)
        raise RigError(f"backchanneld did not read its configuration again, see {self.path('backchanneld.err')}")

    def read_log(self, job):
        if self.log is None:
            self.log = open(self.path("backchanneld.err"), "rb")
        for line in self.log:
            line = self.half_line + line
            self.half_line = b"" if line.endswith(b"\n") else line  # the daemon is still writing it
            if self.half_line:
                return
            if REFUSED in line:
                raise RigError(f"the daemon refuses the tools of {job.scene}, see {self.path('backchanneld.err')}")
            self.reloaded += RELOADED in line

    def next_event(self, patience=READY_WITHIN * 10):
        """What the caller says next; None if it says nothing for as long as patience, where that is no error."""
        try:
            _, event = self.events.get(timeout=patience)
        except queue.Empty as error:
            if patience < READY_WITHIN:
                return None
            raise RigError(f"the caller says nothing any more, see {self.folder}") from error
        if event is None:
            raise RigError(f"the caller has ended, see {self.path('caller.err')}")
        return event

    def open(self, number, job):
        self.reload(job)
        self.caller.stdin.write(json.dumps(self.command(number, job)) + "\n")
        self.caller.stdin.flush()

    def play(self, jobs, slots, all_opened, progress):
        """Play all jobs; slots: a semaphore, one for each session that may be open, shared with runs beside this one;
        all_opened: called when none waits any more.  Returns {number: time line or None}."""
        waiting = collections.deque(enumerate(jobs))
        active, ended, opening = set(), {}, None
        while waiting or active:
            starved = False
            if opening is None and waiting:
                starved = len(active) >= CROWD_MAX or not slots.acquire(blocking=False)
                if not starved:
                    opening, job = waiting.popleft()
                    active.add(opening)
                    self.open(opening, job)
                    if not waiting:
                        all_opened()
            event = self.next_event(SLOT_WAIT if starved else READY_WITHIN * 10)
            if event is None:
                continue
            if event["event"] == "ended":
                active.discard(event["id"])
                slots.release()
                ended[event["id"]] = event["call"]
                progress(len(ended), len(jobs))
            if event["id"] == opening:
                opening = None
        self.seconds = time.monotonic() - self.began
        for name, pid in self.watch.items():
            self.cpu[name] += cpu_seconds(pid)
        return ended

    def cpu_now(self):
        """Processor seconds of all programs of this run that still live."""
        return sum(cpu_seconds(process.pid) for _, process in list(self.processes))

    def command(self, number, job):
        model = (self.settings.model or "{dialogue}").replace("{dialogue}", job.scene)
        url = f"ws://localhost:{self.ports['gateway']}/v1/realtime?model={model}"
        return {"id": number, "url": url, "dialogue": job.dialogue["id"], "alone": job.alone}

    # ---- what is left behind ----

    def metrics(self):
        """The daemon's own numbers, for cross-checks only, once no session is open any more."""
        limit = time.monotonic() + READY_WITHIN
        while True:
            found = collections.Counter()
            for line in fetch(self.ports["admin"], "/metrics").splitlines():
                if line and not line.startswith("#"):
                    name, value = line.rsplit(" ", 1)
                    found[name.partition("{")[0]] += float(value)
            if found["backchannel_sessions_open"] == 0 or time.monotonic() > limit:
                return dict(found)
            time.sleep(0.02)

    def tool_calls(self):
        return json.loads(fetch(self.ports["tools"], "/control/calls"))

    def effects(self):
        """The effects, and how far wall time is ahead of monotonic time."""
        found = json.loads(fetch(self.ports["tools"], "/control/effects"))
        return found, time.time() - time.monotonic()

    def stop_gateway(self):
        self.gateway.terminate()
        try:
            return self.gateway.wait(READY_WITHIN)
        except subprocess.TimeoutExpired as error:
            raise RigError("backchanneld did not end after SIGTERM") from error

    def stop_provider(self):
        """End the provider: it then writes what its conversations held."""
        for name, process in self.processes:
            if name == "simprovider" and process.poll() is None:
                process.terminate()
                process.wait(READY_WITHIN)
