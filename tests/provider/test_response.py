#!/usr/bin/env python3
"""Responses: calls, passes beside the conversation, cancels."""
import json
import os
import sys
import unittest

from case import TOOLS, TURN, Case, types
from realtime import SILENCE, say, speech


class Calls(Case):
    CALL = ['response.output_item.added', 'conversation.item.added', 'response.function_call_arguments.delta',
            'response.function_call_arguments.done', 'response.output_item.done', 'conversation.item.done']

    def test_parallel_then_dependent(self):
        client = self.talking(instructions='Be brief. ' * 400)
        say(client, speech(0, 0, 7) + SILENCE * 30)
        first = client.until('response.done')['response']
        self.assertEqual(self.names(first), [('find', {'city': 'Rome'}), ('find', {'city': 'Rome', 'fast': True})])
        self.assertEqual(types(client.events), TURN + ['response.created'] + self.CALL * 2 + ['response.done'])
        done = [e for e in client.events if e['type'] == 'response.function_call_arguments.done']
        self.assertEqual([(e['name'], e['output_index']) for e in done], [('find', 0), ('find', 1)])
        self.answer(client, first)
        client.send('response.create')
        second = client.until('response.done')['response']
        self.assertEqual(self.names(second), [('details', {'n': 1})])
        usage = second['usage']['input_token_details']
        self.assertEqual(usage['cached_tokens'], first['usage']['input_tokens'])
        client.send('response.create')
        waiting = client.until('response.done')['response']['output'][0]['content'][0]
        self.assertIn('still waiting', waiting['transcript'])
        self.answer(client, second)
        client.send('response.create')
        self.assertEqual(client.until('response.done')['response']['output'][0]['content'][0]['transcript'],
                         'I found one. Shall I book it?')

    def test_no_call_without_its_tool(self):
        client = self.talking()
        client.text('Yes, book it.')
        client.send('response.create', response={'tools': TOOLS[:1], 'output_modalities': ['text']})
        self.assertEqual(client.until('response.done')['response']['output'][0]['content'][0]['text'], 'Booked.')
        client.send('response.create', response={'tool_choice': 'none', 'output_modalities': ['text']})
        self.assertEqual(self.names(client.until('response.done')['response']), [])
        client.send('response.create')
        self.assertEqual(self.names(client.until('response.done')['response']), [('book', {'id': 7})])

    def test_injected_pair_counts(self):
        client = self.talking()
        client.text('Yes, book it.')
        client.send('conversation.item.create', item={'type': 'function_call', 'call_id': 'bc_c1', 'name': 'book',
                                                      'arguments': '{ "id": 7.0 }'})
        client.send('conversation.item.create', item={'type': 'function_call_output', 'call_id': 'bc_c1',
                                                      'output': '1'})
        client.send('response.create')
        self.assertEqual(client.until('response.done')['response']['output'][0]['content'][0]['transcript'], 'Booked.')

    def test_max_output_tokens(self):
        client = self.talking()
        client.text('Yes, book it.')
        client.send('response.create', response={'max_output_tokens': 1})
        done = client.until('response.done')['response']
        self.assertEqual((done['status'], done['status_details']['reason']), ('incomplete', 'max_output_tokens'))
        self.assertEqual(done['output'][0]['status'], 'incomplete')

    def test_failure(self):
        client = self.talking('--fail', '1')
        for status in ('failed', 'completed'):
            client.send('response.create')
            done = client.until('response.done')['response']
            self.assertEqual(done['status'], status)
        self.assertNotIn('error', types(client.events))

    def test_rival(self):
        client = self.talking('--rival', '1')
        client.text('Find flights to Rome, and be quick please.')
        aside = self.aside(client, self.said('Find flights to Rome, and be quick please.'))
        client.send('response.create')
        rival = client.until('response.done')['response']
        self.assertEqual(self.names(aside)[0], ('find', {'city': 'Rome'}))
        self.assertNotEqual(self.names(rival)[:1], self.names(aside)[:1])


