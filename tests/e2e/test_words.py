#!/usr/bin/env python3
"""Calls in which words reach the gateway as text: typed by an opted-in client, or transcribed for the gateway alone.

Usage: test_words.py BUILD SOURCE
"""
import base64
import json
import os
import sys

from gateway import SOURCE, Case, SimulatedProvider, ToolServer, dialogue, run
from world import tool_toml
from ws import wait_until

sys.path.insert(1, os.path.join(SOURCE, 'tests', 'provider'))
from realtime import SILENCE, speech  # noqa: E402  (its folder is known only now)

SCALE = 4  # times as fast as a person
STORY = dialogue('orders-1')
NOTICES = [f'backchannel.tool_call.{what}' for what in ('speculated', 'committed', 'rolled_back')]


class WordsCase(Case):
    def world(self, *options, **speculation):
        """A gateway with the story's tools, between the simulated provider and whoever comes."""
        self.tools = ToolServer(self.folder, STORY, profile='0.05')
        self.addCleanup(self.tools.end)
        gateway = self.gateway('ws://127.0.0.1:1/v1/realtime', speculation={'mode': 'strict', **speculation})
        self.provider = SimulatedProvider(self.folder, self.tools.dialogues, gateway.provider_key, SCALE,
                                          ('--premature', '0', '--early-wrong', '0', '--disagree', '0',
                                           '--rival', '0', *options))
        self.addCleanup(self.provider.end)
        gateway.config['upstream'][0]['url'] = f'ws://127.0.0.1:{self.provider.port}/v1/realtime'
        gateway.config['include'] = ['tools.toml']
        gateway.write('tools.toml', '\n'.join(tool_toml(STORY, tool, self.tools.port) for tool in STORY['tools']))
        return gateway.start()

    def heard(self, direction):
        """Events that went into or came out of the provider."""
        with open(self.provider.log_path, encoding='utf-8') as log:
            lines = [json.loads(line) for line in log if line.endswith('\n')]
        return [line['event'] for line in lines if line['kind'] == direction]

    def used(self, gateway):
        return gateway.metric('spec_hits_total') + gateway.metric('spec_joins_total')


class Typed(WordsCase):
    def client(self, gateway):
        client = gateway.connect(query=f'model={STORY["id"]}')
        self.addCleanup(client.end)
        client.event('session.update', session={'type': 'realtime', 'output_modalities': ['text'],
                                                'audio': {'input': {'turn_detection': None}}})
        client.until('session.updated')
        return client

    def ask(self, client, text):
        """The item and the request every client sends, and the answer in text."""
        client.event('conversation.item.create', item={'type': 'message', 'role': 'user',
                                                       'content': [{'type': 'input_text', 'text': text}]})
        client.event('response.create')
        done = client.until('response.done')['response']
        self.assertEqual(done['status'], 'completed')
        return [part['text'] for item in done['output'] for part in item['content']]

    def test_guesses_on_typed_words_are_used(self):
        gateway = self.world()
        client = self.client(gateway)
        client.event('backchannel.hello', event_id='h1', events=NOTICES)
        welcome = client.until('backchannel.welcome')
        self.assertEqual((welcome['version'], welcome['speculation']), (1, True))
        revision = 0
        for turn in STORY['turns'][:2]:
            words = turn['user'].split(' ')
            for count in range(1, turn['calls'][0]['ready_clause'] + 1):
                revision += 1
                client.event('backchannel.input_text.partial', revision=revision, text=' '.join(words[:count]))
            speculated = client.until('backchannel.tool_call.speculated')
            self.assertEqual((speculated['tool'], speculated['arguments'], speculated['effect']),
                             (turn['calls'][0]['name'], turn['calls'][0]['args'], 'read'))
            revision += 1
            client.event('backchannel.input_text.final', revision=revision, text=turn['user'])
            begin = len(client.events)
            self.assertEqual(self.ask(client, turn['user']), [turn['reply']])
            committed = [event['call'] for event in client.events[begin:]
                         if event['type'] == 'backchannel.tool_call.committed']
            self.assertIn(speculated['call'], committed)
        self.assertTrue([event for event in client.events if event['type'] == 'response.output_text.delta'])
        self.assertEqual([event for event in client.events if event['type'] == 'error'], [])
        # What is not the extension's tells nothing of the gateway's tools.
        plain = [event for event in client.events if not event['type'].startswith('backchannel.')]
        self.assertNotIn('get_order', json.dumps(plain))
        self.assertGreaterEqual(self.used(gateway), 2)
        self.assertEqual(gateway.metric('extension_clients_total'), 1)
        self.assertEqual([event for event in self.heard('in') if event['type'].startswith('backchannel.')], [])
        names = [call['name'] for turn in STORY['turns'][:2] for call in turn['calls']]
        self.assertEqual(sorted(call['tool'] for call in self.tools.calls()), sorted(names))

    def test_without_opting_in_the_same_call_needs_none_of_it(self):
        gateway = self.world()
        client = self.client(gateway)
        client.event('backchannel.input_text.partial', event_id='e1', revision=1, text='Hello.')
        error = client.until('error')['error']
        self.assertEqual((error['code'], error['event_id']), ('backchannel_not_opted_in', 'e1'))
        for turn in STORY['turns'][:2]:
            self.assertEqual(self.ask(client, turn['user']), [turn['reply']])
        self.assertEqual(gateway.metric('extension_refused_total'), 1)
        self.assertEqual(gateway.metric('spec_guesses_total'), 0)
        self.assertEqual([event for event in client.events if event['type'].startswith('backchannel.')], [])


