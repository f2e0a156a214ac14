#!/usr/bin/env python3
"""What an operator does: stop, reload, look at the admin listener, start twice by mistake.

Usage: test_operation.py BUILD SOURCE
"""
import os
import re
import shutil
import signal
import socket
import tempfile

from gateway import Case, Gateway, run
from test_relay import order_tools
from ws import Closed, Refused, wait_until


class Stopping(Case):
    def wait_refusal(self, gateway):
        """Until new connections are not taken any more."""
        def refused():
            try:
                with socket.create_connection(('127.0.0.1', gateway.port), 30):
                    return False
            except ConnectionRefusedError:
                return True

        wait_until(refused, 'the listener to close')

    def test_drain_lets_a_call_finish(self):
        gateway = self.gateway().start()
        client, provider = self.session(gateway)
        gateway.signal(signal.SIGTERM)
        self.wait_refusal(gateway)
        self.assertEqual(gateway.fetch('/readyz'), (503, 'draining\n'))
        self.assertEqual(gateway.fetch('/healthz'), (200, 'ok\n'))
        for n in range(50):
            client.send(f'question {n}')
            self.assertEqual(provider.take(), f'question {n}')
            provider.send(f'answer {n}')
            self.assertEqual(client.take(), f'answer {n}')
        self.assertIsNone(gateway.process.poll())
        client.close()
        self.assertEqual(provider.closing()[0], 1000)
        self.assertEqual(gateway.wait(), 0)

    def test_idle_daemon_ends_at_once(self):
        gateway = self.gateway().start()
        gateway.signal(signal.SIGTERM)
        self.assertEqual(gateway.wait(), 0)

    def test_second_signal_ends_calls(self):
        gateway = self.gateway().start()
        client, provider = self.session(gateway)
        gateway.signal(signal.SIGTERM)
        self.wait_refusal(gateway)
        gateway.signal(signal.SIGINT)
        code, reason, messages = client.closing()
        self.assertEqual((code, reason, len(messages)), (1001, 'gateway_shutdown', 1))
        self.assertIn('"code":"gateway_shutdown"', messages[0])
        self.assertEqual(provider.closing()[0], 1001)
        self.assertEqual(gateway.wait(), 0)

    def test_drain_has_an_end(self):
        gateway = self.gateway(daemon={'drain_timeout': '200ms'}).start()
        client, provider = self.session(gateway)
        gateway.signal(signal.SIGTERM)
        self.assertEqual(client.closing()[:2], (1001, 'gateway_shutdown'))
        provider.lost()
        self.assertEqual(gateway.wait(), 0)


class Reload(Case):
    """New sessions see a new configuration, running ones keep theirs."""

    def offered(self):
        """Names of the tools the provider of a new session is offered, and that session."""
        client, provider = self.session(self.running)
        update = provider.take_event('session.update')
        return sorted(tool['name'] for tool in update['session']['tools']), client, provider

    def reload(self, text, extra=''):
        before = self.running.log().count(text)
        self.running.write_config(extra)
        self.running.signal(signal.SIGHUP)
        wait_until(lambda: self.running.log().count(text) > before, text)

    def test_tools(self):
        self.running = gateway = self.gateway(tool=order_tools()[:2]).start()
        names = sorted(tool['name'] for tool in order_tools()[:2])
        offered, client, provider = self.offered()
        self.assertEqual(offered, names)
        gateway.config['tool'] = order_tools()
        self.reload('configuration read again')
        everything = sorted(tool['name'] for tool in order_tools())
        # The order to reload reaches workers after the line is written; each session asks one of them.
        wait_until(lambda: self.offered()[0] == everything, 'the new tools')
        client.send('{"type":"still.here"}')
        self.assertEqual(provider.take(), '{"type":"still.here"}')
        provider.send('{"type":"still.there"}')
        self.assertEqual(client.take(), '{"type":"still.there"}')

        gateway.config['tool'] = order_tools()[:1]
        self.reload('keeping the old one', extra='\n[[tool]]\nname = 7\nnonsense = true\n')
        path = re.escape(gateway.path('backchannel.toml'))
        self.assertRegex(gateway.log(), rf'<3>({path}|backchannel.toml):\d+:\d+: ')
        self.assertEqual(self.offered()[0], everything)

        self.reload('configuration read again')
        wait_until(lambda: len(self.offered()[0]) == 1, 'the tools after the repair')

    def test_keys(self):
        self.running = gateway = self.gateway().start()
        client, provider = self.session(gateway)
        gateway.config['client_key'][0]['sha256'] = '0' * 64
        self.reload('configuration read again')

        def refused():
            try:
                client = gateway.connect()
            except Refused as answer:
                return answer.status
            client.end()
            self.server.accept().end()
            return None

        self.assertEqual(wait_until(refused, 'a refusal'), 401)
        client.send('a session outlives its key')
        self.assertEqual(provider.take(), 'a session outlives its key')


    def test_the_time_for_a_handshake(self):
        self.running = gateway = self.gateway(session={'handshake_timeout': '5m'}).start()
        gateway.config['session']['handshake_timeout'] = '100ms'
        self.reload('configuration read again')

        def is_cut(port):
            # The order reaches workers after the line is written: one that comes before it is not waited for.
            with socket.create_connection(('127.0.0.1', port), 1) as silent:
                try:
                    return silent.recv(1) == b''
                except TimeoutError:
                    return False

        for port in gateway.port, gateway.admin:
            wait_until(lambda port=port: is_cut(port), 'a silent client to be cut')
        self.assertNotIn('only a restart', gateway.log())


