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
    story = STORY
    profile = '0'  # of the tools

    def tools(self):
        server = ToolServer(self.folder, self.story, profile=self.profile)
        self.addCleanup(server.end)
        return server

    def configure(self, url, endpoint, tools, model='m-1', mode='confirm', **reasoner):
        gateway = self.gateway(url, speculation={'mode': mode})
        gateway.config['speculation']['reasoner'] = 'tagged'
        gateway.config['control'] = {'socket': gateway.path('control.sock')}
        gateway.config['reasoner'] = {'url': f'http://127.0.0.1:{endpoint}/v1/chat/completions', 'model': model,
                                      'key': 'file:reasoner.key', 'interval': '0s', **reasoner}
        self.key = 'rk-' + secrets.token_urlsafe(24)
        gateway.write('reasoner.key', self.key)
        gateway.config['include'] = ['tools.toml']
        gateway.write('tools.toml', '\n'.join(tool_toml(self.story, tool, tools.port) for tool in self.story['tools']))
        return gateway

    def wait_reasoner(self, gateway, reason):
        """Until the reasoner of the only session waits for this."""
        wait_until(lambda: f' reasoner_waits_for={reason} ' in gateway.control('session', self.session_id(gateway)),
                   f'the reasoner to wait for {reason}')

    def session_id(self, gateway):
        return re.search(r'session=(\S+)', gateway.control('sessions'))[1]


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

    def read_in_hand(self, mode):
        """A read has its result, and the reasoner knows that the turn is over."""
        self.begin(mode=mode)
        self.speak(200)
        self.hear('I want to know about order 85041,')
        self.generation().act(tool_call(call(1, 'get_order', ORDER['args'])))
        self.daemon.wait_metric('reasoner_calls_total', 1)
        self.speak(400)
        generation = self.generation()
        self.assertIn('<tool_result id="1">', generation.news)
        generation.act('<think>so</think><pause/>')
        self.wait_reasoner(self.daemon, 'words')
        self.commit('I want to know about order 85041.')
        return self.generation()

    def respond(self, number, status=None, metadata=None):
        response = {'id': f'r{number}', 'status': status or 'in_progress', 'conversation_id': 'conv',
                    'metadata': metadata, 'output': []}
        self.provider.event('response.done' if status else 'response.created', response=response)

    def message(self, number):
        item = {'id': f'm{number}', 'type': 'message', 'role': 'assistant', 'status': 'in_progress', 'content': []}
        self.provider.event('response.output_item.added', response_id=f'r{number}', item=item)

    def test_spoken_reads_take_the_place_of_the_response(self):
        generation = self.read_in_hand('inject')
        self.respond(1)
        generation.act('<think>so</think><answer>It is in Leeds.</answer>')
        self.assertEqual(self.provider.until('response.cancel')['response_id'], 'r1')
        self.respond(1, 'cancelled')
        made = self.provider.until('conversation.item.create')['item']
        self.assertEqual((made['type'], made['name'], json.loads(made['arguments'])),
                         ('function_call', 'get_order', ORDER['args']))
        output = self.provider.until('conversation.item.create')['item']
        self.assertEqual((output['call_id'], json.loads(output['output'])), (made['call_id'], ORDER['result']))
        followup = self.provider.until('response.create')
        self.respond(2, metadata=followup['response']['metadata'])
        self.message(2)
        # All the client hears of is one response.
        self.assertEqual(self.client.until('response.created')['response']['id'], 'r2')
        self.assertEqual(self.daemon.metric('reasoner_verdicts_total'), 1)
        self.assertEqual(self.requests('get_order'), 1)

    def left_alone(self, generation):
        """The reasoner answers, and the provider hears nothing of it."""
        generation.act('<think>so</think><answer>It is in Leeds.</answer>')
        self.wait_reasoner(self.daemon, 'next_turn')
        begin = len(self.provider.events)
        self.client.event('input_audio_buffer.clear')
        self.provider.until('input_audio_buffer.clear')
        self.assertEqual([event['type'] for event in self.provider.events[begin:]], ['input_audio_buffer.clear'])
        self.assertEqual(self.daemon.metric('reasoner_verdicts_total'), 0)

    def test_recognised_words_need_inject(self):
        generation = self.read_in_hand('confirm')
        self.respond(1)
        self.left_alone(generation)

    def test_provider_that_is_faster_wins(self):
        generation = self.read_in_hand('inject')
        self.respond(1)
        self.message(1)
        self.client.until('response.output_item.added')
        self.left_alone(generation)

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


class Simulated(ReasonerCase):
    """With the simulated provider and the simulated reasoner."""

    def world(self, *options, **named):
        self.tool_server = self.tools()
        gateway = self.configure('ws://127.0.0.1:1/v1/realtime', self.reasoner(self.tool_server.dialogues),
                                 self.tool_server, self.story['id'], **named)
        self.provider = SimulatedProvider(self.folder, self.tool_server.dialogues, gateway.provider_key, SCALE, options)
        self.addCleanup(self.provider.end)
        gateway.config['upstream'][0]['url'] = f'ws://127.0.0.1:{self.provider.port}/v1/realtime'
        return gateway.start()

    def reasoner(self, dialogues):
        process = subprocess.Popen([program('tests', 'reasoner', 'simreasoner'), '--dialogues', dialogues, '--first',
                                    '20', '--token', '0'], stdout=subprocess.PIPE, text=True)

        def end():
            process.terminate()
            process.stdout.close()
            self.assertEqual(process.wait(PATIENCE), 0, 'the simulated reasoner did not end well')

        self.addCleanup(end)
        return int(process.stdout.readline().split()[1])