class Transcribed(WordsCase):
    """A spoken call of a client that asks for no transcripts."""

    def say(self, client, audio):
        for at in range(0, len(audio), len(SILENCE)):
            client.event('input_audio_buffer.append',
                         audio=base64.b64encode(audio[at:at + len(SILENCE)]).decode())

    def test_transcripts_for_the_gateway_alone(self):
        gateway = self.world(input='text')
        client = gateway.connect(query=f'model={STORY["id"]}')
        self.addCleanup(client.end)
        client.until('session.created')
        turn = STORY['turns'][0]
        clause = turn['calls'][0]['ready_clause']
        self.say(client, speech(0, 0, clause - 1))
        wait_until(lambda: gateway.metric('spec_passes_total') > 0, 'a pass over the first clause')
        self.say(client, speech(0, clause, turn['words'] - 1))
        wait_until(lambda: gateway.metric('spec_guesses_total') > 0, 'a guess')
        self.say(client, SILENCE * 40)
        done = client.until('response.done')['response']
        self.assertEqual([part['transcript'] for item in done['output'] for part in item['content']],
                         [turn['reply']])
        self.assertGreater(self.used(gateway), 0)
        wishes = [event['session'].get('audio') for event in self.heard('in') if event['type'] == 'session.update']
        self.assertEqual(wishes, [None, {'input': {'transcription': {'model': 'gpt-live-transcribe'}}}])
        wait_until(lambda: self.transcripts('completed'), 'the whole transcript')
        said = len(self.transcripts('delta')) + 1
        self.assertEqual(said, turn['words'] + 1)
        gateway.wait_metric('transcripts_hidden_total', said)
        self.assertNotIn('input_audio_transcription', json.dumps(client.events))
        client.event('session.update', session={'type': 'realtime', 'audio': {'input': {
            'transcription': {'model': 'whisper-1'}}}})
        shown = client.until('session.updated')['session']['audio']['input']['transcription']
        self.assertEqual(shown, {'model': 'whisper-1'})
        turn = STORY['turns'][1]
        self.say(client, speech(1, 0, turn['words'] - 1) + SILENCE * 40)
        heard = client.until('conversation.item.input_audio_transcription.completed')
        self.assertEqual(heard['transcript'], turn['user'])

    def transcripts(self, kind):
        return [event for event in self.heard('out')
                if event['type'] == f'conversation.item.input_audio_transcription.{kind}']


if __name__ == '__main__':
    run()