class Asides(Case):
    def test_readiness_by_inline_audio(self):
        client = self.talking()
        self.assertEqual(self.names(self.aside(client, self.words(0, 0, 2))), [])
        created = [e for e in client.events if e['type'] == 'response.created'][0]['response']
        self.assertIsNone(created['conversation_id'])
        self.assertEqual(self.names(self.aside(client, self.words(0, 0, 3))), [('find', {'city': 'Rome'})])
        self.assertEqual(self.names(self.aside(client, self.words(0, 1, 7))), [], 'the first word was not heard')
        pair = [{'type': 'function_call', 'call_id': 'bc_g1', 'name': 'find', 'arguments': '{"city":"Rome"}'},
                {'type': 'function_call_output', 'call_id': 'bc_g1', 'output': '{}'}]
        self.assertEqual(self.names(self.aside(client, self.words(0, 0, 3), *pair)), [('details', {'n': 1})])
        self.assertFalse([e for e in client.events if e['type'].startswith('conversation.')])

    def test_word_rule(self):
        client = self.talking('--rule', 'word')
        self.assertEqual(self.names(self.aside(client, self.words(0, 0, 2))), [('find', {'city': 'Rome'})])

    def test_readiness_by_text(self):
        client = self.talking()
        text = self.said('find flights to')
        self.assertEqual(self.names(self.aside(client, text)), [])
        text['content'][0]['text'] += ' Rome'
        self.assertEqual(self.names(self.aside(client, text)), [('find', {'city': 'Rome'})])

    def test_repair(self):
        client = self.talking()
        self.assertEqual(self.names(self.aside(client, self.words(0, 0, 3, True))), [('find', {'city': 'Milan'})])
        self.assertEqual(self.names(self.aside(client, self.words(0, 0, 6, True))), [('find', {'city': 'Rome'})])

    def test_errors_of_passes(self):
        client = self.client(self.provider('--dialogues', self.dialogues, '--early-wrong', '1', '--premature', '0'))
        client.update(tools=TOOLS)
        early = self.names(self.aside(client, self.words(0, 0, 3)))
        self.assertNotEqual(early, [('find', {'city': 'Rome'})])
        self.assertEqual(early, self.names(self.aside(client, self.words(0, 0, 3))), 'drawn by name')
        self.assertIn(('find', {'city': 'Rome'}), self.names(self.aside(client, self.words(0, 0, 7))))
        client = self.client(self.provider('--dialogues', self.dialogues, '--premature', '1'))
        client.update(tools=TOOLS)
        self.assertEqual(len(self.names(self.aside(client, self.words(0, 0, 1)))), 1)

    def test_references(self):
        client = self.talking(audio={'input': {'turn_detection': {'type': 'server_vad', 'create_response': False}}})
        say(client, speech(0, 0, 3) + SILENCE * 30)
        item = client.until('conversation.item.done')['item']
        reference = {'type': 'item_reference', 'id': item['id']}
        self.assertEqual(self.names(self.aside(client, reference)), [('find', {'city': 'Rome'})])
        whole = self.names(self.aside(client, reference, self.words(0, 4, 7)))
        self.assertEqual(len(whole), 2, 'two items of one turn count as one')
        client.send('response.create', event_id='r', response={
            'conversation': 'none', 'input': [{'type': 'item_reference', 'id': 'nope'}]})
        error = client.error()
        self.assertEqual((error['param'], error['event_id']), ('response.input[0].id', 'r'))
        client.send('response.create', response={'conversation': 'none', 'input': [
            {'type': 'function_call_output', 'call_id': 'c9', 'output': ''}]})
        self.assertEqual(client.error()['code'], 'invalid_tool_call_id')

    def test_two_at_once_further_ones_queue(self):
        client = self.talking(scale=1)
        for n in range(3):
            client.send('response.create', response={'conversation': 'none', 'metadata': {'n': str(n)},
                                                     'input': [self.words(0, 0, 3)]})
        order = []
        while order.count('response.done') < 3:
            event = client.next()
            if event['type'] in ('response.created', 'response.done'):
                order.append(event['type'])
        self.assertEqual(order[:4], ['response.created', 'response.created', 'response.done', 'response.created'])

    def test_beside_the_active_one(self):
        client = self.talking(scale=1)
        client.text('Thank you very much.')
        client.send('response.create')
        active = client.until('response.created')['response']['id']
        client.send('response.create', response={'conversation': 'none', 'input': [self.words(0, 0, 3)]})
        client.send('response.create', event_id='again')
        error = client.until('error')['error']
        self.assertEqual((error['code'], error['event_id'], error['message']), (
            'conversation_already_has_active_response', 'again',
            f'Conversation already has an active response in progress: {active}. Wait until the response is finished '
            'before creating a new one.'))
        ended = {client.until('response.done')['response']['status'] for _ in range(2)}
        self.assertEqual(ended, {'completed'})

    def test_anonymous_collision(self):
        client = self.talking('--anonymous-errors', scale=1)
        client.send('response.create')
        client.send('response.create', event_id='again')
        self.assertIsNone(client.until('error')['error']['event_id'])

    def test_pass_that_disagrees(self):
        client = self.talking('--disagree', '1')
        whole = self.names(self.aside(client, self.words(0, 0, 7)))
        self.assertNotIn(('find', {'city': 'Rome'}), whole)
        client.text('Find flights to Rome, and be quick please.')
        client.send('response.create')
        self.assertIn(('find', {'city': 'Rome'}), self.names(client.until('response.done')['response']))

    def test_rejected_inline_audio(self):
        client = self.talking('--reject-inline-audio')
        client.send('response.create', response={'conversation': 'none', 'input': [self.words(0, 0, 3)]})
        self.assertIn('input_audio', client.error()['message'])

    def test_metadata_limits(self):
        client = self.talking()
        for metadata in ({str(n): '' for n in range(17)}, {'k' * 65: ''}, {'k': 'v' * 513}, {'k': 1}):
            client.send('response.create', response={'metadata': metadata})
            self.assertTrue(client.error()['param'].startswith('response.metadata'))
        client.send('response.create', response={'temperature': 1})
        self.assertEqual(client.error()['message'], "Unknown parameter: 'response.temperature'.")


