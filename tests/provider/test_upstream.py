#!/usr/bin/env python3
"""Services differ in what their documents leave open: each behaviour the other way."""
import sys
import unittest

from case import Case, types
from realtime import SILENCE, say, speech

CALL = {'type': 'function_call', 'call_id': 'bc_c1', 'name': 'book', 'arguments': '{"id":7}'}
OUTPUT = {'type': 'function_call_output', 'call_id': 'bc_c1', 'output': '1'}


class Refusals(Case):
    def create(self, client, item):
        client.send('conversation.item.create', item=item)
        return client.until('conversation.item.done')['item']

    def refused(self, client, **response):
        client.send('response.create', event_id='r', response=response)
        error = client.until('error')['error']
        self.assertEqual(error['event_id'], 'r')
        return error

    def test_function_items(self):
        client = self.talking('--no-function-items')
        client.send('conversation.item.create', item=CALL)
        self.assertIn('function_call', client.error()['message'])

    def test_out_of_band(self):
        client = self.talking('--no-out-of-band')
        self.assertEqual(self.refused(client, conversation='none')['param'], 'response.conversation')

    def test_input(self):
        client = self.talking('--no-input')
        self.assertEqual(self.refused(client, conversation='none', input=[])['code'], 'unknown_parameter')

    def test_inline_audio(self):
        client = self.talking('--no-inline-audio')
        self.assertIn('input_audio', self.refused(client, conversation='none', input=[self.words(0, 0, 3)])['message'])

    def test_metadata_is_dropped(self):
        client = self.talking('--no-metadata')
        client.send('response.create', response={'metadata': {'k': 'v'}})
        self.assertIsNone(client.until('response.created')['response']['metadata'])
        self.assertIsNone(client.until('response.done')['response']['metadata'])

    def test_asides_without_calls(self):
        client = self.talking('--no-aside-calls')
        self.assertEqual(self.names(self.aside(client, self.words(0, 0, 7))), [])

    def test_asides_without_cache(self):
        for options, cached in (((), True), (('--no-aside-cache',), False)):
            client = self.talking(*options, instructions='Be brief. ' * 400)
            self.aside(client, self.words(0, 0, 3))
            usage = self.aside(client, self.words(0, 0, 3))['usage']
            self.assertEqual(usage['input_token_details']['cached_tokens'] > 0, cached)

    def test_manual_commit(self):
        client = self.talking('--no-manual-commit')
        say(client, speech(2, 0, 3))
        client.send('input_audio_buffer.commit')
        self.assertIn('turn detection', client.until('error')['error']['message'])

    def test_output_while_active(self):
        client = self.talking('--no-output-while-active', scale=0.5)
        self.create(client, CALL)
        client.send('response.create')
        client.until('response.created')
        client.send('conversation.item.create', item=OUTPUT)
        self.assertEqual(client.until('error')['error']['code'], 'conversation_already_has_active_response')

    def test_references(self):
        for options, refused in (((), False), (('--refuse-references',), True)):
            client = self.talking(*options)
            reference = {'type': 'item_reference', 'id': self.create(client, CALL)['id']}
            client.send('response.create', response={'conversation': 'none', 'input': [reference]})
            while client.next()['type'] not in ('error', 'response.done'):
                pass
            self.assertEqual(client.events[-1]['type'] == 'error', refused)

    def test_call_ids_are_renamed(self):
        client = self.talking('--rename-call-ids')
        made = self.create(client, CALL)['call_id']
        self.assertNotEqual(made, 'bc_c1')
        client.send('conversation.item.create', item=OUTPUT)
        self.assertEqual(client.error()['code'], 'invalid_tool_call_id')
        self.create(client, {**OUTPUT, 'call_id': made})

    def test_old_calls(self):
        client = self.talking('--call-age', '3600', scale=1)
        self.create(client, CALL)
        self.create(client, OUTPUT)
        client = self.talking('--call-age', '0.000001', scale=1000)
        self.create(client, CALL)
        client.send('conversation.item.create', item=OUTPUT)
        self.assertEqual(client.error()['code'], 'invalid_tool_call_id')

    def test_output_of_a_deleted_call(self):
        client = self.talking()
        made = self.create(client, CALL)
        client.send('conversation.item.delete', item_id=made['id'])
        client.take('conversation.item.deleted')
        client.send('conversation.item.create', item=OUTPUT)
        self.assertEqual(client.error()['code'], 'invalid_tool_call_id')


class Ways(Case):
    def test_usage_of_a_cancelled_response(self):
        client = self.talking('--cancel-null-usage', scale=0.1)
        client.send('response.create')
        client.until('response.created')
        client.send('response.cancel')
        self.assertIsNone(client.until('response.done')['response']['usage'])

    def test_late_create_is_cancelled(self):
        client = self.talking('--cancel-late-create')
        say(client, speech(0, 0, 0))
        client.until('input_audio_buffer.speech_started')
        client.send('response.create')
        details = client.until('response.done')['response']['status_details']
        self.assertEqual(details, {'type': 'cancelled', 'reason': 'turn_detected'})

    def test_automatic_response_waits(self):
        detection = {'type': 'server_vad', 'interrupt_response': False}
        for options, n in (((), 1), (('--queue-auto-create',), 2)):
            client = self.talking(*options, scale=0.05, timing=self.slow_talker(), output_modalities=['text'],
                                  audio={'input': {'turn_detection': detection}})
            client.send('response.create')
            client.until('response.created')
            say(client, speech(2, 0, 3) + SILENCE * 30)
            client.until('input_audio_buffer.committed')
            for _ in range(n):
                client.until('response.done')
            client.nothing_more()
            self.assertEqual(types(client.events).count('response.created'), n)

    def test_truncated_without_being_asked(self):
        client = self.talking('--truncate-on-interrupt', scale=0.1, timing=self.slow_talker())
        say(client, speech(2, 0, 3) + SILENCE * 30)
        item = client.until('response.output_audio.delta')['item_id']
        say(client, speech(2, 0, 0))
        client.until('response.done')
        truncated = client.until('conversation.item.truncated')
        self.assertEqual(truncated['item_id'], item)
        self.assertGreater(truncated['audio_end_ms'], 0)

    def test_idle_timeout_without_a_response(self):
        detection = {'type': 'server_vad', 'idle_timeout_ms': 5000, 'create_response': False}
        client = self.talking('--idle-needs-create', audio={'input': {'turn_detection': detection}})
        client.text('Thank you very much.')
        client.send('response.create')
        client.until('response.done')
        client.until('input_audio_buffer.timeout_triggered')
        client.until('conversation.item.done')
        client.nothing_more()

    def test_text_after_text(self):
        client = self.talking('--text-after-text')
        client.text('Thank you very much.')
        client.send('conversation.item.create', item={
            'type': 'message', 'role': 'assistant', 'content': [{'type': 'output_text', 'text': 'Hm.'}]})
        client.send('response.create')
        self.assertEqual(client.until('response.done')['response']['output'][0]['content'][0]['type'], 'output_text')

    def test_more_passes_at_once(self):
        client = self.talking('--asides', '1', scale=1)
        for _ in range(2):
            client.send('response.create', response={'conversation': 'none', 'input': []})
        order = []
        while order.count('response.done') < 2:
            order.append(client.next()['type'])
        order = [name for name in order if name in ('response.created', 'response.done')]
        self.assertEqual(order, ['response.created', 'response.done'] * 2)


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1], verbosity=1)
