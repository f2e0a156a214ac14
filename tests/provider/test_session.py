#!/usr/bin/env python3
"""Sessions, keys, faults, the conversation's items, scripts and the log."""
import json
import os
import re
import ssl
import subprocess
import sys
import unittest

from case import BINARY, TIMING, TOOLS, Case
from realtime import Client, Provider, Refused, SILENCE, say, speech

SCRIPT = {'rules': [{'say': 'weather', 'preface': 'One moment.',
                     'calls': [{'name': 'find', 'arguments': {'q': 1}}, {'name': 'details', 'arguments': {}}],
                     'text': 'It is sunny.'}],
          'default': {'text': 'Hello.'}}


class Sessions(Case):
    def test_created_first(self):
        client = Client(self.provider().port, model='trip')
        self.addCleanup(client.__exit__)
        session = client.take('session.created')['session']
        self.assertEqual(client.take('conversation.created')['conversation']['object'], 'realtime.conversation')
        self.assertEqual((session['object'], session['type'], session['model']),
                         ('realtime.session', 'realtime', 'trip'))
        self.assertGreater(session['expires_at'], 1.5e9)
        self.assertEqual(session['audio']['input']['turn_detection']['silence_duration_ms'], 500)
        self.assertEqual(len({e['event_id'] for e in client.events}), 2)

    def test_update(self):
        client = self.client(self.provider())
        session = client.update(instructions='Hi', tools=TOOLS, audio={'output': {'voice': 'ash'}})
        self.assertEqual((session['instructions'], len(session['tools']), session['audio']['output']['voice']),
                         ('Hi', 3, 'ash'))
        self.assertEqual(session['audio']['output']['format']['type'], 'audio/pcm')
        session = client.update(tools=TOOLS[:1], audio={'input': {'turn_detection': None}})
        self.assertEqual([t['name'] for t in session['tools']], ['find'])
        self.assertIsNone(session['audio']['input']['turn_detection'])

    def test_update_is_all_or_nothing(self):
        client = self.client(self.provider())
        client.send('session.update', event_id='e1',
                    session={'type': 'realtime', 'instructions': 'X', 'temperature': 1})
        self.assertEqual(client.error(), {
            'type': 'invalid_request_error', 'code': 'unknown_parameter', 'param': 'session.temperature',
            'message': "Unknown parameter: 'session.temperature'.", 'event_id': 'e1'})
        self.assertNotEqual(client.update()['instructions'], 'X')
        client.send('session.update', session={'instructions': 'X'})
        self.assertEqual(client.error()['code'], 'missing_required_parameter')
        client.send('session.update', session={'type': 'realtime', 'audio': {'input': {'turn_detection': {'x': 1}}}})
        self.assertEqual(client.error()['message'],
                         "Unknown parameter: 'session.audio.input.turn_detection.x'.")

    def test_bad_events(self):
        client = self.client(self.provider())
        client.send('no.such.event', event_id='e2')
        self.assertEqual((client.error()['param'], client.events[-1]['error']['event_id']), ('type', 'e2'))
        client.send('response.cancel', shoe=1)
        self.assertEqual(client.error()['message'], "Unknown parameter: 'shoe'.")
        for name in ('', 'event', 'event_id type', 'x' * 300):
            client.send('response.cancel', **{name: 1})
            self.assertEqual(client.error()['code'], 'unknown_parameter')
        for text in (b'', b'[]', b'{', b'{"type":1}', b'null'):
            client.send_text(text)
            self.assertIn(client.error()['code'], ('invalid_event', 'missing_required_parameter'))
        client.nothing_more()

    def test_voice_is_locked_after_audio(self):
        client = self.talking()
        client.text('Thank you very much.')
        client.send('response.create')
        client.until('response.done')
        client.update(audio={'output': {'voice': 'marin'}})
        client.send('session.update', session={'type': 'realtime', 'audio': {'output': {'voice': 'ash'}}})
        error = client.error()
        self.assertEqual((error['code'], error['message']), (
            'cannot_update_voice', "Cannot update a conversation's voice if assistant audio is present."))

    def test_keys(self):
        provider = self.provider('--dialogues', self.dialogues, '--key', 'sk-right')
        for headers in ('', 'Authorization: Bearer sk-wrong\r\n', 'api-key: sk-righ\r\n'):
            with self.assertRaisesRegex(Refused, '401'):
                Client(provider.port, headers=headers)
        self.client(provider, headers='Authorization: Bearer sk-right\r\n')
        client = self.client(provider, headers='Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.sk-right\r\n')
        self.assertIn(b'Sec-WebSocket-Protocol: realtime\r\n', client.head + b'\r\n')

    def test_tls(self):
        cert, key = (os.path.join(self.folder.name, name) for name in ('cert.pem', 'key.pem'))
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1',
                        '-nodes', '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost',
                        '-keyout', key, '-out', cert], check=True, stderr=subprocess.DEVNULL)
        provider = self.provider('--dialogues', self.dialogues, '--cert', cert, '--key-file', key)
        client = self.client(provider, tls=ssl.create_default_context(cafile=cert))
        client.update(instructions='x' * 300000)
        client.nothing_more()

    def test_beta_shape_is_gone(self):
        provider = self.provider()
        for headers in ('OpenAI-Beta: realtime=v1\r\n',
                        'Sec-WebSocket-Protocol: realtime, openai-beta.realtime-v1\r\n'):
            client = Client(provider.port, headers=headers)
            self.addCleanup(client.__exit__)
            self.assertEqual(client.error()['code'], 'beta_api_shape_disabled')
            with self.assertRaises(ConnectionError):
                client.next()
            self.assertEqual(client.close_code, 4000)
        with self.assertRaisesRegex(Refused, '404'):
            Client(provider.port, path='/v1/elsewhere')

    def test_silent(self):
        client = Client(self.provider('--silent').port)
        self.addCleanup(client.__exit__)
        client.take('session.created')
        client.take('conversation.created')
        client.send('response.cancel')
        client.ping()
        self.assertEqual(client.pong(), b'still there')

    def test_refusal_and_drops(self):
        with self.assertRaisesRegex(Refused, '503'):
            Client(self.provider('--refuse', '503').port)
        client = self.client(self.provider('--drop-after', '2'))
        client.send('response.cancel')
        client.error()
        with self.assertRaises(ConnectionError):
            client.send('response.cancel')
            client.error()
            client.next()
        client = self.client(self.provider('--dialogues', self.dialogues, '--drop-at', 'response.created'))
        client.send('response.create')
        with self.assertRaises(ConnectionError):
            client.until('response.done')


