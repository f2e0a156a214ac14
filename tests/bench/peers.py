"""The proxies that are measured: how each is configured and started, and what it uses."""
import json
import os
import resource
import shutil
import signal
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PATIENCE = 30  # seconds a program may take to start or to end
FIRST_PORT, LAST_PORT = 20000, 32000  # below the ports that the kernel gives to outgoing connections


class BenchError(Exception):
    """Something did not work; the text says what."""


def raise_limits(descriptors):
    """Let this process and its children open so many files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= descriptors:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, max(hard, descriptors)))
    except (OSError, ValueError):
        if hard < descriptors:
            raise BenchError(f"{descriptors} open files are needed, {hard} are allowed (ulimit -n)") from None
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def listening():
    """Ports on which somebody listens."""
    ports = set()
    for name in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(name, encoding="ascii") as table:
            for line in list(table)[1:]:
                fields = line.split()
                if fields[3] == "0A":
                    ports.add(int(fields[1].rsplit(":", 1)[1], 16))
    return ports


class Ports:
    """Hands out ports that nobody listens on; never one twice."""

    def __init__(self):
        self.next = FIRST_PORT + os.getpid() % 100 * 100

    def take(self):
        taken = listening()
        while self.next in taken:
            self.next += 1
        if self.next > LAST_PORT:
            raise BenchError("no port is left")
        self.next += 1
        return self.next - 1


def make_certificate(folder):
    """A certificate for localhost that is its own authority, valid for two days."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
               "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
               "-keyout", os.path.join(folder, "key.pem"), "-out", os.path.join(folder, "cert.pem")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(f"openssl could not make a certificate: {done.stderr.strip()}")


def spawn(command, cores, **options):
    """A child on these cores that ends when this process does, in a process group of its own."""
    def prepare():
        os.sched_setaffinity(0, cores)

    # setpriv: the child is told to end if this process is killed.
    return subprocess.Popen(["setpriv", "--pdeathsig", "TERM", *command], preexec_fn=prepare, start_new_session=True,
                            **options)


def end(process):
    """End a child and whatever it started."""
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(PATIENCE)
        os.killpg(process.pid, signal.SIGKILL)  # what its children left
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    except ProcessLookupError:
        process.wait()


def family(pid):
    """A process and its descendants."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                    parents[int(entry)] = int(file.read().rsplit(")", 1)[1].split()[1])
            except OSError:
                pass  # it has just ended
    found = [pid]
    for member in found:
        found += [child for child, parent in parents.items() if parent == member]
    return found


def memory_kb(pids):
    """(Rss, Pss) in KiB of processes together."""
    sums = {"Rss:": 0, "Pss:": 0}
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            for line in file:
                name = line.split()[0]
                if name in sums:
                    sums[name] += int(line.split()[1])
    return sums["Rss:"], sums["Pss:"]


def cpu_seconds(pid):
    """Processor time of all threads of a process; the kernel names its clock by a number made of the pid."""
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return 0.0


class Plan:
    """What a proxy is to do: ports, TLS, where its files go."""

    def __init__(self, build, folder, tls, sessions, port, upstream, cores):
        self.build, self.folder, self.tls, self.sessions = build, folder, tls, sessions
        self.port, self.upstream, self.cores = port, upstream, cores
        self.client_tls = tls != "none"
        self.upstream_tls = tls == "both"
        self.certificate = os.path.join(build, "bench", "cert.pem")
        self.key = os.path.join(build, "bench", "key.pem")

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path


def splice(plan):
    command = [os.path.join(plan.build, "tests", "bench", "splice"), str(plan.port), str(plan.upstream)]
    return command + ([plan.tls, plan.certificate, plan.key] if plan.client_tls else [])


def nginx_with(plan, buffers):
    tls = f"ssl_certificate {plan.certificate}; ssl_certificate_key {plan.key};" if plan.client_tls else ""
    temporary = "\n".join(f"  {kind}_temp_path {plan.folder}/{kind};"
                          for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    config = f"""daemon off;
