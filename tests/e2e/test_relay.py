#!/usr/bin/env python3
"""Message payloads pass unchanged and in order, whatever they hold and however they are cut into frames.

Usage: test_relay.py BUILD SOURCE
"""
import json
import os
import threading

from gateway import Case, dialogue, run
from ws import PING

AWKWARD = [
    '{"type":"session.update","type":"session.update"}',
    '{"type" : "x" ,\t"a":1 , "a":2,\r\n "b" : [ 1 ,2 ] }  ',
    '\n{"type":"response.create","x":"\\u00e9\\ud83d\\ude00\\/\\u0000"}',
    '{"type":"r\\u0065sponse.create","response":{"tools":[]}}',
    '{"type":"conversation.item.create","item":{"id":"a","id":"b"},"n":1e400,"m":-0.0,"k":10000000000000000000001}',
    '{"type":"gr\u00fc\u00df dich \U0001f600"}',
    '',
    b'',
    b'\0\xff\x80binary',
    'not json at all',
    '[]',
    '{"type":"input_audio_buffer.append","audio":"' + 'A' * 1280 + '"}',
    '{"type":"error","error":{"type":"x","event_id":null}}',
    '{"type":"response.done","response":{"id":"nobody","output":[]}}',
    '{"nested":' + '[' * 500 + ']' * 500 + '}',
    'x' * (1 << 20),
    os.urandom(1 << 20),
    '{"type":"response.output_audio.delta","delta":"' + 'B' * (10 << 20) + '"}',
    'after',
]


def exchange(sender, receiver, messages, pieces=lambda index: 1):
    """Send all while the other end reads; returns what it read."""
    def send_all():
        for index, message in enumerate(messages):
            sender.send(message, pieces(index))

    thread = threading.Thread(target=send_all)
    thread.start()
    read = [receiver.take() for _ in messages]
    thread.join()
    return read