class Items(Case):
    def item(self, client, previous=None, **item):
        extra = {} if previous is None else {'previous_item_id': previous}
        client.send('conversation.item.create', item=item, **extra)

    def message(self, client, item_id, previous=None):
        self.item(client, previous, id=item_id, type='message', role='user',
                  content=[{'type': 'input_text', 'text': item_id}])
        added = client.take('conversation.item.added')
        done = client.take('conversation.item.done')
        self.assertEqual(added['previous_item_id'], done['previous_item_id'])
        return added

    def test_order(self):
        client = self.client(self.provider())
        self.assertIsNone(self.message(client, 'a')['previous_item_id'])
        self.assertEqual(self.message(client, 'b')['previous_item_id'], 'a')
        self.assertEqual(self.message(client, 'c', 'a')['previous_item_id'], 'a')
        self.assertIsNone(self.message(client, 'd', 'root')['previous_item_id'])
        self.assertEqual(self.message(client, 'e')['previous_item_id'], 'b')
        self.item(client, 'zzz', id='f', type='message', role='user', content=[])
        self.assertEqual(client.error()['param'], 'previous_item_id')
        self.item(client, id='a', type='message', role='user', content=[])
        self.assertIn('already exists', client.error()['message'])

    def test_ids(self):
        client = self.client(self.provider())
        self.item(client, id='x' * 33, type='message', role='user', content=[])
        self.assertEqual(client.error()['message'],
                         "Invalid 'item.id': string too long. Expected a string with maximum length 32, but got a "
                         "string with length 33 instead.")
        self.item(client, type='function_call', name='find', arguments='{}', call_id='call:1')
        self.assertEqual(client.error()['param'], 'item.call_id')
        self.message(client, 'x' * 32)

    def test_missing_items(self):
        client = self.client(self.provider())
        for verb, gerund in (('retrieve', 'retrieving'), ('delete', 'deleting'), ('truncate', 'truncating')):
            client.send(f'conversation.item.{verb}', event_id='e', item_id='nope',
                        **({'content_index': 0, 'audio_end_ms': 1} if verb == 'truncate' else {}))
            error = client.error()
            self.assertEqual((error['code'], error['message'], error['event_id']), (
                f'item_{verb}_invalid_item_id', f"Error {gerund} item: the item with id 'nope' does not exist.", 'e'))

    def test_calls_and_outputs(self):
        client = self.client(self.provider())
        self.item(client, type='function_call_output', call_id='call_1', output='x')
        error = client.error()
        self.assertEqual((error['code'], error['message']), (
            'invalid_tool_call_id', "Tool call ID 'call_1' not found in conversation."))
        self.item(client, id='bc_f1', type='function_call', call_id='call_1', name='find', arguments='{}')
        self.assertEqual(client.take('conversation.item.added')['item']['call_id'], 'call_1')
        client.take('conversation.item.done')
        for expected in ('conversation.item.added', 'error'):
            self.item(client, type='function_call_output', call_id='call_1', output='x')
            self.assertEqual(client.until(expected)['type'], expected)
        self.assertEqual(client.events[-1]['error']['code'], 'invalid_tool_call_id')

    def test_delete_and_retrieve(self):
        client = self.client(self.provider())
        self.message(client, 'a')
        client.send('conversation.item.retrieve', item_id='a')
        self.assertEqual(client.take('conversation.item.retrieved')['item']['content'][0]['text'], 'a')
        client.send('conversation.item.delete', item_id='a')
        self.assertEqual(client.take('conversation.item.deleted')['item_id'], 'a')
        self.assertIsNone(self.message(client, 'b')['previous_item_id'])

    def test_truncate(self):
        client = self.talking()
        user = client.text('Thank you very much.')
        client.send('response.create')
        item = client.until('response.done')['response']['output'][0]
        client.send('conversation.item.truncate', item_id=item['id'], content_index=0, audio_end_ms=99999)
        self.assertRegex(client.error()['message'], r'^Audio content of \d+ms is already shorter than 99999ms$')
        client.send('conversation.item.truncate', item_id=user['id'], content_index=0, audio_end_ms=0)
        self.assertEqual(client.error()['message'], 'Only model output audio messages can be truncated')
        client.send('conversation.item.truncate', item_id=item['id'], content_index=0, audio_end_ms=100)
        self.assertEqual(client.take('conversation.item.truncated')['audio_end_ms'], 100)
        client.send('conversation.item.retrieve', item_id=item['id'])
        self.assertNotIn('transcript', client.take('conversation.item.retrieved')['item']['content'][0])


