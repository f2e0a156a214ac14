#!/usr/bin/env python3
"""What backchannelctl asks the running daemon, and what it hears.

Usage: test_control.py BUILD SOURCE
"""
import contextlib
import http.server
import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import threading
import time

from gateway import Case, program, run
from ws import wait_until


SECRET = 'sword"fish-4711'
SECRET_TOOLS = {'look': ('read', '/200'), 'order': ('hold', '/200'), 'reserve': ('hold', '/400'),
                'charge': ('hold', '/500')}


class Echo(http.server.BaseHTTPRequestHandler):
    """Repeats what it is told, with the status its path names: tools like to."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        self.server.heard.append(json.loads(body))
        self.send_response(int(self.path[1:]))
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        pass


class Control(Case):
    def setUp(self):
        super().setUp()
        # The length of a socket's path is bounded, a test's folder is short enough.
        self.socket = os.path.join(self.folder, 'control.sock')

    def started(self, **sections):
        gateway = self.gateway(**sections)
        gateway.config['control'] = {'socket': self.socket}
        return gateway.start()

    def ask(self, *words):
        done = subprocess.run([program('daemon', 'admin', 'backchannelctl'), '--socket', self.socket, *words],
                              capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    def answer(self, *words):
        status, out, err = self.ask(*words)
        self.assertEqual((status, err), (0, ''))
        return out

    def test_sessions_come_and_go(self):
        gateway = self.started(daemon={'workers': 2})
        self.assertEqual(self.answer('sessions'), 'no sessions\n')
        pairs = [self.session(gateway) for _ in range(3)]
        lines = self.answer('sessions').splitlines()
        self.assertEqual(len(lines), 3)
        for line in lines:
            self.assertIn(' state=open ', line)
            self.assertIn(' client=tester ', line)
        pairs[0][0].end()
        wait_until(lambda: len(self.answer('sessions').splitlines()) == 2, 'the session to go')

    def test_one_session_names_its_waits(self):
        gateway = self.started()
        self.session(gateway)
        identity = self.answer('sessions').split()[0].removeprefix('session=')
        detail = self.answer('session', identity)
        for part in (f'session={identity} ', 'client_not_read_because=-', 'provider_not_read_because=-', 'unsent_up=0'):
            self.assertIn(part, detail)
        self.assertEqual(self.answer('session', 'nobody'), 'no such session\n')

    def test_a_ledger_tells_what_happened(self):
        gateway = self.started()
        client, provider = self.session(gateway)
        identity = self.answer('sessions').split()[0].removeprefix('session=')
        for _ in range(3):
            client.event('input_audio_buffer.append', audio='AAAA')
            provider.take_event('input_audio_buffer.append')
        provider.event('rate_limits.updated', event_id='one', note='swordfish')
        client.take_event('rate_limits.updated')
        lines = self.answer('session', identity, 'ledger').splitlines()
        self.assertTrue(lines[0].startswith(f'session={identity} entries={len(lines) - 1} forgotten=0 '))
        self.assertIn('from=provider opened', lines[1])
        self.assertRegex(lines[-2], r'from=client said input_audio_buffer.append bytes=162 count=3 until=\S+ forwarded')
        self.assertIn('from=provider said rate_limits.updated event=one', lines[-1])
        self.assertNotIn('swordfish', '\n'.join(lines))
        self.assertEqual(self.answer('session', 'nobody', 'ledger'), 'no such session\n')

    def test_guesses_are_shown_and_switched(self):
        tool = {'name': 'get_order', 'description': 'x', 'effect': 'read', 'disclosure': 'local',
                'parameters': {'type': 'object'}, 'request': {'method': 'GET', 'url': 'http://127.0.0.1:1/'}}
        gateway = self.started(tool=[tool])
        self.assertEqual(self.answer('speculation', 'show'),
                         'all mode=configured shadow=no passes=0 tokens=0 cents=0.000000\n')
        self.assertEqual(self.answer('speculation', 'shadow', 'get_order'),
                         'get_order: shadow until changed or the gateway restarts\n')
        self.assertIn('tool=get_order mode=shadow killed=no ', self.answer('speculation', 'show', 'get_order'))
        self.answer('speculation', 'off')
        self.assertTrue(self.answer('speculation', 'show').startswith('all mode=off '))
        self.answer('speculation', 'on')
        self.assertTrue(self.answer('speculation', 'show').startswith('all mode=on '))
        self.assertIn('backchannel_spec_tool_killed{tool="get_order"} 0\n', gateway.fetch('/metrics')[1])
        for words in (('speculation', 'show', 'nobody'), ('speculation', 'maybe'), ('speculation', 'off', 'nobody')):
            status, out, _ = self.ask(*words)
            self.assertEqual(status, 1)
            self.assertTrue(out.startswith('error: '), out)

    def test_guesses_of_an_earlier_life_are_remembered(self):
        tool = {'name': 'get_order', 'description': 'x', 'effect': 'read', 'disclosure': 'local',
                'parameters': {'type': 'object'}, 'request': {'method': 'GET', 'url': 'http://127.0.0.1:1/'}}
        gateway = self.started(tool=[tool])
        gateway.stop()
        with contextlib.closing(sqlite3.connect(gateway.path('journal.db'))) as journal, journal:
            wall = int(time.time() * 1e6)
            journal.execute("INSERT INTO intents VALUES (1, ?, x'00', 's', 1, 'get_order', '{}', '', 'read', 1, 'k', 0, "
                            "x'')", (wall,))
            journal.execute("INSERT INTO results VALUES (1, ?, x'00', 200, '{}', x'')", (wall + 250000,))
            journal.execute("INSERT INTO settlements VALUES (1, ?, x'00', 'used', '')", (wall,))
        gateway.start()
        self.assertIn('tool=get_order mode=configured killed=no kills=0 usual_seconds=0.250\n',
                      self.answer('speculation', 'show'))

    def secret_tools(self):
        self.echo = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Echo)
        self.echo.heard = []
        threading.Thread(target=self.echo.serve_forever, daemon=True).start()
        self.addCleanup(self.echo.server_close)
        self.addCleanup(self.echo.shutdown)
        base = f'http://127.0.0.1:{self.echo.server_port}'
        schema = {'type': 'object', 'properties': {'pin': {'type': 'string'}, 'name': {'type': 'string'}}}
        return [{'name': name, 'description': 'x', 'effect': effect, 'disclosure': 'local', 'secret_arguments': ['pin'],
                 'parameters': json.dumps(schema), 'request': {'method': 'POST', 'url': base + path, 'body': '{*}'}}
                for name, (effect, path) in SECRET_TOOLS.items()]

    def make_calls(self, provider, calls):
        """A response with these calls; the outputs the gateway puts in for them."""
        response = {'object': 'realtime.response', 'id': 'r1', 'metadata': None, 'conversation_id': 'conv_1'}
        provider.event('response.created', response={**response, 'status': 'in_progress', 'output': []})
        items = [{'id': f'f{n}', 'object': 'realtime.item', 'type': 'function_call', 'status': 'completed', 'name': name,
                  'call_id': f'c{n}', 'arguments': json.dumps(arguments)} for n, (name, arguments) in enumerate(calls)]
        for index, item in enumerate(items):
            begun = {**item, 'status': 'in_progress', 'arguments': ''}
            provider.event('response.output_item.added', response_id='r1', output_index=index, item=begun)
            provider.event('response.function_call_arguments.done', response_id='r1', output_index=index,
                           item_id=item['id'], call_id=item['call_id'], arguments=item['arguments'])
            provider.event('response.output_item.done', response_id='r1', output_index=index, item=item)
        provider.event('response.done', response={**response, 'status': 'completed', 'output': items})
        return {item['call_id']: item['output']
                for item in (provider.take_event('conversation.item.create')['item'] for _ in calls)}

    def test_secret_arguments_are_shown_nowhere(self):
        gateway = self.gateway(tool=self.secret_tools(), journal={'secret_key': 'file:seal.key'})
        gateway.config['control'] = {'socket': self.socket}
        gateway.write('seal.key', 'k' * 40 + '\n')
        gateway.start()
        client, provider = self.session(gateway)
        update = provider.take_event('session.update')
        provider.event('session.updated', session={'type': 'realtime', 'tools': update['session']['tools']})
        identity = self.answer('sessions').split()[0].removeprefix('session=')
        arguments = {'pin': SECRET, 'name': 'plain-name'}
        outputs = self.make_calls(provider, [*((name, arguments) for name in SECRET_TOOLS),
                                             ('look', {'pin': [SECRET]})])
        # It does reach those it is meant for.
        self.assertEqual(self.echo.heard, [arguments] * len(SECRET_TOOLS))
        self.assertEqual(json.loads(outputs['c0']), arguments)
        shown = {'session': self.answer('session', identity), 'ledger': self.answer('session', identity, 'ledger'),
                 'sessions': self.answer('sessions'), 'guesses': self.answer('speculation', 'show'),
                 'metrics': gateway.fetch('/metrics')[1], 'list': gateway.journal('list'),
                 'list, asked': self.answer('journal', 'list')}
        self.assertIn('tool=charge', shown['ledger'])
        client.end()
        gateway.wait_metric('sessions_open', 0)
        gateway.stop()
        shown['show'] = gateway.journal('show', identity)
        shown['log'] = gateway.log()
        self.assertIn('plain-name', shown['show'])
        self.assertIn('[secret]', shown['show'])
        self.assertIn('in_doubt', shown['show'])
        for name in os.listdir(self.folder):
            if name.startswith('journal.db'):
                with open(gateway.path(name), 'rb') as file:
                    shown[name] = file.read().decode('latin-1')
        self.assertIn('plain-name', shown['journal.db'])
        for place, text in shown.items():
            for part in ('sword', 'fish-4711'):
                self.assertNotIn(part, text, place)

    def test_memory_is_bounded_by_two_numbers(self):
        gateway = self.started(session={'backlog_high': '128KiB', 'message_max': '1MiB'})
        self.session(gateway)
        text = self.answer('memory')
        self.assertIn('sessions=1 ', text)
        self.assertIn('131072', text)
        self.assertIn('1048576', text)

    def test_the_socket_is_the_owners_and_goes_with_the_daemon(self):
        gateway = self.started()
        self.assertEqual(stat.S_IMODE(os.stat(self.socket).st_mode), 0o600)
        gateway.stop()
        self.assertFalse(os.path.exists(self.socket))
        status, out, err = self.ask('sessions')
        self.assertEqual((status, out), (1, ''))
        self.assertIn('cannot reach the gateway', err)

    def test_a_socket_left_over_is_taken_over(self):
        gateway = self.started()
        gateway.kill()
        self.assertTrue(os.path.exists(self.socket))
        gateway.start()
        self.assertEqual(self.answer('sessions'), 'no sessions\n')

    def test_a_file_in_the_way_is_left_alone(self):
        with open(self.socket, 'w', encoding='utf-8') as file:
            file.write('precious')
        gateway = self.started()
        self.assertIn('cannot remove what is there', gateway.log())
        gateway.stop()
        with open(self.socket, encoding='utf-8') as file:
            self.assertEqual(file.read(), 'precious')

    def test_a_question_at_the_very_end_does_no_harm(self):
        """The question and both orders to end come in one turn of the loop: the workers answer a daemon that ends."""
        gateway = self.started(daemon={'workers': 2})
        peers = [socket.socket(socket.AF_UNIX) for _ in range(4)]
        for peer in peers:
            self.addCleanup(peer.close)
            peer.connect(self.socket)
        self.answer('sessions')  # connections are taken in turn: the others are by now
        gateway.signal(signal.SIGSTOP)
        for peer in peers:
            peer.sendall(b'sessions\n')
        gateway.signal(signal.SIGTERM)
        gateway.signal(signal.SIGINT)
        gateway.signal(signal.SIGCONT)
        self.assertEqual(gateway.wait(), 0)

    def test_whoever_asks_nonsense_or_nothing_costs_nothing(self):
        self.started()
        silent = [socket.socket(socket.AF_UNIX) for _ in range(8)]
        for peer in silent:
            self.addCleanup(peer.close)
            peer.connect(self.socket)
        silent[0].sendall(b'x' * 4096 + b'\n')
        silent[1].sendall(b'sessions')
        silent[1].close()
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(self.socket)
            peer.sendall(b'nonsense\n')
            self.assertIn(b'unknown request', peer.recv(4096))
        self.assertEqual(self.answer('sessions'), 'no sessions\n')


if __name__ == '__main__':
    run()
