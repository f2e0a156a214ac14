#!/usr/bin/env python3
"""Nobody who stalls costs memory or holds up anybody else; a tool holds up no audio.

Usage: test_pressure.py BUILD SOURCE
"""
import json
import signal
import threading
import time

from gateway import SANITIZE, Case, ToolServer, dialogue, run
from ws import BINARY, TEXT, Peer, header, wait_until

MIB = 1 << 20
VOLUME = (80 if SANITIZE else 200) * MIB  # more than twice what the kernel may hold of it on the way
BACKLOG_HIGH = 256 << 10  # the configured limit
PIECE = 64 << 10  # bytes of a message
SLACK = 2 * MIB  # allowed over the limit


class Flood:
    """Many messages, each one telling its place, sent from a thread of its own."""

    def __init__(self, peer: Peer):
        self.peer = peer
        self.count = VOLUME // PIECE
        self.sent = 0
        self.thread = threading.Thread(target=self.run)
        peer.socket.settimeout(240)
        self.thread.start()

    @staticmethod
    def message(n):
        return n.to_bytes(8, 'big') * (PIECE // 8)

    def run(self):
        opcode, key = BINARY, b'\0\0\0\0' if self.peer.is_client else None
        head = header(opcode, PIECE, key=key)
        for n in range(self.count):
            self.peer.raw(head + self.message(n))
            self.sent = n + 1

    def wait_stopped(self, gateway, paused):
        """Until the gateway takes no more; then whatever it will ever hold of it is held."""
        wait_until(lambda: gateway.metric(paused) >= 1, 'the gateway to stop reading')
        last = [-1, 0]

        def still():
            same = self.sent == last[0]
            last[:] = [self.sent, last[1] + 1 if same else 0]
            return last[1] >= 50  # half a second without progress

        wait_until(still, 'the sender to be stopped', patience=120)
        assert self.sent < self.count // 2, f'{self.sent} of {self.count} messages were taken'

    def check_received(self, peer: Peer):
        for n in range(self.count):
            if peer.take() != self.message(n):
                raise AssertionError(f'message {n} is not what was sent')
        self.thread.join()


class Stalled(Case):
    """One worker, so a session that goes on shares its thread with the one that is stalled."""

    def prepare(self):
        gateway = self.gateway(session={'ping_interval': '1h', 'backlog_high': '256KiB', 'backlog_low': '64KiB'})
        gateway.start()
        others = self.session(gateway)
        self.talk(*others)  # whatever is allocated once has been
        client, provider = self.session(gateway)
        self.talk(client, provider)
        return gateway, others, client, provider

    def talk(self, client, provider):
        for n in range(20):
            client.send(f'question {n}')
            self.assertEqual(provider.take(), f'question {n}')
            provider.send(f'answer {n}' * 1000)
            self.assertEqual(client.take(), f'answer {n}' * 1000)

    def check(self, gateway, others, sender, receiver, paused):
        before = gateway.memory()
        flood = Flood(sender)
        flood.wait_stopped(gateway, paused)
        self.talk(*others)
        grown = gateway.memory() - before
        if not SANITIZE:  # whose allocator keeps what was freed
            self.assertLess(grown, BACKLOG_HIGH + SLACK)
        flood.check_received(receiver)
        self.talk(*others)
        if not SANITIZE:
            self.assertLess(gateway.memory() - before, BACKLOG_HIGH + SLACK)

    def test_client(self):
        gateway, others, client, provider = self.prepare()
        self.check(gateway, others, provider, client, 'upstream_reads_paused_total')
        client.send('and the other way')
        self.assertEqual(provider.take(), 'and the other way')

    def test_provider(self):
        gateway, others, client, provider = self.prepare()
        self.check(gateway, others, client, provider, 'client_reads_paused_total')
        provider.send('and the other way')
        self.assertEqual(client.take(), 'and the other way')

    def test_the_other_direction_goes_on(self):
        """A client that does not read may still speak."""
        gateway, _, client, provider = self.prepare()
        flood = Flood(provider)
        flood.wait_stopped(gateway, 'upstream_reads_paused_total')
        for n in range(200):
            client.send(f'{n}')
            self.assertEqual(provider.take(), f'{n}')
        flood.check_received(client)

    def test_client_leaves_while_stalled(self):
        gateway, others, client, provider = self.prepare()

        class Gone(threading.Thread):
            """Sends until the connection ends."""

            def run(self):
                try:
                    while True:
                        provider.raw(provider.frame(TEXT, b'x' * PIECE))
                except OSError:
                    return

        thread = Gone()
        thread.start()
        wait_until(lambda: gateway.metric('upstream_reads_paused_total') >= 1, 'the gateway to stop reading')
        client.reset()
        gateway.wait_metric('sessions_open', 1)
        thread.join()
        self.talk(*others)


class StalledTls(Stalled):
    tls = True


ORDERS = dialogue('orders-1')
ARGUMENTS = '{"order_id": "85041"}'


class ToolWaits(Case):
    """A tool's answer is kept back until 100 further frames of audio have come out at the other end, both ways."""

    FRAMES = 100

    def setUp(self):
        super().setUp()
        self.tools = ToolServer(self.folder, ORDERS, options=('--hold', 'get_order'))
        self.addCleanup(self.tools.end)

    def tool(self, effect):
        found = next(tool for tool in ORDERS['tools'] if tool['name'] == 'get_order')
        request = {'method': 'POST', 'url': f'http://127.0.0.1:{self.tools.port}/d/orders-1/tools/get_order',
                   'headers': {'Content-Type': 'application/json'}, 'body': '{*}'}
        return {'name': 'get_order', 'description': found['description'], 'parameters': json.dumps(found['parameters']),
                'request': request, 'effect': effect, 'disclosure': 'first_party', 'timeout': '60s',
                'idempotency': 'key'}

    @staticmethod
    def response(name, status='in_progress', output=(), **more):
        return {'object': 'realtime.response', 'id': name, 'status': status, 'output': list(output), 'metadata': None,
                'conversation_id': 'conv_1', **more}

    CALL = {'id': 'item_c', 'object': 'realtime.item', 'type': 'function_call', 'name': 'get_order',
            'call_id': 'call_1'}
    MESSAGE = {'id': 'item_m', 'object': 'realtime.item', 'type': 'message', 'role': 'assistant',
               'status': 'in_progress', 'content': []}

    def calling(self, provider):
        """The provider answers by itself: first words, then the call, which is complete, while it goes on speaking."""
        provider.event('response.created', event_id='e1', response=self.response('resp_1'))
        provider.event('response.output_item.added', event_id='e2', response_id='resp_1', output_index=0,
                       item=self.MESSAGE)
        call = {**self.CALL, 'status': 'in_progress', 'arguments': ''}
        provider.event('response.output_item.added', event_id='e3', response_id='resp_1', output_index=1, item=call)
        provider.event('conversation.item.added', event_id='e4', previous_item_id='item_m', item=call)
        provider.event('response.function_call_arguments.done', event_id='e5', response_id='resp_1', output_index=1,
                       item_id='item_c', call_id='call_1', arguments=ARGUMENTS)
        done = {**self.CALL, 'status': 'completed', 'arguments': ARGUMENTS}
        provider.event('response.output_item.done', event_id='e6', response_id='resp_1', output_index=1, item=done)
        provider.event('conversation.item.done', event_id='e7', previous_item_id='item_m', item=done)

    def audio_both_ways(self, client, provider, response, offset=0):
        """100 frames each way, each read before the next is sent: what came out was never waiting."""
        for n in range(offset, offset + self.FRAMES):
            up = json.dumps({'type': 'input_audio_buffer.append', 'audio': f'{n:08d}'})
            client.send(up)
            self.assertEqual(provider.take(), up)
            provider.event('response.output_audio.delta', event_id=f'd{n}', response_id=response, item_id='item_m',
                           output_index=0, content_index=0, delta=f'{n:08d}')
            delta = client.take_event('response.output_audio.delta')
            self.assertEqual((delta['delta'], delta['response_id']), (f'{n:08d}', response))

    def offered(self, gateway):
        """A session whose provider knows the tool."""
        client, provider = self.session(gateway)
        update = provider.take_event('session.update')
        provider.event('session.updated', event_id='e0',
                       session={'type': 'realtime', 'tools': update['session']['tools']})
        return client, provider

    def begin(self, effect):
        """A session whose provider has made the call."""
        gateway = self.gateway(tool=[self.tool(effect)]).start()
        client, provider = self.offered(gateway)
        self.calling(provider)
        return gateway, client, provider

    def check(self, effect):
        gateway, client, provider = self.begin(effect)
        self.assertEqual(client.take_event('response.created')['response']['id'], 'resp_1')
        client.take_event('response.output_item.added')
        wait_until(lambda: self.tools.calls() or None, 'the call to reach the tool server')
        # While the response with the call is still speaking ...
        self.audio_both_ways(client, provider, 'resp_1')
        message = {**self.MESSAGE, 'status': 'completed'}
        call = {**self.CALL, 'status': 'completed', 'arguments': ARGUMENTS}
        provider.event('response.output_item.done', event_id='e8', response_id='resp_1', output_index=0, item=message)
        provider.event('response.done', event_id='e9',
                       response=self.response('resp_1', 'completed', [message, call]))
        client.take_event('response.output_item.done')
        done = client.take_event('response.done')
        self.assertEqual([item['id'] for item in done['response']['output']], ['item_m'])
        # ... in the time between ...
        up = json.dumps({'type': 'input_audio_buffer.append', 'audio': 'between'})
        client.send(up)
        self.assertEqual(provider.take(), up)
        # ... and during the next response, which the caller asked for.
        client.event('response.create', event_id='c1', response={'conversation': 'none'})
        self.assertEqual(provider.take_event('response.create')['response']['conversation'], 'none')
        provider.event('response.created', event_id='f1', response=self.response('resp_2', conversation_id=None))
        self.assertEqual(client.take_event('response.created')['response']['id'], 'resp_2')
        self.audio_both_ways(client, provider, 'resp_2', self.FRAMES)
        self.assertIsNone(self.tools.calls()[0]['answered'])
        self.assertEqual(gateway.metric('tool_calls_in_flight'), 1)
        self.tools.release()
        provider.event('response.done', event_id='f2',
                       response=self.response('resp_2', 'completed', conversation_id=None))
        self.assertEqual(client.take_event('response.done')['response']['id'], 'resp_2')
        output = provider.take_event('conversation.item.create')['item']
        self.assertEqual((output['type'], output['call_id']), ('function_call_output', 'call_1'))
        self.assertIn('SH-2207', output['output'])
        self.assertIn(provider.take_event()['type'], ('response.create',))

    def reload(self, gateway, times):
        gateway.signal(signal.SIGHUP)
        wait_until(lambda: gateway.log().count('configuration read again') == times, 'the reload')

    def test_a_call_outlives_its_session_and_its_configuration(self):
        gateway = self.gateway(tool=[self.tool('hold')]).start()
        self.reload(gateway, 1)  # the first configuration lives as long as the daemon
        client, provider = self.offered(gateway)
        for times in (2, 3):  # at the third the session's configuration has no other reader left
            self.reload(gateway, times)
            client.send('one more turn')
            self.assertEqual(provider.take(), 'one more turn')
        self.calling(provider)
        wait_until(lambda: self.tools.calls() or None, 'the call to reach the tool server')
        client.reset()
        gateway.wait_metric('sessions_open', 0)
        self.assertEqual(gateway.metric('tool_calls_in_flight'), 1)
        self.tools.release()
        gateway.wait_metric('tool_calls_in_flight', 0)

    def test_read(self):
        self.check('read')

    def test_hold(self):
        self.check('hold')

    def test_stop_waits_for_an_effect_whose_caller_has_gone(self):
        gateway, client, provider = self.begin('hold')
        wait_until(lambda: self.tools.calls() or None, 'the call to reach the tool server')
        client.close()
        provider.lost()
        gateway.wait_metric('sessions_open', 0)
        self.assertEqual(gateway.metric('tool_calls_in_flight'), 1)
        gateway.signal(signal.SIGTERM)
        for _ in range(10):  # time for it to end too early; needs none when it does not
            self.assertIsNone(gateway.process.poll())
            time.sleep(0.05)
        self.tools.release()
        self.assertEqual(gateway.wait(), 0)
        self.assertEqual(gateway.intents('--open'), [])
        self.assertIn('SH-2207', gateway.journal('show', gateway.intents()[0]['session']))


if __name__ == '__main__':
    run()