class Cancels(Case):
    def thinking(self, *args, **named):
        client = self.talking(*args, **named)
        client.text('Thank you very much.')
        client.send('response.create')
        return client, client.until('response.created')['response']['id']

    def test_nothing_active(self):
        client = self.talking()
        client.send('response.cancel', event_id='x')
        error = client.error()
        self.assertEqual((error['code'], error['message'], error['event_id']), (
            'response_cancel_not_active', 'Cancellation failed: no active response found', 'x'))

    def test_before_the_first_item(self):
        client, response = self.thinking(scale=0.1)
        client.send('response.cancel', response_id=response)
        done = client.until('response.done')['response']
        self.assertEqual((done['status'], done['status_details']['reason'], done['output']),
                         ('cancelled', 'client_cancelled', []))
        self.assertGreater(done['usage']['input_tokens'], 0)
        client.send('response.create')
        client.until('response.created')

    def test_create_is_refused_until_the_cancel_is_done(self):
        client, response = self.thinking('--cancel-delay', '2000', scale=1)
        client.send('response.cancel')
        client.send('response.create')
        self.assertEqual(client.until('error')['error']['code'], 'conversation_already_has_active_response')
        client.send('response.cancel')
        self.assertEqual(client.until('error')['error']['code'], 'response_cancel_not_active')
        self.assertEqual(client.until('response.done')['response']['id'], response)
        client.nothing_more()

    def test_aside_only_by_id(self):
        client = self.talking(scale=0.1)
        client.send('response.create', response={'conversation': 'none', 'input': []})
        response = client.until('response.created')['response']['id']
        client.send('response.cancel')
        self.assertEqual(client.until('error')['error']['code'], 'response_cancel_not_active')
        client.send('response.cancel', response_id=response)
        self.assertEqual(client.until('response.done')['response']['status'], 'cancelled')

    def test_half_an_item(self):
        client, _ = self.thinking(scale=0.1, timing=self.slow_talker())
        item = client.until('conversation.item.added')['item']
        client.send('response.cancel')
        self.assertEqual(client.until('conversation.item.done')['item']['status'], 'incomplete')
        client.until('response.done')
        client.send('conversation.item.delete', item_id=item['id'])
        self.assertEqual(client.take('conversation.item.deleted')['item_id'], item['id'])

    def test_deleted_while_spoken(self):
        client, _ = self.thinking(scale=0.5, timing=self.slow_talker())
        item = client.until('conversation.item.added')['item']
        client.send('conversation.item.delete', item_id=item['id'])
        client.until('conversation.item.deleted')
        self.assertEqual(client.until('response.done')['response']['status'], 'completed')


class Dialogues(Case):
    """Every dialogue of our own, spoken through: exactly its calls are made and its replies given."""

    def turn(self, client, index, turn):
        words = len(turn['user'].split())
        say(client, SILENCE * 5 + speech(index, 0, words - 1) + SILENCE * 30, 9600)
        made = []
        while True:
            done = client.until('response.done')['response']
            if not self.names(done):
                break
            made += self.names(done)
            self.answer(client, done)
            client.send('response.create')
        self.assertCountEqual(made, [(c['name'], c['args']) for c in turn['calls']])
        self.assertEqual(done['output'][0]['content'][0]['text'], turn['reply'] or 'Done.')

    def test_all(self):
        folder = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'dialogues')
        played = 0
        for name in sorted(os.listdir(folder)):
            if not name.endswith('.jsonl'):
                continue
            path = os.path.join(folder, name)
            provider = self.provider('--dialogues', path, scale=1000)
            with open(path, encoding='utf-8') as file:
                dialogues = [json.loads(line) for line in file]
            for dialogue in dialogues:
                with self.subTest(dialogue['id']):
                    client = self.client(provider, model=dialogue['id'])
                    client.update(output_modalities=['text'], tools=[
                        {'type': 'function', **{k: t[k] for k in ('name', 'description', 'parameters')}}
                        for t in dialogue['tools']])
                    for index, turn in enumerate(dialogue['turns']):
                        self.turn(client, index, turn)
                        played += 1
        self.assertGreater(played, 0)


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1], verbosity=1)
