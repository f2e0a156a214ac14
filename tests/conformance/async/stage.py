"""What stands around the actors of a scenario: the daemon with its tools, the server of these tools whose every answer
waits for the script, and, where a scenario asks for it, the simulated provider."""
import json
import os
import select
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SOURCE = os.path.abspath(sys.argv[2])  # every program of this folder is run as  X.py BUILD SOURCE ...
sys.path.insert(1, os.path.join(SOURCE, 'tests', 'e2e'))

from ears import PATIENCE  # noqa: E402  (their folder is known only now)
from gateway import TIMING, Gateway, program  # noqa: E402
from ws import wait_until  # noqa: E402

TICK = 0.02  # seconds between two looks at a connection whose request is held


class ToolRequest:
    """One call that reached the tool server and waits for its answer."""

    def __init__(self, name, arguments, key):
        self.name, self.arguments, self.key = name, arguments, key
        self.answer = None  # (status, body), or 'cut'
        self.ready = threading.Event()
        self.lost = threading.Event()  # the gateway has gone away before the answer

    def give(self, answer):
        self.answer = answer
        self.ready.set()


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        self.serve(self.path.lstrip('/'), json.loads(body or b'{}'))

    def do_GET(self):
        name, _, key = self.path.lstrip('/').partition('?key=')
        self.serve(name, {'key': key})

    def serve(self, name, arguments):
        request = ToolRequest(name, arguments, self.headers.get('Idempotency-Key'))
        self.server.tools.take(request)
        while not request.ready.wait(TICK):
            if self.has_gone():
                request.lost.set()
                self.close_connection = True
                return
        if request.answer == 'cut':
            self.close_connection = True
            return
        status, text, *kind = request.answer
        payload = text.encode()
        try:
            self.send_response(status)
            self.send_header('Content-Type', kind[0] if kind else 'application/json')
            self.send_header('Content-Length', str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)
        except OSError:
            request.lost.set()

    def has_gone(self):
        if not select.select([self.connection], [], [], 0)[0]:
            return False
        try:
            return self.connection.recv(1, socket.MSG_PEEK) == b''
        except OSError:
            return True

    def log_message(self, *_):
        pass


class Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_):
        pass  # a connection the gateway cut; what matters is asserted by the scripts


class ToolServer:
    """Several hosts, each of which may be broken while the others are not."""

    def __init__(self):
        self.changed = threading.Condition()
        self.waiting = []
        self.listeners = [Listener(('127.0.0.1', 0), Handler) for _ in range(HOSTS)]
        for listener in self.listeners:
            listener.tools = self
            threading.Thread(target=listener.serve_forever, daemon=True).start()

    def port(self, index):
        return self.listeners[index].server_address[1]

    def take(self, request):
        with self.changed:
            self.waiting.append(request)
            self.changed.notify_all()

    def find(self, name, arguments):
        """Wait for a request and take it out; None: it did not come."""
        def there():
            return next((request for request in self.waiting
                         if request.name == name and arguments in (None, request.arguments)), None)
        with self.changed:
            if not self.changed.wait_for(there, PATIENCE):
                return None
            request = there()
            self.waiting.remove(request)
            return request

    def clear(self):
        """Everything that waits for its answer is cut off; what nobody asked for is returned."""
        with self.changed:
            left, self.waiting = self.waiting, []
        for request in left:
            request.give('cut')
        return [(request.name, request.arguments) for request in left]

    def end(self):
        self.clear()
        for listener in self.listeners:
            listener.shutdown()
            listener.server_close()


REASONER = 'reasoner'  # the path at which the tool server's first host plays the text model
HOSTS = 5  # a tool that fails by design must not open the breaker of others

# name: (what it takes, the options that matter)
TOOLS = {
    'get_order': ('id', {'effect': 'read', 'tags': ['orders']}),
    'find': ('city', {'effect': 'read', 'tags': ['cities']}),
    'search': ('q', {'effect': 'read', 'on_barge_in': 'cancel'}),
    'alarm': ('text', {'effect': 'read', 'delivery': 'interrupt'}),
    'whisper': ('q', {'effect': 'read', 'delivery': 'silent'}),
    'partner': ('q', {'effect': 'read', 'disclosure': 'third_party'}),
    'book': ('night', {'effect': 'hold', 'tags': ['orders']}),
    'pay': ('amount', {'effect': 'hold', 'on_barge_in': 'cancel'}),
    'note': ('text', {'effect': 'hold', 'delivery': 'silent'}),
    'slow': ('id', {'effect': 'read', 'timeout': '300ms', 'attempts_max': 1, 'host': 2}),
    'charge': ('amount', {'effect': 'hold', 'timeout': '300ms', 'host': 3}),
    'refund': ('amount', {'effect': 'hold', 'timeout': '2s', 'idempotency': 'key', 'status': True, 'host': 4}),
    'linger': ('id', {'effect': 'read', 'filler_after': '30ms', 'filler': 'One moment.'}),
    'siren': ('id', {'effect': 'read', 'delivery': 'interrupt', 'filler_after': '30ms', 'filler': 'One moment.'}),
    'login': ('pin', {'effect': 'read', 'secret_arguments': ['pin']}),
    'consult': ('id', {'effect': 'read', 'withheld_arguments': ['reason'],
                       'parameters': '{"type":"object","properties":{"id":{"type":"string"},"reason":{"type":"string"}},'
                                     '"required":["id","reason"]}'}),
    'ponder': ('id', {'effect': 'read', 'filler_after': '30ms'}),
    'single': ('id', {'effect': 'read', 'concurrency_max': 1}),
    'weak': ('id', {'effect': 'read', 'attempts_max': 1, 'host': 1}),
    **{f'part{i:02}': ('id', {'effect': 'read', 'timeout': '60s'}) for i in range(1, 21)},
}