class Dialogue(Simulated):
    """A whole call."""

    def test_calls_are_found_before_the_caller_has_finished(self):
        gateway = self.world()
        tools = self.tool_server
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


class TypedCase(Simulated):
    """A caller who types."""

    def begin(self, mode='confirm'):
        self.daemon = self.world('--rival', '0', '--applies-repair', '1', mode=mode)
        self.client = self.daemon.connect(query=f'model={self.story["id"]}')
        self.addCleanup(self.client.end)
        self.client.event('session.update', session={'type': 'realtime', 'output_modalities': ['text'],
                                                     'audio': {'input': {'turn_detection': None}}})
        self.client.until('session.updated')
        self.client.event('backchannel.hello')
        self.client.until('backchannel.welcome')

    def type(self, text, waits_for='next_turn'):
        """The caller's words, and the reasoner has come to this."""
        self.client.event('conversation.item.create', item={'type': 'message', 'role': 'user',
                                                            'content': [{'type': 'input_text', 'text': text}]})
        self.client.until('conversation.item.done')
        self.wait_reasoner(self.daemon, waits_for)

    def answer(self):
        self.client.event('response.create')
        done = self.client.until('response.done')['response']
        self.assertEqual(done['status'], 'completed')
        return [part['text'] for item in done['output'] for part in item['content']]

    def conversation(self):
        """What the provider holds in the end, without ids; its own calls and the gateway's."""
        self.client.end()
        self.daemon.wait_metric('sessions_open', 0)
        wait_until(lambda: self.logged('conversation'), 'the conversation')
        items = self.logged('conversation')[-1]['items']
        rows = [(item['kind'], json.loads(item.get('arguments') or item.get('output') or 'null')) for item in items]
        return rows, [item['id'].startswith('bc_') for item in items if item['kind'] == 'function_call']

    def logged(self, kind):
        with open(self.provider.log_path, encoding='utf-8') as log:
            lines = [json.loads(line) for line in log if line.endswith('\n')]
        return [line for line in lines if line['kind'] == kind]

    def turn(self, number):
        """The items of one turn, as they would be without a gateway."""
        turn = self.story['turns'][number]
        calls = [row for call in turn['calls'] for row in (('function_call', call['args']),
                                                           ('function_call_output', call['result']))]
        return [('message', None), *calls, ('message', None)]


class Typed(TypedCase):
    """What the reasoner reads may be put in for the provider."""

    def test_reads_take_the_place_of_the_response(self):
        self.begin()
        turn = self.story['turns'][0]
        self.type(turn['user'])
        self.assertEqual(self.answer(), [turn['reply']])
        self.daemon.wait_metric('reasoner_verdicts_total', 1)
        self.assertIn(' put_in calls=2 by=reasoner', self.daemon.control('session', self.session_id(self.daemon), 'ledger'))
        self.assertEqual([call['tool'] for call in self.tool_server.calls()], ['get_order', 'track_shipment'])
        rows, made_here = self.conversation()
        self.assertEqual(rows, self.turn(0))  # as if the model had called one after the other
        self.assertEqual(made_here, [True, True])  # … which it never did

    def test_strict_waits_for_the_provider(self):
        self.begin('strict')
        turn = self.story['turns'][0]
        self.type(turn['user'])
        self.assertEqual(self.answer(), [turn['reply']])
        self.assertEqual(self.daemon.metric('reasoner_verdicts_total'), 0)
        self.assertEqual(self.daemon.metric('spec_hits_total'), 2)
        self.assertEqual([call['tool'] for call in self.tool_server.calls()], ['get_order', 'track_shipment'])
        rows, made_here = self.conversation()
        self.assertEqual(rows, self.turn(0))
        self.assertEqual(made_here, [False, False])


class Journey(TypedCase):
    """A caller who corrects himself, and then books."""
    story = dialogue('travel-1')
    profile = '0.2'  # or a second guess would not be worth the first one's waste

    def test_nothing_of_what_was_withdrawn_is_there_and_an_effect_waits(self):
        self.begin()
        turn = self.story['turns'][0]
        repair = turn['repair']
        words = repair['user'].split(' ')
        self.client.event('backchannel.input_text.partial', revision=1, text=' '.join(words[:repair['wrong_ready']]))
        self.daemon.wait_metric('reasoner_calls_total', 1)
        # The wrong train is found, and the reasoner has the result.
        wait_until(lambda: self.tool_server.calls(), 'the wrong train to be looked for')
        self.wait_reasoner(self.daemon, 'words')
        self.type(repair['user'])
        self.assertEqual(self.answer(), [turn['reply']])
        self.daemon.wait_metric('reasoner_verdicts_total', 1)
        self.assertEqual([call['args'] for call in self.tool_server.calls()],
                         [repair['wrong_args'], turn['calls'][0]['args']])
        self.assertEqual(self.daemon.metric('reasoner_late_edits_total'), 0)
        # It names the seat and pauses; the provider books it.
        self.type(self.story['turns'][1]['user'], 'results')
        self.assertEqual(self.tool_server.effects(), [])
        self.assertEqual(self.answer(), [self.story['turns'][1]['reply']])
        self.assertEqual(self.daemon.metric('reasoner_verdicts_total'), 1)
        self.assertEqual(len(self.tool_server.effects()), 1)
        rows, made_here = self.conversation()
        self.assertEqual(rows, self.turn(0) + self.turn(1))
        self.assertEqual(made_here, [True, False])


if __name__ == '__main__':
    run()