pid {plan.folder}/nginx.pid;
error_log {plan.folder}/error.log warn;
worker_processes 1;
{"user root;" if os.geteuid() == 0 else ""}
events {{ worker_connections {4 * plan.sessions + 512}; }}
http {{
  access_log off;
  ssl_protocols TLSv1.2 TLSv1.3;
{temporary}
  server {{
    listen 127.0.0.1:{plan.port}{" ssl" if plan.client_tls else ""} backlog=4096;
    {tls}
    location / {{
      proxy_pass {"https" if plan.upstream_tls else "http"}://127.0.0.1:{plan.upstream};
      proxy_ssl_protocols TLSv1.2 TLSv1.3;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade";
      proxy_read_timeout 24h;
      proxy_send_timeout 24h;
      {buffers}
    }}
  }}
}}
"""
    return ["nginx", "-e", f"{plan.folder}/error.log", "-p", plan.folder, "-c", plan.write("nginx.conf", config)]


def nginx(plan):
    return nginx_with(plan, "")


def nginx_64k(plan):
    return nginx_with(plan, "proxy_buffer_size 64k; proxy_buffers 8 64k;")


def haproxy(plan):
    if plan.client_tls:
        with open(plan.certificate, encoding="ascii") as cert, open(plan.key, encoding="ascii") as key:
            both = plan.write("both.pem", cert.read() + key.read())
    config = f"""global
  nbthread 1
  maxconn {plan.sessions + 256}
defaults
  mode http
  timeout connect 60s
  timeout client 24h
  timeout server 24h
  timeout tunnel 24h
frontend clients
  bind 127.0.0.1:{plan.port}{f" ssl crt {both}" if plan.client_tls else ""} backlog 4096
  default_backend provider
backend provider
  server provider 127.0.0.1:{plan.upstream}{" ssl verify none" if plan.upstream_tls else ""}