SCHEMA = '{"type":"object","properties":{"%s":{"type":"string"}},"required":["%s"],"additionalProperties":false}'

REASONS = {'model': 'm-1', 'interval': '0s', 'backoff': '60s', 'timeout': '60s'}

# What the daemons of the suite are configured with; a script names its own.
GATEWAYS = {
    'plain': {},
    'guess': {'speculation': {'mode': 'strict'}},
    'confirm': {'speculation': {'mode': 'confirm', 'hold_quiet': '200ms'}},
    'race': {'speculation': {'mode': 'confirm', 'hold_quiet': '200ms', 'race': True}},
    'words': {'speculation': {'mode': 'strict', 'input': 'text'}},
    'eager': {'speculation': {'mode': 'strict', 'eager_turn': True, 'eager_silence': '100ms'}},
    'reasoner': {'speculation': {'mode': 'strict', 'reasoner': 'tagged'}, 'reasoner': REASONS},
    'inject': {'speculation': {'mode': 'inject', 'reasoner': 'tagged'}, 'reasoner': REASONS},
    'placeholder': {'upstream': {'async_results': 'placeholder'}, 'tools': {'placeholder_after': '0s'}},
    'deadlines': {'session': {'answer_timeout': '2s'}, 'speculation': {'mode': 'strict', 'pass_timeout': '1s'},
                  'tools': {'breaker_cooldown': '60s', 'filler_timeout': '500ms', 'client_output_timeout': '500ms',
                            'on_name_clash': 'refuse'}},
}

# In these the gateway asks the provider for more than its tools: transcripts, a shorter silence.
UPDATED_TWICE = ('words', 'eager', 'reasoner', 'inject')


def tool_table(name, ports):
    argument, options = TOOLS[name]
    options = dict(options)
    base = f'http://127.0.0.1:{ports[options.pop("host", 0)]}/'
    if options.pop('status', False):
        options['status'] = {'method': 'GET', 'url': base + name + '_status?key={idempotency_key}'}
    return {'name': name, 'description': f'What {name} does.', 'parameters': SCHEMA % (argument, argument),
            'disclosure': 'first_party', 'waste_price': '0s', 'request': {'method': 'POST', 'url': base + name, 'body': '{*}'},
            **options}


class Stage:
    """One daemon, shared by all scenarios of its configuration."""

    def __init__(self, folder, configuration, upstream):
        self.tools = ToolServer()
        self.gateway = Gateway(folder, upstream)
        ports = [self.tools.port(index) for index in range(HOSTS)]
        self.gateway.config['tool'] = [tool_table(name, ports) for name in TOOLS]
        self.gateway.config['tools'] = {'breaker_failures': 4, 'breaker_cooldown': '100ms', 'retry_backoff': '5ms'}
        self.gateway.config['control'] = {'socket': self.gateway.path('control.sock')}
        # What one scenario teaches the daemon must not show in the next.
        self.gateway.config['speculation'].update({'patterns': False, 'prefetch': False, 'kill_window': 0})
        for section, options in GATEWAYS[configuration].items():
            table = self.gateway.config.setdefault(section, {})
            (table[0] if isinstance(table, list) else table).update(options)
        if 'reasoner' in self.gateway.config:
            self.gateway.config['reasoner']['url'] = f'http://127.0.0.1:{ports[0]}/{REASONER}'
        self.gateway.start()

    def results(self):
        """How many tool calls have ended so far, as the daemon counts them."""
        return self.gateway.metric('tool_results_total')

    def named(self):
        """The same for calls that a reasoner has named."""
        return self.gateway.metric('reasoner_calls_total')

    def wait_results(self, count):
        wait_until(lambda: self.results() >= count, f'{count} ended tool calls')

    def end(self):
        self.tools.clear()
        try:
            self.gateway.end()
        finally:
            self.tools.end()


class Simulated:
    """The simulated provider with the rules of simulated.json."""

    def __init__(self, options):
        self.process = subprocess.Popen(
            [program('tests', 'provider', 'simprovider'), '--listen', '127.0.0.1:0', '--timing', TIMING, '--script',
             os.path.join(os.path.dirname(os.path.abspath(__file__)), 'simulated.json'), '--scale', '20', *options],
            stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().split()[1])

    def end(self):
        self.process.terminate()
        self.process.stdout.close()
        assert self.process.wait(PATIENCE) == 0, 'the simulated provider did not end well'