class Admin(Case):
    def test_pages(self):
        gateway = self.gateway().start()
        self.assertEqual(gateway.fetch('/healthz'), (200, 'ok\n'))
        self.assertEqual(gateway.fetch('/readyz'), (200, 'ready\n'))
        self.assertEqual(gateway.fetch('/else')[0], 404)
        self.assertEqual(gateway.fetch('/v1/realtime')[0], 404)

    def test_metrics(self):
        gateway = self.gateway().start()
        client, provider = self.session(gateway)
        client.send('12345')
        provider.take()
        provider.send(b'1234567')
        client.take()
        status, text = gateway.fetch('/metrics')
        self.assertEqual(status, 200)
        values = {}
        told = {}
        for line in text.splitlines():
            if line.startswith('# HELP '):
                name = line.split()[2]
            elif line.startswith('# TYPE '):
                self.assertRegex(line, f'^# TYPE {name} (counter|gauge)$')
                told[name] = True
            else:
                sample, number = line.rsplit(' ', 1)
                self.assertEqual(sample.partition('{')[0], name)
                self.assertIn(name, told)
                values[sample.removeprefix('backchannel_')] = float(number)
        # What tells of waiting grows by itself: whether the provider was waited for is the machine's matter.
        counted = {name: value for name, value in values.items()
                   if value and not name.startswith('wait_') and 'milliseconds' not in name}
        self.maxDiff = None
        self.assertEqual(counted,
                         {'sessions_total': 1, 'sessions_open': 1, 'client_messages_total': 1,
                          'upstream_messages_total': 1, 'client_bytes_total': 5, 'upstream_bytes_total': 7,
                          'upstream_connects_total': 1})
        client.close()
        with self.assertRaises(Closed):
            provider.take()
        gateway.wait_metric('sessions_open', 0)

    def test_plain_request_to_the_listener(self):
        gateway = self.gateway().start()
        with socket.create_connection(('127.0.0.1', gateway.port), 30) as sock:
            sock.sendall(b'GET /v1/realtime HTTP/1.1\r\nHost: x\r\n\r\n')
            self.assertTrue(sock.recv(1000).startswith(b'HTTP/1.1 426 '))
        with socket.create_connection(('127.0.0.1', gateway.admin), 30) as sock:
            sock.sendall(b'GET /v1/realtime HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
                         b'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n')
            self.assertTrue(sock.recv(1000).startswith(b'HTTP/1.1 404 '))


class Starting(Case):
    def test_second_daemon_on_one_journal(self):
        first = self.gateway(tool=order_tools()).start()
        folder = tempfile.mkdtemp(prefix='e2e-')
        self.addCleanup(shutil.rmtree, folder)
        second = Gateway(folder, 'ws://127.0.0.1:9/v1/realtime')
        self.addCleanup(second.end)
        second.config['tool'] = order_tools()
        second.config['journal']['path'] = first.path('journal.db')
        second.spawn()
        self.assertEqual(second.wait(), 2)
        self.assertRegex(second.log(), rf'journal {first.path("journal.db")} is held by process {first.process.pid}\b')
        # The first one has not noticed.
        _, provider = self.session(first)
        provider.take_event('session.update')
        first.stop()
        second.start()

    def test_configuration_that_is_wrong(self):
        gateway = self.gateway(daemon={'drain_timeout': 'soon'})
        gateway.spawn()
        self.assertEqual(gateway.wait(), 2)
        self.assertRegex(gateway.log(), r'backchannel\.toml:\d+:\d+: ')
        self.assertFalse(os.path.exists(gateway.path('journal.db')))

    def test_port_that_is_taken(self):
        gateway = self.gateway()
        with socket.socket() as taken:
            taken.bind(('127.0.0.1', 0))
            taken.listen()
            gateway.config['listen'][0]['port'] = taken.getsockname()[1]
            gateway.spawn()
            self.assertEqual(gateway.wait(), 1)
        self.assertIn(f'port {gateway.config["listen"][0]["port"]}: bind: ', gateway.log())


if __name__ == '__main__':
    run()