"""
    return ["haproxy", "-db", "-q", "-f", plan.write("haproxy.cfg", config)]


def node(plan):
    folder = os.path.join(HERE, "node")
    if not os.path.isdir(os.path.join(folder, "node_modules", "ws")):
        done = subprocess.run(["npm", "ci"], cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BenchError(f"npm ci failed in {folder}:\n{done.stderr}")
    return ["node", os.path.join(folder, "proxy.mjs"), str(plan.port), str(plan.upstream), plan.tls, plan.certificate,
            plan.key]


def backchanneld_with(plan, mode, workers=1):
    tls = [f"certificate = {json.dumps(plan.certificate)}", f"key = {json.dumps(plan.key)}"] if plan.client_tls else []
    scheme, trust = ("wss", f"ca_file = {json.dumps(plan.certificate)}") if plan.upstream_tls else ("ws", "")
    config = "\n".join([
        "[daemon]", f"workers = {workers}", 'log_level = "warning"', 'drain_timeout = "0s"',
        f"sessions_max = {plan.sessions + 256}",
        "[[listen]]", 'address = "127.0.0.1"', f"port = {plan.port}", *tls,
        "[admin]", "enabled = false",
        "[auth]", 'mode = "open"',
        "[[upstream]]", f'url = "{scheme}://127.0.0.1:{plan.upstream}/v1/realtime"', trust,
        'connect_timeout = "60s"', 'key_header = "none"',
        # Nobody of the others sends pings, or looks for silence.
        "[session]", 'handshake_timeout = "60s"', 'idle_timeout = "24h"', 'lifetime_max = "24h"',
        'ping_interval = "1h"', 'ping_timeout = "1h"',
        "[speculation]", f'mode = "{mode}"',
        "[journal]", f"path = {json.dumps(os.path.join(plan.folder, 'journal.db'))}",
        # A tool that may be guessed on, so that every event is looked at and the audio is listened to.
        "[[tool]]", 'name = "get_order"', 'description = "Looks up an order."',
        """parameters = '{"type":"object","properties":{"order":{"type":"string"}},"required":["order"]}'""",
        'request = { method = "GET", url = "http://127.0.0.1:9/orders/{order}" }',
        'effect = "read"', 'disclosure = "first_party"', 'idempotency = "natural"', ""])
    return [os.path.join(plan.build, "daemon", "backchanneld"), "--config", plan.write("backchannel.toml", config)]


def backchanneld(plan):
    return backchanneld_with(plan, "strict")


def backchanneld_off(plan):
    return backchanneld_with(plan, "off")


def backchanneld_2_workers(plan):
    return backchanneld_with(plan, "strict", 2)


# Name: the command that starts it, and how many processes it has when it is ready.
PEERS = {"splice": (splice, 1), "nginx": (nginx, 2), "nginx-64k": (nginx_64k, 2), "haproxy": (haproxy, 1),
         "node": (node, 1), "backchanneld": (backchanneld, 1),
         # Tools, but no guessing: nobody listens to the audio.  Only when asked for.
         "backchanneld-off": (backchanneld_off, 1),
         # For each other: what a second worker costs.
         "1 worker": (backchanneld, 1), "2 workers": (backchanneld_2_workers, 1)}
# Those that may use all cores, the generator's too: two workers on one core would never get in each other's way.
SPREAD = {"1 worker", "2 workers"}


class Generator:
    """relaybench on a core of its own."""

    def __init__(self, build, folder, tls, sessions, core):
        self.log = open(os.path.join(folder, "relaybench.err"), "w+", encoding="utf-8")
        bench = os.path.join(build, "bench")
        self.process = spawn([os.path.join(build, "tests", "bench", "relaybench"), str(sessions), tls,
                              os.path.join(bench, "cert.pem"), os.path.join(bench, "key.pem"), str(core)], {core},
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.port = self.answer()["port"]

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            raise BenchError(f"relaybench has ended: {self.log.read().strip()}")
        answer = json.loads(line)
        if "error" in answer:
            raise BenchError(answer["error"])
        return answer

    def command(self, *words):
        try:
            self.process.stdin.write(" ".join(str(word) for word in words) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it said why before it ended
        return self.answer()

    def end(self):
        end(self.process)
        self.process.stdin.close()
        self.process.stdout.close()
        self.log.close()


class Rig:
    """One proxy, its generator, and their sessions."""

    def __init__(self, build, peer, tls, sessions, ports, cores):
        self.peer, self.tls, self.sessions = peer, tls, sessions
        self.folder = os.path.join(build, "bench", f"{peer.replace(' ', '-')}-{tls}-{sessions}")
        self.process = None
        self.generator = None
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)
        try:
            self.generator = Generator(build, self.folder, tls, sessions, cores[0])
            own = set(cores) if peer in SPREAD else {cores[1]}
            self.start(Plan(build, self.folder, tls, sessions, ports.take(), self.generator.port, own))
        except BaseException:
            self.end()
            raise

    def start(self, plan):
        make_command, processes = PEERS[self.peer]
        command = make_command(plan)
        if shutil.which(command[0]) is None:
            raise BenchError(f"{command[0]} is not installed")
        with open(os.path.join(self.folder, "log"), "wb") as log:
            self.process = spawn(command, plan.cores, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder)
        deadline = time.monotonic() + PATIENCE
        while plan.port not in listening() or len(family(self.process.pid)) < processes:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"{self.peer} does not start:\n{self.read_log()}")
            time.sleep(0.02)
        self.pids = family(self.process.pid)
        self.empty = memory_kb(self.pids)
        self.setup = self.generator.command("connect", plan.port, *self.pids)
        self.idle = memory_kb(self.pids)

    def read_log(self):
        with open(os.path.join(self.folder, "log"), encoding="utf-8", errors="replace") as log:
            return log.read().strip()

    def run(self, size, rate, warm, seconds):
        return self.generator.command("run", size, rate, warm, seconds)

    def per_session_kb(self, memory):
        """(Rss, Pss) in KiB beyond what the proxy used without sessions."""
        return tuple((now - before) / self.sessions for now, before in zip(memory, self.empty))

    def loaded_kb(self):
        return self.per_session_kb(memory_kb(self.pids))

    def cpu_seconds(self):
        return sum(cpu_seconds(pid) for pid in [*self.pids, self.generator.process.pid])

    def count_syscalls(self, size, seconds):
        """System calls per message of a short run, by name; counting slows the proxy down, so it has a run of its own."""
        table = os.path.join(self.folder, "strace")
        pids = [word for pid in self.pids for word in ("-p", str(pid))]
        tracer = subprocess.Popen(["strace", "-f", "-c", "-o", table, *pids], stdin=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, text=True)
        try:
            for _ in self.pids:
                line = tracer.stderr.readline()
                if "attached" not in line:
                    raise BenchError(f"strace cannot attach: {line.strip()}")
            messages = self.run(size, 0, 0, seconds)["arrived"]
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.communicate()
        return read_strace(table, messages)

    def end(self):
        for child in (self.generator, self.process):
            if isinstance(child, Generator):
                child.end()
            elif child is not None:
                end(child)
        self.generator = self.process = None


def read_strace(path, messages):
    """Calls per message by name, the most frequent first, from a summary of strace."""
    calls = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            fields = line.split()
            if len(fields) >= 5 and fields[3].isdigit() and fields[-1] != "total":
                calls[fields[-1]] = calls.get(fields[-1], 0) + int(fields[3])
    return {name: count / messages for name, count in sorted(calls.items(), key=lambda item: -item[1])}
