#!/usr/bin/env python3
"""Every limit of a session, reached from outside: what the client is told, and that others go on.

Usage: test_limits.py BUILD SOURCE
"""
import json
import socket
import ssl
import threading

from gateway import Case, run
from ws import BINARY, PATIENCE, TEXT, Closed, Lost, Refused, header

LEAST_MESSAGE_MAX = 64 << 10


class Limits(Case):
    def check_error(self, client, close_code, error_code):
        code, _, messages = client.closing()
        events = [json.loads(message) for message in messages]
        self.assertEqual([(event['type'], event['error']['code']) for event in events], [('error', error_code)])
        self.assertEqual(code, close_code)

    def test_longest_message(self):
        gateway = self.gateway(session={'message_max': '64KiB'}).start()
        client, provider = self.session(gateway)
        other, others_provider = self.session(gateway)
        longest = b'm' * LEAST_MESSAGE_MAX
        client.send(longest)
        self.assertEqual(provider.take(), longest)
        provider.send(longest)
        self.assertEqual(client.take(), longest)
        # The header alone is enough; the rest is never sent.
        client.raw(header(BINARY, LEAST_MESSAGE_MAX + 1, key=b'abcd'))
        self.assertEqual(client.closing()[0], 1009)
        provider.lost()
        gateway.wait_metric('limit_closes_total', 1)
        other.send('others go on')
        self.assertEqual(others_provider.take(), 'others go on')

    def test_longest_message_in_pieces(self):
        gateway = self.gateway(session={'message_max': '64KiB'}).start()
        client, _ = self.session(gateway)
        client.raw(client.frame(TEXT, b'm' * LEAST_MESSAGE_MAX, fin=False))
        client.raw(header(0, 1, key=b'abcd'))
        self.assertEqual(client.closing()[0], 1009)

    def test_longest_message_of_a_provider(self):
        gateway = self.gateway(session={'message_max': '64KiB'}).start()
        client, provider = self.session(gateway)
        provider.raw(header(TEXT, 1 << 40))
        self.assertEqual(provider.closing()[0], 1009)
        self.check_error(client, 1013, 'upstream_lost')

    def test_absurd_length(self):
        gateway = self.gateway().start()
        client, _ = self.session(gateway)
        client.raw(b'\x82\xff' + b'\xff' * 8 + b'abcd')
        self.assertIn(client.closing()[0], (1002, 1009))

    def test_start_queue_stops_the_client(self):
        """Before the provider is there a bounded part is taken; the rest waits with the client, nothing is lost."""
        gateway = self.gateway(session={'start_queue_max': '64KiB'}).start()
        client = gateway.connect()
        self.addCleanup(client.end)
        sock, head, _ = self.server.accept_raw()
        messages = [bytes([n]) * 16384 for n in range(200)]  # 3.2 MB: no socket buffers hold them
        data = b''.join(client.frame(BINARY, message) for message in messages)
        client.socket.settimeout(0.5)
        sent = 0
        try:
            while sent < len(data):
                sent += client.socket.send(data[sent:sent + 65536])
            self.fail('everything was taken although the queue holds 64 KiB')
        except TimeoutError:
            pass
        self.assertEqual(gateway.metric('client_reads_paused_total'), 1)
        self.assertEqual(gateway.metric('client_messages_total'), 4)
        provider = self.server.upgrade(sock, head)
        self.addCleanup(provider.end)
        client.socket.settimeout(30)
        taken = [provider.take() for _ in range(4)]
        client.raw(data[sent:])
        taken += [provider.take() for _ in range(len(messages) - 4)]
        self.assertTrue(taken == messages)

    def test_idle(self):
        gateway = self.gateway(session={'idle_timeout': '1s'}).start()
        client, provider = self.session(gateway)
        client.raw(client.frame(9, b'a ping is no message'))
        self.check_error(client, 1001, 'session_idle')
        provider.lost()
        gateway.wait_metric('sessions_open', 0)

    def test_lifetime(self):
        gateway = self.gateway(session={'lifetime_max': '1s', 'idle_timeout': '1s'}).start()
        client, provider = self.session(gateway)

        def talk():
            """Never idle, until the end comes."""
            try:
                while True:
                    provider.send('{"type":"conversation.item.added"}')
                    provider.take()
            except (Closed, Lost, OSError):
                return

        thread = threading.Thread(target=talk)
        thread.start()
        client.socket.settimeout(PATIENCE)
        try:
            while client.take_event()['type'] != 'error':
                client.event('conversation.item.create')
            self.assertEqual(client.events[-1]['error']['code'], 'session_expired')
            self.assertEqual(client.closing(), (1001, 'session_expired', []))
        finally:
            client.end()
            thread.join()

    def test_pings_and_a_client_that_does_not_answer(self):
        gateway = self.gateway(session={'ping_interval': '100ms', 'ping_timeout': '300ms'}).start()
        client, provider = self.session(gateway)
        closes = []
        thread = threading.Thread(target=lambda: closes.append(provider.closing()))  # which answers its pings
        thread.start()
        self.assertEqual(client.take_frame(), (1, 9, b''))
        client.answers_pings = False
        client.lost()
        thread.join()
        self.assertEqual(closes, [(1001, '', [])])
        self.assertIn('session ended why="TIMEOUT"', gateway.log())

    def test_pings_and_a_provider_that_does_not_answer(self):
        gateway = self.gateway(session={'ping_interval': '100ms', 'ping_timeout': '300ms'}).start()
        client, _ = self.session(gateway)
        self.check_error(client, 1013, 'upstream_lost')

    def test_pings_answered_keep_a_session(self):
        gateway = self.gateway(session={'ping_interval': '100ms', 'ping_timeout': '3s'}).start()
        client, provider = self.session(gateway)
        for end in (client, provider) * 2:
            self.assertEqual(end.take_frame(), (1, 9, b''))
            end.raw(end.frame(10))
        client.send('still here')
        while provider.take_frame()[1] == 9:
            pass

    def test_most_sessions(self):
        gateway = self.gateway(daemon={'sessions_max': 2}).start()
        first, provider = self.session(gateway)
        self.session(gateway)
        with self.assertRaises(Refused) as refused:
            gateway.connect()
        self.assertEqual(refused.exception.status, 503)
        self.assertEqual(json.loads(refused.exception.body)['error']['code'], 'gateway_full')
        first.close()
        provider.lost()
        gateway.wait_metric('sessions_open', 1)
        client, provider = self.session(gateway)
        client.send('room again')
        self.assertEqual(provider.take(), 'room again')

    def test_guessing_keys(self):
        """Wrong keys are sessions of their address; when it has had enough, not even a right one is told apart."""
        gateway = self.gateway()
        gateway.config['limits'] = {'address_sessions_per_second': 1}
        gateway.start()
        answers = []
        while 429 not in answers and len(answers) < 100:
            with self.assertRaises(Refused) as refused:
                gateway.connect(key='bk-wrong')
            answers.append(refused.exception.status)
        self.assertEqual(set(answers), {401, 429})
        self.assertEqual(gateway.metric('quota_refused_total'), 1)
        self.assertEqual(gateway.metric('client_keys_refused_total'), len(answers))

    def test_slow_handshake(self):
        gateway = self.gateway(session={'handshake_timeout': '200ms'}).start()
        for beginning in (b'', b'GET /v1/realtime HTTP/1.1\r\nHost: x\r\n'):
            with socket.create_connection(('127.0.0.1', gateway.port), 30) as sock:
                sock.sendall(beginning)
                try:
                    self.assertEqual(sock.recv(1000), b'')
                except ConnectionResetError:
                    pass
        client, _ = self.session(gateway)  # a session that is through is not concerned
        client.send('x')

    def test_slow_tls_handshake(self):
        self.tls = True
        gateway = self.gateway(session={'handshake_timeout': '200ms'}).start()
        with socket.create_connection(('127.0.0.1', gateway.port), 30) as sock:
            sock.sendall(b'\x16\x03\x01')  # a record that never comes
            try:
                self.assertEqual(sock.recv(1000), b'')
            except ConnectionResetError:
                pass
        context = ssl.create_default_context(cafile=gateway.path('cert.pem'))
        with socket.create_connection(('127.0.0.1', gateway.port), 30) as sock:
            with context.wrap_socket(sock, server_hostname='localhost') as wrapped:
                wrapped.sendall(b'GET / HTTP/1.1\r\n')
                try:
                    self.assertEqual(wrapped.recv(1000), b'')
                except (ConnectionResetError, ssl.SSLError):
                    pass

    def test_endless_request_head(self):
        gateway = self.gateway().start()
        with socket.create_connection(('127.0.0.1', gateway.port), 30) as sock:
            answer = b''
            try:
                sock.sendall(b'GET /v1/realtime HTTP/1.1\r\nX: ' + b'y' * 200000)
                answer = sock.recv(1000)
            except (ConnectionResetError, BrokenPipeError):
                pass
            self.assertTrue(answer == b'' or answer.startswith(b'HTTP/1.1 4'), answer)
        self.session(gateway)


