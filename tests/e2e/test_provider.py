#!/usr/bin/env python3
"""The provider cannot be reached, refuses, answers nonsense or goes away: the client is always told what happened.

Usage: test_provider.py BUILD SOURCE
"""
import json
import signal
import ssl
import threading
import time

from gateway import Case, ReservedPort, make_certificate, run
from test_relay import order_tools
from ws import CLOSE, TEXT, Server, header

RESPONSE = {'object': 'realtime.response', 'id': 'resp_1', 'status': 'in_progress', 'output': [], 'metadata': None,
            'conversation_id': 'conv_1'}


class ProviderCase(Case):
    def check_end(self, client, code, error_code, error_type='server_error', before=()):
        """What was there before, one error event, the close."""
        closed, _, messages = client.closing()
        self.assertEqual(closed, code)
        events = [json.loads(message) for message in messages]
        self.assertEqual([event['type'] for event in events], [*before, 'error'], events)
        error = events[-1]['error']
        self.assertTrue(events[-1]['event_id'])
        self.assertEqual((error['type'], error['code'], error['event_id']), (error_type, error_code, None))
        self.assertGreater(len(error['message']), 20)
        self.assertNotIn('sk-', error['message'])
        return events


class Unreachable(ProviderCase):
    def client(self, gateway):
        client = gateway.connect()
        self.addCleanup(client.end)
        return client

    def test_closed_port(self):
        port = ReservedPort()  # bound, so that nobody takes it, and without a listener
        self.addCleanup(port.end)
        gateway = self.gateway(f'ws://127.0.0.1:{port.number}/v1/realtime').start()
        for _ in range(3):
            self.check_end(self.client(gateway), 1013, 'upstream_unavailable')
        gateway.wait_metric('sessions_open', 0)
        self.assertEqual(gateway.metric('upstream_connect_errors_total'), 3)

    def test_unknown_name(self):
        gateway = self.gateway('ws://nobody.invalid:1/v1/realtime').start()
        self.check_end(self.client(gateway), 1013, 'upstream_unavailable')

    def test_silence(self):
        gateway = self.gateway(upstream={'connect_timeout': '300ms'}).start()
        began = time.monotonic()
        client = self.client(gateway)
        client.send('kept for nobody')
        self.check_end(client, 1013, 'upstream_timeout')
        self.assertGreaterEqual(time.monotonic() - began, 0.29)

    def test_silence_inside_tls(self):
        self.tls = True
        gateway = self.gateway(upstream={'connect_timeout': '300ms'}).start()
        self.check_end(self.client(gateway), 1013, 'upstream_timeout')

    def test_certificate_of_somebody_else(self):
        self.tls = True
        make_certificate(self.folder)  # for localhost and 127.0.0.1
        server = self.provider_server(address='127.0.0.2')
        gateway = self.gateway(f'wss://127.0.0.2:{server.port}/v1/realtime').start()
        heard = []

        def listen():
            try:
                heard.append(server.accept_raw()[1])
            except (ssl.SSLError, ConnectionError):
                heard.append('no request')

        thread = threading.Thread(target=listen)
        thread.start()
        self.check_end(self.client(gateway), 1013, 'upstream_unavailable')
        thread.join()
        self.assertEqual(heard, ['no request'])


class Refusing(ProviderCase):
    def refuse(self, status, close_code, error_code, error_type):
        client = self.gateway_.connect()
        self.addCleanup(client.end)
        sock, _, _ = self.server.accept_raw()
        body = b'{"error":{"message":"Incorrect API key provided: sk-****."}}'
        sock.sendall(f'HTTP/1.1 {status} No\r\nContent-Length: {len(body)}\r\n\r\n'.encode() + body)
        self.check_end(client, close_code, error_code, error_type)
        sock.close()

    def test_statuses(self):
        self.gateway_ = self.gateway().start()
        for status in (400, 401, 403, 404):
            self.refuse(status, 4003, 'upstream_refused', 'invalid_request_error')
        for status in (429, 500, 503):
            self.refuse(status, 1013, 'upstream_unavailable', 'server_error')
        self.gateway_.wait_metric('sessions_open', 0)

    def test_answers_that_are_none(self):
        self.gateway_ = self.gateway().start()
        for answer in (b'SSH-2.0-OpenSSH_9.2\r\n\r\n', b'HTTP/1.1 101 Yes\r\n\r\n',
                       b'HTTP/1.1 101 Yes\r\nX: ' + b'y' * 200000, b''):
            client = self.gateway_.connect()
            self.addCleanup(client.end)
            sock, _, _ = self.server.accept_raw()
            try:
                sock.sendall(answer)
            except ConnectionError:
                pass  # it has heard enough
            sock.close()
            self.check_end(client, 1013, 'upstream_unavailable')


