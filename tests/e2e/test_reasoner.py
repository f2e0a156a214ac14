#!/usr/bin/env python3
"""A text model looks for calls while the caller speaks: the real daemon between a caller, a provider, tools and that model.

Usage: test_reasoner.py BUILD SOURCE [CLASS]
"""
import base64
import json
import re
import secrets
import subprocess

from gateway import TIMING, Case, ReservedPort, SimulatedProvider, ToolServer, dialogue, program, run
from world import tool_toml
from ws import PATIENCE, Server, read_head, wait_until

STORY = dialogue('orders-1')
ORDER = STORY['turns'][0]['calls'][0]
SHIPMENT = STORY['turns'][0]['calls'][1]
SCALE = 4  # times as fast as a person
RATE = 24000
VOICE = b''.join((8000 if i // 30 % 2 else -8000).to_bytes(2, 'little', signed=True) for i in range(RATE // 50))
SILENCE = bytes(len(VOICE))


def call(number, name, arguments):
    return {'id': number, 'name': name, 'arguments': arguments}


def tool_call(*calls):
    return f'<think>so</think><tool_call>{json.dumps(calls)}</tool_call>'


class Generation:
    """One request for a generation, answered as the test says."""

    def __init__(self, sock, head, rest):
        self.sock, self.head = sock, head
        length = int(re.search(r'^content-length: (\d+)', head, re.MULTILINE | re.IGNORECASE)[1])
        while len(rest) < length:
            chunk = sock.recv(65536)
            assert chunk, 'the request was cut off'
            rest += chunk
        self.request = json.loads(rest[:length])
        self.begun = False

    @property
    def messages(self):
        return self.request['messages']

    @property
    def news(self):
        """What the model was told last."""
        assert self.messages[-1]['role'] == 'user'
        return self.messages[-1]['content']

    def say(self, text):
        """A piece of the generation; its stream ends with the connection."""
        if not self.begun:
            self.begun = True
            self.sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n')
        chunk = {'choices': [{'index': 0, 'delta': {'content': text}, 'finish_reason': None}]}
        self.sock.sendall(f'data: {json.dumps(chunk)}\n\n'.encode())

    def finish(self):
        self.sock.sendall(b'data: [DONE]\n\n')
        self.sock.close()

    def act(self, text):
        self.say(text)
        self.finish()

    def refuse(self, status):
        body = b'{"error":{"message":"no"}}'
        self.sock.sendall(f'HTTP/1.1 {status} No\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n'.encode() +
                          body)
        self.sock.close()

    def is_halted(self):
        """Wait until the gateway gives this generation up."""
        return self.sock.recv(1) == b''


class ReasonerCase(Case):
    def tools(self):
        server = ToolServer(self.folder, STORY, profile='0')
        self.addCleanup(server.end)
        return server

    def configure(self, url, endpoint, tools, model='m-1', **reasoner):
        gateway = self.gateway(url, speculation={'mode': 'confirm'})
        gateway.config['speculation']['reasoner'] = 'tagged'
        gateway.config['reasoner'] = {'url': f'http://127.0.0.1:{endpoint}/v1/chat/completions', 'model': model,
                                      'key': 'file:reasoner.key', 'interval': '0s', **reasoner}
        self.key = 'rk-' + secrets.token_urlsafe(24)
        gateway.write('reasoner.key', self.key)
        gateway.config['include'] = ['tools.toml']
        gateway.write('tools.toml', '\n'.join(tool_toml(STORY, tool, tools.port) for tool in STORY['tools']))
        return gateway


class Scripted(ReasonerCase):
    """The test plays caller, provider and model."""

    def setUp(self):
        super().setUp()
        self.endpoint = Server()
        self.addCleanup(self.endpoint.end)
        self.tool_server = self.tools()

    def begin(self, endpoint=None, **reasoner):
        self.daemon = self.configure(None, endpoint or self.endpoint.port, self.tool_server, **reasoner).start()
        self.client, self.provider = self.session(self.daemon)
        detection = {'type': 'server_vad'}
        session = {'type': 'realtime', 'tools': [], 'audio': {'input': {'turn_detection': detection}}}
        self.provider.event('session.created', session=session)
        update = self.provider.until('session.update')
        self.provider.event('session.updated', session={**session, 'tools': update['session']['tools']})
        # Only now does the gateway know that there is sound to hear.
        self.client.until('session.created')

    def generation(self):
        sock, head, rest = self.endpoint.accept_raw()
        self.addCleanup(sock.close)
        return Generation(sock, head, rest)

    def speak(self, milliseconds, sound=VOICE):
        """Voice or silence, all of it taken by the gateway when this returns."""
        audio = base64.b64encode(sound).decode()
        for _ in range(0, milliseconds, 20):
            self.client.event('input_audio_buffer.append', audio=audio)
        for _ in range(0, milliseconds, 20):
            self.provider.until('input_audio_buffer.append')

    def hear(self, words):
        self.provider.event('conversation.item.input_audio_transcription.delta', item_id='u1', delta=words)

    def commit(self, words=None):
        self.speak(300, SILENCE)  # or the next turn would have begun
        self.provider.event('input_audio_buffer.committed', item_id='u1', previous_item_id=None)
        item = {'id': 'u1', 'type': 'message', 'role': 'user', 'status': 'completed', 'content': []}
        self.provider.event('conversation.item.added', previous_item_id=None, item=item)
        if words:
            self.provider.event('conversation.item.input_audio_transcription.completed', item_id='u1', transcript=words)

    def call(self, number, name, arguments):
        """The provider makes a call; what the gateway puts in for it is returned."""
        response = {'id': f'r{number}', 'status': 'in_progress', 'conversation_id': 'conv', 'metadata': None,
                    'output': []}
        item = {'id': f'f{number}', 'type': 'function_call', 'status': 'in_progress', 'name': name,
                'call_id': f'c{number}', 'arguments': ''}
        self.provider.event('response.created', response=response)
        self.provider.event('response.output_item.added', response_id=response['id'], item=item)
        self.provider.event('conversation.item.added', previous_item_id='u1', item=item)
        item = {**item, 'status': 'completed', 'arguments': json.dumps(arguments)}
        self.provider.event('response.output_item.done', response_id=response['id'], item=item)
        self.provider.event('response.done', response={**response, 'status': 'completed', 'output': [item]})
        output = self.provider.until('conversation.item.create')['item']
        self.assertEqual((output['type'], output['call_id']), ('function_call_output', f'c{number}'))
        return json.loads(output['output'])

    def requests(self, tool):
        return sum(1 for made in self.tool_server.calls() if made['tool'] == tool)

    def test_call_named_early_is_joined(self):
        self.begin()
        self.speak(200)
        self.hear('I want to know about order 85041,')
        generation = self.generation()
        self.assertEqual(generation.request['model'], 'm-1')
        self.assertIn(f'Bearer {self.key}', generation.head)
        self.assertIn('get_order', generation.messages[0]['content'])
        self.assertEqual(generation.news, '<partial_query_update rev="1">I want to know about order 85041,'
                                          '</partial_query_update>')
        generation.say(tool_call(call(1, 'get_order', ORDER['args']),
                                 call(2, 'track_shipment', {'shipment_id': '$1.shipment_id'})))
        self.daemon.wait_metric('reasoner_calls_total', 1)  # before the end of its stream
        generation.finish()
        self.speak(400)
        # The order, and by itself the shipment that it names.
        wait_until(lambda: self.requests('track_shipment') == 1, 'the shipment to be asked for')
        self.daemon.wait_metric('reasoner_chained_calls_total', 1)
        told = ''
        while '<tool_result id="2">' not in told:
            generation = self.generation()
            told += generation.news
            if '<tool_result id="2">' in told:
                generation.act('<think>so</think><pause/>')
        self.assertIn(json.dumps(SHIPMENT['result']['state']), told)
        self.commit('I want to know about order 85041, please.')
        generation = self.generation()
        self.assertIn('<final_query_update', generation.news)
        generation.act('<think>so</think><answer>In Leeds.</answer>')
        self.assertEqual(self.call(1, 'get_order', ORDER['args']), ORDER['result'])
        self.assertEqual(self.requests('get_order'), 1)
        self.assertEqual(self.daemon.metric('spec_hits_total'), 1)
        self.assertNotIn(self.key, self.daemon.log())

    def test_words_interrupt_a_generation(self):
        self.begin()
        self.speak(200)
        self.hear('I want,')
        first = self.generation()
        first.say('<think>The caller wants somethi')
        wait_until(lambda: self.daemon.metric('reasoner_steps_total') == 1, 'a step')
        self.speak(20)
        # What the model said must have arrived before it is cut off.
        self.hear(' order 85041,')
        second = self.generation()
        self.assertTrue(first.is_halted())
        self.assertIn('order 85041', second.news)
        thought = [message['content'] for message in second.messages if message['role'] == 'assistant']
        # How much of it had come is not for the test to say; if anything had, the thought is closed.
        self.assertTrue(thought in ([], ['<think>The caller wants somethi</think_interrupted>']), thought)
        second.act(tool_call(call(1, 'get_order', ORDER['args'])))
        self.daemon.wait_metric('reasoner_calls_total', 1)
        self.assertEqual(self.daemon.metric('reasoner_interrupts_total'), 1)

    def test_missteps_are_answered_three_times(self):
        self.begin()
        self.speak(200)
        self.hear('I want,')
        wrong = [('<think>x</think><answer>Done.</answer>', 'early_answers'),
                 (tool_call(call(1, 'fly', {})), 'unknown_tools'),
                 (tool_call(call(1, 'get_order', {'order_id': 'x'})), 'bad_arguments'),
                 (tool_call(call(2, 'track_shipment', {'shipment_id': '$1.x'})), 'bad_operands')]
        for text, counter in wrong:
            generation = self.generation()
            generation.say(text)
            self.daemon.wait_metric(f'reasoner_{counter}_total', 1)
        self.daemon.wait_metric('reasoner_turns_spent_total', 1)
        self.assertEqual(self.daemon.metric('reasoner_steps_total'), len(wrong))
        # The call goes on without it.
        self.commit()
        self.assertEqual(self.call(1, 'get_order', ORDER['args']), ORDER['result'])
        self.assertEqual(self.daemon.metric('spec_guesses_total'), 0)

    def test_endpoint_that_cannot_be_reached(self):
        port = ReservedPort()  # bound, so that nobody takes it, and without a listener
        self.addCleanup(port.end)
        self.begin(port.number)
        self.speak(200)
        self.hear('I want,')
        self.daemon.wait_metric('reasoner_failures_total', 1)
        self.commit()
        self.assertEqual(self.call(1, 'get_order', ORDER['args']), ORDER['result'])

    def test_endpoint_that_fails_and_recovers(self):
        self.begin(backoff='10ms')
        self.speak(200)
        self.hear('I want,')
        self.generation().refuse(503)
        self.daemon.wait_metric('reasoner_failures_total', 1)
        self.hear(' order 85041,')
        generation = self.generation_soon()
        self.assertIn('I want, order 85041,', generation.news)
        generation.sock.sendall(b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\ndata: {nonsense}\n\n')
        self.daemon.wait_metric('reasoner_failures_total', 2)
        self.hear(' please.')
        generation = self.generation_soon()
        generation.act(tool_call(call(1, 'get_order', ORDER['args'])))
        self.daemon.wait_metric('reasoner_calls_total', 1)

    def generation_soon(self):
        """The pause after a failure ends some time; the words that come then bring the next generation."""
        self.endpoint.socket.settimeout(0.2)
        try:
            for _ in range(int(PATIENCE / 0.2)):
                try:
                    sock, _ = self.endpoint.socket.accept()
                except TimeoutError:
                    self.hear(' and,')
                    continue
                sock.settimeout(PATIENCE)
                self.addCleanup(sock.close)
                return Generation(sock, *read_head(sock))
        finally:
            self.endpoint.socket.settimeout(PATIENCE)
        raise AssertionError('no generation was asked for')


class Dialogue(ReasonerCase):
    """A whole call, with the simulated provider and the simulated reasoner."""

    def reasoner(self, dialogues):
        process = subprocess.Popen([program('tests', 'reasoner', 'simreasoner'), '--dialogues', dialogues, '--first',
                                    '20', '--token', '0'], stdout=subprocess.PIPE, text=True)

        def end():
            process.terminate()
            process.stdout.close()
            self.assertEqual(process.wait(PATIENCE), 0, 'the simulated reasoner did not end well')

        self.addCleanup(end)
        return int(process.stdout.readline().split()[1])

    def test_calls_are_found_before_the_caller_has_finished(self):
        tools = self.tools()
        gateway = self.configure('ws://127.0.0.1:1/v1/realtime', self.reasoner(tools.dialogues), tools, STORY['id'])
        provider = SimulatedProvider(self.folder, tools.dialogues, gateway.provider_key, SCALE)
        self.addCleanup(provider.end)
        gateway.config['upstream'][0]['url'] = f'ws://127.0.0.1:{provider.port}/v1/realtime'
        gateway.start()
        caller = subprocess.run(
            [program('tests', 'caller', 'caller'), '--url',
             f'ws://127.0.0.1:{gateway.port}/v1/realtime?model={STORY["id"]}', '--key', gateway.client_key,
             '--dialogues', tools.dialogues, '--timing', TIMING, '--scale', str(SCALE)],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        self.assertEqual(caller.returncode, 0, caller.stderr)
        gateway.wait_metric('sessions_open', 0)
        used = gateway.metric('spec_hits_total') + gateway.metric('spec_joins_total')
        self.assertGreaterEqual(used, 1)
        self.assertEqual(gateway.metric('spec_passes_total'), 0)
        self.assertGreaterEqual(gateway.metric('reasoner_calls_total'), 1)
        for kind in ('malformed', 'unknown_tools', 'bad_arguments', 'bad_operands', 'early_answers'):
            self.assertEqual(gateway.metric(f'reasoner_{kind}_total'), 0, kind)
        # No read was made twice for it.
        made = [(asked['tool'], json.dumps(asked['args'], sort_keys=True)) for asked in tools.calls()]
        self.assertEqual(sorted(made), sorted(set(made)))


if __name__ == '__main__':
    run()