class Keys(Case):
    def refused(self, gateway, status, code, **named):
        with self.assertRaises(Refused) as refused:
            gateway.connect(**named)
        self.assertEqual(refused.exception.status, status)
        self.assertEqual(json.loads(refused.exception.body)['error']['code'], code)

    def test_wrong_key(self):
        gateway = self.gateway().start()
        self.refused(gateway, 401, 'invalid_api_key', key='bk-wrong')
        self.refused(gateway, 401, 'invalid_api_key', key=gateway.client_key + 'x')
        self.refused(gateway, 401, 'invalid_api_key', key=gateway.client_key[:-1])
        self.refused(gateway, 401, 'invalid_api_key', key=gateway.provider_key)
        self.assertEqual(gateway.metric('client_keys_refused_total'), 4)
        self.assertEqual(gateway.metric('handshakes_refused_total'), 4)

    def test_key_from_elsewhere(self):
        gateway = self.gateway().start()
        for query, headers in (
                (f'model=x&api-key={gateway.client_key}', ['Authorization: none']),
                ('model=x', [f'api-key: {gateway.client_key}', 'Authorization: none']),
                ('model=x', ['Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.' + gateway.client_key])):
            client = gateway.connect_with(query, headers)
            self.addCleanup(client.end)
            provider = self.server.accept()
            self.addCleanup(provider.end)
            self.assertNotIn(gateway.client_key, provider.head)
            self.assertNotIn(gateway.client_key, client.head)

    def test_other_requests(self):
        gateway = self.gateway().start()
        self.refused(gateway, 400, 'beta_api_shape_disabled', headers=['OpenAI-Beta: realtime=v1'])
        self.assertEqual(gateway.metric('sessions_total'), 0)


if __name__ == '__main__':
    run()