class Scripts(Case):
    def test_rules(self):
        client = self.client(self.provider('--script', self.write('script.json', SCRIPT)))
        client.update(tools=TOOLS[:2], output_modalities=['text'])
        client.text('Hi')
        client.send('response.create')
        self.assertEqual(client.until('response.done')['response']['output'][0]['content'][0]['text'], 'Hello.')
        client.text('How is the WEATHER?')
        client.send('response.create')
        done = client.until('response.done')['response']
        self.assertEqual([o['type'] for o in done['output']], ['message', 'function_call', 'function_call'])
        self.answer(client, {'output': done['output'][1:2]})
        client.send('response.create')
        self.assertIn('waiting', client.until('response.done')['response']['output'][0]['content'][0]['text'])
        self.answer(client, {'output': done['output'][2:]})
        client.send('response.create')
        self.assertEqual(client.until('response.done')['response']['output'][0]['content'][0]['text'], 'It is sunny.')

    def test_any_loud_sound_is_a_turn(self):
        client = self.client(self.provider('--script', self.write('script.json', SCRIPT)))
        say(client, b'\x00\x20\x00\xe0' * 12000 + SILENCE * 30)
        self.assertEqual(client.until('response.done')['response']['output'][0]['content'][0]['transcript'], 'Hello.')


class Logs(Case):
    def test_log(self):
        path = os.path.join(self.folder.name, 'log')
        with Provider(BINARY, TIMING, '--dialogues', self.dialogues, '--log', path) as provider:
            with Client(provider.port) as client:
                client.update(tools=TOOLS)
                say(client, speech(1, 0, 2) + SILENCE * 30)
                self.answer(client, client.until('response.done')['response'])
        with open(path, encoding='utf-8') as file:
            rows = [json.loads(line) for line in file]
        final = [row for row in rows if row['kind'] == 'conversation'][0]['items']
        self.assertEqual([i['kind'] for i in final], ['message', 'function_call', 'function_call_output'])
        self.assertEqual((final[0]['text'], final[1]['arguments']), ('Yes, book it.', '{"id":7}'))
        decisions = [row for row in rows if row['kind'] == 'decision']
        self.assertEqual((decisions[0]['turn'], decisions[0]['heard'], decisions[0]['says']), (1, 3, ['book']))
        self.assertTrue(all(re.fullmatch(r'<\d+>', row['event']['audio']) for row in rows
                            if row['kind'] == 'in' and row['event']['type'] == 'input_audio_buffer.append'))


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1], verbosity=1)
