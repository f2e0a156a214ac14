"""The real daemon as a test sees it: its configuration, its life, what it leaves behind.

Every test program is run as  test_X.py BUILD SOURCE [unittest arguments]  with the environment E2E_SANITIZE set to the
sanitizers the daemon was built with.  Whenever a daemon has ended, its log is searched for secrets and for reports of
sanitizers, whatever else the test was about.
"""
import hashlib
import json
import os
import re
import resource
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest
import urllib.error
import urllib.request

from ws import PATIENCE, Server, connect, trusting, wait_until

BUILD, SOURCE = (os.path.abspath(path) for path in sys.argv[1:3])
SANITIZE = os.environ.get('E2E_SANITIZE', 'none') != 'none'

sys.path.insert(1, os.path.join(SOURCE, 'tests', 'demo'))
from world import make_certificate  # noqa: E402  (its folder is known only now)

REPORTS = re.compile(r'AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:|BUG')
TIMING = os.path.join(SOURCE, 'tests', 'provider', 'timing.json')


def program(*parts):
    return os.path.join(BUILD, *parts)


def toml_value(value):
    """JSON's strings, numbers, booleans and arrays are TOML's too."""
    if isinstance(value, dict):
        return '{ ' + ', '.join(f'{json.dumps(key)} = {toml_value(item)}' for key, item in value.items()) + ' }'
    return json.dumps(value)


def toml(sections):
    lines = [f'include = {json.dumps(sections["include"])}']
    for name, tables in sections.items():
        if name == 'include':
            continue
        for table in tables if isinstance(tables, list) else [tables]:
            lines.append(f'[[{name}]]' if isinstance(tables, list) else f'[{name}]')
            lines += [f'{key} = {toml_value(value)}' for key, value in table.items() if value is not None]
            lines.append('')
    return '\n'.join(lines)


class ReservedPort:
    """A port that nobody else is given as long as this lives; a listener with SO_REUSEPORT may still use it."""

    def __init__(self):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.socket.bind(('127.0.0.1', 0))
        self.number = self.socket.getsockname()[1]

    def end(self):
        self.socket.close()