class Leaving(ProviderCase):
    """The connection of a session that was going on."""

    tools = ()

    def open(self):
        gateway = self.gateway(tool=list(self.tools)).start()
        client, provider = self.session(gateway)
        if self.tools:
            update = provider.take_event('session.update')
            provider.event('session.updated', event_id='e1',
                           session={'type': 'realtime', 'tools': update['session']['tools']})
        return gateway, client, provider

    def open_response(self):
        gateway, client, provider = self.open()
        client.event('response.create', event_id='c1')
        provider.take_event('response.create')
        provider.event('response.created', event_id='e2', response=RESPONSE)
        client.take_event('response.created')
        provider.event('response.output_item.added', event_id='e3', response_id='resp_1', output_index=0,
                       item={'id': 'item_1', 'object': 'realtime.item', 'type': 'message', 'role': 'assistant',
                             'status': 'in_progress', 'content': []})
        client.take_event('response.output_item.added')
        return gateway, client, provider

    def check_failed_response(self, events):
        done = events[0]['response']
        self.assertEqual((done['id'], done['status']), ('resp_1', 'failed'))
        self.assertEqual(done['status_details']['type'], 'failed')

    def test_dropped_in_a_response(self):
        for end in ('end', 'reset'):
            with self.subTest(end):
                gateway, client, provider = self.open_response()
                getattr(provider, end)()
                events = self.check_end(client, 1013, 'upstream_lost', before=['response.done'])
                self.check_failed_response(events)
                self.assertEqual(gateway.metric('upstream_lost_total'), 1)
                gateway.stop()

    def test_closed_in_a_response(self):
        _, client, provider = self.open_response()
        provider.close(1001, 'expired')
        code, reason, messages = client.closing()
        self.assertEqual((code, reason), (1001, 'expired'))
        self.check_failed_response([json.loads(message) for message in messages])
        self.assertEqual(len(messages), 1)

    def test_dropped_without_a_response(self):
        _, client, provider = self.open()
        provider.reset()
        self.check_end(client, 1013, 'upstream_lost')

    def test_breaking_the_protocol(self):
        masked_frame = header(TEXT, 2, key=b'abcd') + b'hi'
        for nonsense, code in ((masked_frame, 1002), (header(3, 0), 1002), (header(TEXT, 1) + b'\xff', 1007),
                               (header(CLOSE, 1) + b'x', 1002), (header(0, 0), 1002)):
            with self.subTest(nonsense):
                gateway, client, provider = self.open()
                provider.raw(nonsense)
                self.check_end(client, 1013, 'upstream_lost')
                self.assertEqual(provider.closing()[0], code)
                self.assertEqual(gateway.metric('upstream_protocol_errors_total'), 1)
                gateway.stop()


class LeavingWithTools(Leaving):
    tools = order_tools()


class ClientLeaves(ProviderCase):
    """The client goes while the provider is being reached; stopping the daemon makes both news arrive at once."""

    def leave_with(self, answer):
        gateway = self.gateway().start()
        for leave in ('close', 'reset', 'end') * 4:
            client = gateway.connect()
            sock, head, _ = self.server.accept_raw()
            gateway.signal(signal.SIGSTOP)
            getattr(client, leave)()
            answer(sock, head)
            gateway.signal(signal.SIGCONT)
            gateway.wait_metric('sessions_open', 0)
            sock.close()
            client.end()
        # It still works.
        client, provider = self.session(gateway)
        client.send('hello')
        self.assertEqual(provider.take(), 'hello')

    def test_while_the_provider_accepts(self):
        self.leave_with(lambda sock, head: Server.upgrade(sock, head))

    def test_while_the_provider_refuses(self):
        self.leave_with(lambda sock, head: sock.sendall(b'HTTP/1.1 503 No\r\n\r\n'))

    def test_while_the_provider_hangs_up(self):
        self.leave_with(lambda sock, head: sock.close())


if __name__ == '__main__':
    run()