class Transparent(Case):
    def check(self, client, provider, messages=AWKWARD, pieces=lambda index: 1):
        self.assertTrue(exchange(client, provider, messages, pieces) == messages, 'changed on the way up')
        self.assertTrue(exchange(provider, client, messages, pieces) == messages, 'changed on the way down')

    def test_awkward_payloads(self):
        gateway = self.gateway().start()
        self.check(*self.session(gateway))

    def test_fragments_with_pings_between_them(self):
        gateway = self.gateway().start()
        client, provider = self.session(gateway)
        self.check(client, provider, pieces=lambda index: index % 7 + 1)
        for sender, receiver in ((client, provider), (provider, client)):
            sender.raw(sender.frame(1, b'fir', fin=False))
            sender.raw(sender.frame(PING, b'between'))
            sender.raw(sender.frame(0, b'', fin=False))
            sender.raw(sender.frame(0, b'st', fin=True))
            self.assertEqual(receiver.take(), 'first')
            receiver.send('back')
            self.assertEqual(sender.take(), 'back')
            self.assertEqual(sender.pongs, [b'between'])

    def test_both_ways_at_once(self):
        gateway = self.gateway().start()
        client, provider = self.session(gateway)
        results = {}
        ways = {'up': (client, provider), 'down': (provider, client)}
        threads = [threading.Thread(target=lambda name=name, ends=ends: results.update(
            {name: exchange(*ends, AWKWARD)})) for name, ends in ways.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertTrue(results == {'up': AWKWARD, 'down': AWKWARD})

    def test_what_was_sent_before_the_provider_was_there(self):
        gateway = self.gateway().start()
        client = gateway.connect()
        self.addCleanup(client.end)
        early = [message for message in AWKWARD if len(message) < 2000]
        for message in early:
            client.send(message)
        gateway.wait_metric('client_messages_total', len(early))
        provider = self.server.accept()
        self.addCleanup(provider.end)
        client.send('last')
        self.assertEqual([provider.take() for _ in range(len(early) + 1)], [*early, 'last'])

    def test_close_codes_pass(self):
        gateway = self.gateway().start()
        client, provider = self.session(gateway)
        provider.close(4321, 'why not')
        self.assertEqual(client.closing(), (4321, 'why not', []))
        client, provider = self.session(gateway)
        self.assertEqual(exchange(client, provider, ['hello']), ['hello'])
        client.close(1000, 'bye')
        self.assertEqual(provider.closing(), (1000, 'bye', []))
        client, provider = self.session(gateway)
        self.assertEqual(exchange(client, provider, ['hello']), ['hello'])
        client.reset()
        self.assertEqual(provider.closing(), (1001, '', []))
        gateway.wait_metric('sessions_open', 0)

    def test_request_to_the_provider(self):
        gateway = self.gateway().start()
        client = gateway.connect(query='model=a%20b&intent=x', headers=['OpenAI-Project: p1', 'Cookie: c=1'])
        self.addCleanup(client.end)
        provider = self.server.accept()
        self.addCleanup(provider.end)
        self.assertTrue(provider.head.startswith(
            f'GET /v1/realtime?model=a%20b&intent=x&note={gateway.query_secret} HTTP/1.1\r\n'), provider.head)
        self.assertIn(f'Authorization: Bearer {gateway.provider_key}', provider.head)
        self.assertIn('OpenAI-Project: p1', provider.head)
        self.assertNotIn(gateway.client_key, provider.head)
        self.assertNotIn('Cookie', provider.head)
        self.assertNotIn(gateway.provider_key, client.head)


class TransparentTls(Transparent):
    tls = True


class ManyWorkers(Case):
    """Sockets are handed from the worker that accepted them to the one with the fewest sessions."""

    tls = True
    SESSIONS = 16

    def test_sessions_side_by_side(self):
        gateway = self.gateway(daemon={'workers': 4}).start()
        sessions = [self.session(gateway) for _ in range(self.SESSIONS)]
        for client, provider in sessions:
            self.assertEqual(exchange(client, provider, AWKWARD[:8]), AWKWARD[:8])
        for client, provider in reversed(sessions):
            self.assertEqual(exchange(provider, client, AWKWARD[:8]), AWKWARD[:8])
        self.assertEqual(gateway.metric('sessions_open'), self.SESSIONS)
        self.assertEqual(gateway.metric('client_messages_total'), 8 * self.SESSIONS)
        for client, provider in sessions[::2]:
            client.close()
            self.assertEqual(provider.closing()[0], 1000)
        gateway.wait_metric('sessions_open', self.SESSIONS // 2)
        client, provider = sessions[1]
        self.assertEqual(exchange(client, provider, ['still here']), ['still here'])


ORDERS = dialogue('orders-1')


def order_tools():
    return [{'name': tool['name'], 'description': tool['description'], 'parameters': json.dumps(tool['parameters']),
             'request': {'method': 'POST', 'url': f'http://127.0.0.1:9/tools/{tool["name"]}',
                         'headers': {'Content-Type': 'application/json'}, 'body': '{*}'},
             'effect': 'read', 'disclosure': 'first_party'} for tool in ORDERS['tools']]


class WithTools(Case):
    """Tools configured and speculation off: the gateway's own update comes first, all else as it was."""

    def offered(self, provider):
        update = provider.take_event('session.update')
        self.assertEqual(sorted(tool['name'] for tool in update['session']['tools']),
                         sorted(tool['name'] for tool in ORDERS['tools']))
        return update

    def start(self):
        return self.gateway(tool=order_tools()).start()

    def test_own_update_comes_before_audio_sent_at_once(self):
        gateway = self.start()
        client = gateway.connect()
        self.addCleanup(client.end)
        audio = [json.dumps({'type': 'input_audio_buffer.append', 'audio': 'AAAA' * n}) for n in range(1, 30)]
        for message in audio[:20]:
            client.send(message)
        gateway.wait_metric('client_messages_total', 20)
        provider = self.server.accept()
        self.addCleanup(provider.end)
        for message in audio[20:]:
            client.send(message)
        self.offered(provider)
        self.assertEqual([provider.take() for _ in audio], audio)

    def test_everything_else_is_the_same(self):
        gateway = self.start()
        client, provider = self.session(gateway)
        update = self.offered(provider)
        # Only messages that make no sense to a provider that was asked nothing stay out.
        up = [message for message in AWKWARD if 'response.create' not in str(message) and
              'r\\u0065' not in str(message) and 'session.update' not in str(message)]
        self.assertTrue(exchange(client, provider, up) == up, 'changed on the way up')
        down = [message for message in up if 'response.' not in str(message)[:100]]
        self.assertTrue(exchange(provider, client, down) == down, 'changed on the way down')
        provider.event('session.updated', event_id='e1',
                       session={'type': 'realtime', 'tools': update['session']['tools']})
        client.event('input_audio_buffer.clear')
        self.assertEqual(provider.take_event()['type'], 'input_audio_buffer.clear')
        provider.event('input_audio_buffer.cleared')
        # The answer to the gateway's own update is not the client's business.
        self.assertEqual(client.take_event()['type'], 'input_audio_buffer.cleared')


if __name__ == '__main__':
    run()