class Gateway:
    """A configuration, and the daemon that runs on it."""

    def __init__(self, folder, upstream, tls=False):
        self.folder = folder
        self.tls = tls
        self.ports = [ReservedPort(), ReservedPort()]
        self.port, self.admin = (port.number for port in self.ports)
        self.client_key = 'bk-' + secrets.token_urlsafe(24)
        self.provider_key = 'sk-' + secrets.token_urlsafe(24)
        self.query_secret = 'q' + secrets.token_hex(12)
        self.process = None
        self.starts = 0
        self.write('provider.key', self.provider_key + '\n')
        self.config = {
            'include': [],
            'daemon': {'workers': 1, 'log_level': 'debug', 'drain_timeout': '20s'},
            'listen': [{'address': '127.0.0.1', 'port': self.port, 'certificate': 'cert.pem' if tls else None,
                        'key': 'key.pem' if tls else None}],
            'admin': {'address': '127.0.0.1', 'port': self.admin},
            'auth': {'mode': 'keys'},
            'client_key': [{'name': 'tester', 'sha256': hashlib.sha256(self.client_key.encode()).hexdigest()}],
            'upstream': [{'name': 'scripted', 'url': upstream, 'key': 'file:provider.key',
                          'ca_file': 'cert.pem' if upstream.startswith('wss') else None, 'connect_timeout': '20s'}],
            'session': {},
            'speculation': {'mode': 'off'},
            'journal': {'path': 'journal.db'},
            'tool': [],
        }

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(os.open(self.path(name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 'w',
                  encoding='utf-8') as file:
            file.write(text)

    def write_config(self, extra=''):
        self.write('backchannel.toml', toml(self.config) + extra)

    @property
    def log_path(self):
        return self.path(f'backchanneld-{self.starts}.err')

    def log(self):
        with open(self.log_path, encoding='utf-8') as file:
            return file.read()

    def spawn(self):
        """Start the daemon; it may refuse to run."""
        assert self.process is None
        self.write_config()
        self.starts += 1
        with open(self.log_path, 'wb') as errors:
            self.process = subprocess.Popen(
                [program('daemon', 'backchanneld'), '--config', self.path('backchannel.toml')], cwd=self.folder,
                stdout=subprocess.DEVNULL, stderr=errors)

    def start(self):
        self.spawn()
        wait_until(self.is_ready, 'readiness')
        return self

    def is_ready(self):
        assert self.process.poll() is None, f'ended with {self.process.poll()}:\n{self.log()}'
        try:
            return self.fetch('/readyz')[0] == 200
        except OSError:
            return False

    def fetch(self, path):
        try:
            with urllib.request.urlopen(f'http://127.0.0.1:{self.admin}{path}', timeout=PATIENCE) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metric(self, name):
        text = self.fetch('/metrics')[1]
        return int(re.search(rf'^backchannel_{name} (-?\d+)$', text, re.MULTILINE)[1])

    def wait_metric(self, name, value):
        wait_until(lambda: self.metric(name) == value, f'{name} = {value}')

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self):
        """Wait for the end; check what is left; return the exit status."""
        status = self.process.wait(PATIENCE)
        self.process = None
        self.check_log()
        return status

    def stop(self):
        """End without waiting for sessions; anything but a clean end fails."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGINT)  # a second SIGTERM could melt into the first
        status = self.wait()
        assert status == 0, f'ended with {status}:\n{self.log()}'

    def kill(self):
        self.signal(signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL

    def check_log(self):
        log = self.log()
        for secret in (self.client_key, self.provider_key, self.query_secret):
            assert secret not in log, 'a secret is in the log'
        assert 'authorization' not in log.lower(), 'the log shows an Authorization header'
        report = REPORTS.search(log)
        assert not report, f'{report[0]}:\n{log}'

    def end(self):
        """Teardown: whatever the test did, nothing stays and the log is clean."""
        try:
            if self.process and self.process.poll() is None:
                self.stop()
            elif self.process:
                status = self.wait()
                assert status == 0, f'ended by itself with {status}:\n{self.log()}'
        finally:
            if self.process:
                self.process.kill()
                self.process.wait()
            for port in self.ports:
                port.end()

    def connect(self, key=None, query='model=gpt-realtime', headers=(), **named):
        """A client's connection."""
        return self.connect_with(query, [f'Authorization: Bearer {key or self.client_key}', *headers], **named)

    def connect_with(self, query, headers, **named):
        tls = trusting(self.path('cert.pem')) if self.tls else None
        return connect(self.port, f'/v1/realtime?{query}&note={self.query_secret}', headers=headers, tls=tls,
                       **named)

    def memory(self):
        """Resident bytes of the daemon."""
        with open(f'/proc/{self.process.pid}/statm', encoding='ascii') as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    def control(self, *words):
        """What the running daemon answers to backchannelctl; needs a control socket of that name."""
        done = subprocess.run([program('daemon', 'admin', 'backchannelctl'), '--socket', self.path('control.sock'),
                               *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def journal(self, *words):
        """Output of the offline reader; a status other than 0 fails."""
        done = subprocess.run([program('daemon', 'admin', 'backchannel-journal'), '--path', self.path('journal.db'),
                               *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def intents(self, *options):
        """Rows of `backchannel-journal list` as dictionaries."""
        names = ('intent', 'time', 'session', 'turn', 'effect', 'who', 'state', 'tool')
        return [dict(zip(names, line.split())) for line in self.journal('list', *options).splitlines()[1:]]


class SimulatedProvider:
    """The simulated provider, playing one dialogue; its log grows line by line."""

    def __init__(self, folder, dialogues, key, scale, options=()):
        self.log_path = os.path.join(folder, 'provider.log')
        self.process = subprocess.Popen(
            [program('tests', 'provider', 'simprovider'), '--listen', '127.0.0.1:0', '--dialogues', dialogues,
             '--timing', TIMING, '--scale', str(scale), '--key', key, '--log', self.log_path, *options],
            stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().split()[1])

    def end(self):
        self.process.terminate()
        self.process.stdout.close()
        assert self.process.wait(PATIENCE) == 0, 'the simulated provider did not end well'


class ToolServer:
    """The tool server of the dialogues."""

    def __init__(self, folder, *dialogues, profile='0', options=()):
        self.effects_path = os.path.join(folder, 'effects.jsonl')
        self.dialogues = os.path.join(folder, 'dialogues.jsonl')
        with open(self.dialogues, 'w', encoding='utf-8') as file:
            file.writelines(json.dumps(dialogue) + '\n' for dialogue in dialogues)
        self.process = subprocess.Popen(
            [program('tests', 'toolserver', 'toolserver'), '--listen', '0', '--timing', TIMING, '--profile', profile,
             '--effects', self.effects_path, *options, '--dialogues', self.dialogues],
            stdout=subprocess.PIPE, text=True)
        word, port = self.process.stdout.readline().split()
        assert word == 'listening'
        self.port = int(port)

    def end(self):
        self.process.terminate()
        self.process.stdout.close()
        assert self.process.wait(PATIENCE) == 0, 'the tool server did not end well'

    def request(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f'http://127.0.0.1:{self.port}{path}', data, timeout=PATIENCE) as answer:
            return json.load(answer)

    def calls(self):
        return self.request('/control/calls')

    def effects(self):
        """Every effect and undo, in order."""
        return self.request('/control/effects')['log']

    def hold(self, tool):
        self.request('/control/hold', {'tool': tool})

    def release(self):
        self.request('/control/release', {})


def dialogue(name):
    """One of the demo's dialogues by its id."""
    folder = os.path.join(SOURCE, 'tests', 'dialogues')
    for file_name in sorted(os.listdir(folder)):
        if file_name.endswith('.jsonl'):
            with open(os.path.join(folder, file_name), encoding='utf-8') as lines:
                for line in lines:
                    found = json.loads(line)
                    if found['id'] == name:
                        return found
    raise AssertionError(f'no dialogue {name}')


class Case(unittest.TestCase):
    """A test with a folder, a scripted provider, and a gateway between it and the test."""

    tls = False

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix='e2e-')
        self.addCleanup(self.leave)

    def leave(self):
        """Last of all: the folder goes, unless E2E_KEEP asks for it."""
        if 'E2E_KEEP' in os.environ:
            print('kept', self.folder, file=sys.stderr)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def provider_server(self, **named):
        if self.tls:
            named.update(certificate=os.path.join(self.folder, 'cert.pem'),
                         key=os.path.join(self.folder, 'key.pem'))
        server = Server(**named)
        self.addCleanup(server.end)
        return server

    def gateway(self, url=None, **sections):
        """A gateway that is not started yet; sections are laid over the configuration's."""
        if self.tls and not os.path.exists(os.path.join(self.folder, 'cert.pem')):
            make_certificate(self.folder)
        if url is None:
            self.server = self.provider_server()
            url = f'{"wss" if self.tls else "ws"}://localhost:{self.server.port}/v1/realtime'
        gateway = Gateway(self.folder, url, self.tls)
        for name, options in sections.items():
            section = gateway.config[name]
            if isinstance(section, list) and isinstance(options, dict):
                section[0].update(options)
            elif isinstance(section, list):
                section[:] = options
            else:
                section.update(options)
        self.addCleanup(gateway.end)
        return gateway

    def session(self, gateway, **named):
        """A client and the provider's end of its session."""
        client = gateway.connect(**named)
        self.addCleanup(client.end)
        provider = self.server.accept()
        self.addCleanup(provider.end)
        return client, provider


def run():
    unittest.main(module='__main__', argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
