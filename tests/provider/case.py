"""What the tests of simprovider share: a small dialogue, a provider that plays it, a client."""
import base64
import json
import os
import sys
import tempfile
import unittest

from realtime import Client, Provider, speech

BINARY, TIMING = sys.argv[1:3]  # every test program is run as: test_X.py SIMPROVIDER TIMING_JSON

TOOLS = [{'type': 'function', 'name': name, 'description': name, 'parameters': {'type': 'object', 'properties': {}}}
         for name in ('find', 'details', 'book')]


def call(name, args, ready, depends_on=(), order_after=(), read_only=True):
    return {'name': name, 'args': args, 'result': {'ok': True}, 'read_only': read_only, 'ready': ready - 1,
            'ready_clause': ready, 'intent_word': 1, 'arg_word': {}, 'depends_on': list(depends_on),
            'order_after': list(order_after)}


# Turn 0: two parallel reads (known after 4 words), then a dependent one.  Turn 1: a write.  Turn 2: talk only.
DIALOGUE = {
    'id': 'trip', 'tools': [{'name': t['name'], 'description': '', 'parameters': t['parameters'],
                             'read_only': t['name'] != 'book', 'inverse': None} for t in TOOLS],
    'turns': [
        {'user': 'Find flights to Rome, and be quick please.', 'words': 8, 'reply': 'I found one. Shall I book it?',
         'calls': [call('find', {'city': 'Rome'}, 4), call('find', {'city': 'Rome', 'fast': True}, 8),
                   call('details', {'n': 1}, 4, depends_on=[0])],
         'repair': {'user': 'Find flights to Milan, no, to Rome, and be quick please.', 'n': 11, 'call': 0,
                    'arg': 'city', 'wrong_value': 'Milan', 'wrong_args': {'city': 'Milan'}, 'wrong_ready': 4,
                    'ready': 7, 'ready_clause': 7, 'term': 'no,'}},
        {'user': 'Yes, book it.', 'words': 3, 'reply': 'Booked.',
         'calls': [call('book', {'id': 7}, 3, read_only=False)]},
        {'user': 'Thank you very much.', 'words': 4, 'reply': 'You are welcome.', 'calls': []}]}

# The events of a spoken turn.
TURN = ['input_audio_buffer.speech_started', 'input_audio_buffer.speech_stopped',
        'input_audio_buffer.committed', 'conversation.item.added', 'conversation.item.done']


def types(events):
    """Types in order, runs of deltas as one, without what may come at any time."""
    out = []
    for event in events:
        name = event['type']
        if name == 'rate_limits.updated' or 'transcription' in name:
            continue
        if not (name.endswith('.delta') and len(out) > 1 and name in out[-2:]):
            out.append(name)
    return out


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.dialogues = self.write('dialogue.jsonl', DIALOGUE)

    def write(self, name, value):
        path = os.path.join(self.folder.name, name)
        with open(path, 'w', encoding='utf-8') as file:
            file.write(json.dumps(value) + '\n')
        return path

    def provider(self, *args, **named):
        provider = Provider(BINARY, named.pop('timing', TIMING), *(args or ('--dialogues', self.dialogues)), **named)
        self.addCleanup(provider.__exit__)
        return provider

    def client(self, provider, **named):
        client = Client(provider.port, **named)
        self.addCleanup(client.__exit__)
        client.take('session.created')
        client.take('conversation.created')
        return client

    def talking(self, *args, scale=20, timing=None, **session):
        """A client of a provider that plays the dialogue, its tools declared."""
        client = self.client(self.provider('--dialogues', self.dialogues, '--early-wrong', '0', '--premature', '0',
                                           *args, scale=scale, timing=timing or TIMING))
        client.update(tools=TOOLS, **session)
        client.events.clear()
        return client

    def log(self, *kinds):
        """The provider's log so far: lines of these kinds; --log must have been given as log_path."""
        with open(self.log_path, encoding='utf-8') as lines:
            return [line for line in map(json.loads, lines) if line['kind'] in kinds]

    @property
    def log_path(self):
        return os.path.join(self.folder.name, 'log')

    def slow_talker(self):
        """Timing of a model that answers at once; with a small scale it then speaks for long."""
        with open(TIMING, encoding='utf-8') as file:
            timing = json.load(file)
        timing['providers']['gpt-realtime']['final_first_audio'] = {'lognormal_median': 0.01, 'sigma': 0}
        return self.write('timing.json', timing)

    def names(self, response):
        return [(o['name'], json.loads(o['arguments'])) for o in response['output'] if o['type'] == 'function_call']

    def answer(self, client, response):
        for output in response['output']:
            client.send('conversation.item.create', item={
                'type': 'function_call_output', 'call_id': output['call_id'], 'output': '{"ok":true}'})
            client.until('conversation.item.done')

    def words(self, turn, first, last, repair=False):
        """An inline item of a pass: words of a turn as audio."""
        audio = base64.b64encode(speech(turn, first, last, repair)).decode()
        return {'type': 'message', 'role': 'user', 'content': [{'type': 'input_audio', 'audio': audio}]}

    def said(self, text):
        """The same as text."""
        return {'type': 'message', 'role': 'user', 'content': [{'type': 'input_text', 'text': text}]}

    def aside(self, client, *items, **more):
        client.send('response.create', response={'conversation': 'none', 'output_modalities': ['text'],
                                                 'input': list(items), **more})
        return client.until('response.done')['response']
