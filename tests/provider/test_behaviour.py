#!/usr/bin/env python3
"""What the model does by itself, when it is asked to prepare, and when a turn runs alone; its accounts."""
import hashlib
import sys
import unittest

from case import DIALOGUE, TIMING, TOOLS, Case, call, types
from realtime import SILENCE, say, speech

ROME, QUICK = ('find', {'city': 'Rome'}), ('find', {'city': 'Rome', 'fast': True})


class Behaviours(Case):
    def proactive(self, *args, **named):
        return self.talking('--behaviour', 'proactive', '--eagerness', '1', *args, **named)

    def test_proactive_calls_while_the_caller_speaks(self):
        client = self.proactive()
        say(client, speech(0, 0, 3))
        early = client.until('response.done')['response']
        self.assertEqual(self.names(early), [ROME])
        self.assertNotIn('input_audio_buffer.speech_stopped', types(client.events))
        self.assertNotIn('conversation.item.done', types(client.events[:3]), 'the turn is no item yet')
        self.answer(client, early)
        say(client, speech(0, 4, 7) + SILENCE * 30)
        rest = client.until('response.done')['response']
        while not self.names(rest):
            rest = client.until('response.done')['response']
        named = self.names(rest)
        self.assertNotIn(ROME, named, 'it knows its own call')
        self.assertIn(('details', {'n': 1}), named + self.names(early))

    def test_the_log_knows_the_turn_of_a_proactive_call(self):
        client = self.proactive('--log', self.log_path, '--log-kinds', 'conversation')
        say(client, speech(0, 0, 3))
        client.until('response.done')
        client.socket.close()
        while not self.log('conversation'):
            pass
        (made,) = self.log('conversation')[0]['items']
        self.assertEqual((made['name'], made['turn']), ('find', 0))

    def test_proactive_says_nothing_in_mid_speech(self):
        client = self.proactive()
        say(client, speech(0, 0, 1))
        client.until('input_audio_buffer.speech_started')
        client.send('response.create')
        self.assertEqual(client.until('response.done')['response']['output'], [])

    def test_proactive_wrong_call_is_followed_by_the_right_one(self):
        client = self.proactive('--early-wrong', '1')
        say(client, speech(0, 0, 3))
        early = client.until('response.done')['response']
        self.assertNotEqual(self.names(early), [ROME])
        self.assertEqual(len(self.names(early)), 1)
        say(client, speech(0, 4, 7) + SILENCE * 30)
        made = []
        while ROME not in made:
            made += self.names(client.until('response.done')['response'])
        self.assertIn(ROME, made)

    def test_prompted_never_calls_in_mid_speech(self):
        client = self.talking()
        say(client, speech(0, 0, 5))
        client.send('input_audio_buffer.clear')
        client.until('input_audio_buffer.cleared')
        client.nothing_more()
        self.assertNotIn('response.created', types(client.events))

    def test_turn_based_waits_for_the_commit(self):
        client = self.talking('--behaviour', 'turn-based',
                              audio={'input': {'turn_detection': {'type': 'server_vad', 'create_response': False}}})
        self.assertEqual(self.names(self.aside(client, self.words(0, 0, 7))), [])
        say(client, speech(0, 0, 7) + SILENCE * 30)
        client.until('conversation.item.done')
        self.assertEqual(self.names(self.aside(client, self.words(0, 0, 7))), [ROME, QUICK])

    def test_eagerness(self):
        client = self.talking('--eagerness', '0')
        self.assertEqual(self.names(self.aside(client, self.words(0, 0, 6))), [])
        self.assertEqual(self.names(self.aside(client, self.words(0, 0, 7))), [ROME, QUICK])
        seen = set()
        for seed in range(1, 13):
            client = self.talking('--eagerness', '0.5', '--seed', str(seed))
            first = self.names(self.aside(client, self.words(0, 0, 4)))
            self.assertEqual(first, self.names(self.aside(client, self.words(0, 0, 6))), 'drawn once per call')
            seen.add(len(first))
        self.assertEqual(seen, {0, 1})

    def test_a_repair_that_is_not_believed(self):
        milan = ('find', {'city': 'Milan'})
        client = self.talking('--applies-repair', '0')
        say(client, speech(0, 0, 10, True) + SILENCE * 30)
        done = client.until('response.done')['response']
        self.assertIn(milan, self.names(done))
        self.assertNotIn(ROME, self.names(done))
        self.answer(client, done)
        client.send('response.create')
        done = client.until('response.done')['response']
        self.assertEqual(self.names(done), [('details', {'n': 1})], 'nothing is named twice')


class Prepare(Case):
    DIRECTIVE = {'type': 'message', 'role': 'system', 'content': [{
        'type': 'input_text', 'text': 'Assume the caller now Simply Agrees: name that call, or NONE.'}]}
    BOOK = ('book', {'id': 7})

    def asked(self, client, turn, *more):
        """A prepare pass behind that turn and its answer."""
        said = [self.said(DIALOGUE['turns'][turn]['user']),
                {'type': 'message', 'role': 'assistant', 'content': [{
                    'type': 'output_text', 'text': DIALOGUE['turns'][turn]['reply']}]}]
        return self.names(self.aside(client, said[0], *more, said[1], self.DIRECTIVE))

    def done(self):
        pairs = []
        for n, (name, args) in enumerate((('find', '{"city":"Rome"}'), ('find', '{"city":"Rome","fast":true}'),
                                          ('details', '{"n":1}'))):
            pairs += [{'type': 'function_call', 'call_id': f'c{n}', 'name': name, 'arguments': args},
                      {'type': 'function_call_output', 'call_id': f'c{n}', 'output': '{}'}]
        return pairs

    def talking_of(self, change, *options):
        """A client whose dialogue has its second turn changed."""
        turn = {**DIALOGUE['turns'][1], **change}
        self.write('dialogue.jsonl', {**DIALOGUE, 'turns': [DIALOGUE['turns'][0], turn, DIALOGUE['turns'][2]]})
        return self.talking(*options)

    def test_agreement_determines_the_write(self):
        client = self.talking()
        self.assertEqual(self.asked(client, 0, *self.done()), [self.BOOK])
        self.assertEqual(self.asked(client, 0), [], 'the turn before is not done')
        self.assertEqual(self.asked(client, 1, *self.done()), [])

    def test_without_the_directive_it_is_an_ordinary_pass(self):
        client = self.talking()
        directive = {**self.DIRECTIVE, 'content': [{'type': 'input_text', 'text': 'Name calls.'}]}
        self.assertEqual(self.names(self.aside(client, self.said('Yes, book it.'), directive)), [self.BOOK])

    def test_what_was_read_back_although_it_will_be_refused(self):
        offer = {'name': 'book', 'args': {'id': 8}, 'outcome': 'rejected'}
        client = self.talking_of({'user': 'No, the later one.', 'calls': [], 'confirming': offer})
        self.assertEqual(self.asked(client, 0, *self.done()), [('book', {'id': 8})])

    def test_words_to_come_are_not_known(self):
        said = {**DIALOGUE['turns'][1]['calls'][0], 'arg_word': {'id': 2}}
        self.assertEqual(self.asked(self.talking_of({'calls': [said]}), 0, *self.done()), [])
        asks = {'user': 'Please book it.'}
        self.assertEqual(self.asked(self.talking_of(asks), 0, *self.done()), [], 'he may ask for anything')
        self.assertEqual(self.asked(self.talking_of(asks, '--prepare', 'history'), 0, *self.done()), [self.BOOK])
        self.assertEqual(self.asked(self.talking('--prepare', 'none'), 0, *self.done()), [])

    def test_ready_before_the_turn(self):
        known = {**call('details', {'n': 2}, 1), 'ready_clause': 1}
        client = self.talking_of({'user': 'And the second?', 'calls': [known]})
        self.assertEqual(self.asked(client, 0, *self.done()), [('details', {'n': 2})])

    def test_errors(self):
        client = self.talking('--early-wrong', '1')
        wrong, = self.asked(client, 0, *self.done())
        self.assertEqual(wrong[0], 'book')
        self.assertNotEqual(wrong, self.BOOK)
        client = self.talking('--behaviour', 'turn-based')
        self.assertEqual(self.asked(client, 0, *self.done()), [])


class Alone(Case):
    """A turn spoken behind the earlier ones as text is the same turn."""

    def decisions(self, load):
        log = ('--log', self.log_path, '--log-kinds', 'decision')
        client = self.talking(*log, audio={'output': {'voice': 'ash'}})
        if load:
            self.load(client)
        else:
            say(client, speech(0, 0, 7) + SILENCE * 30)
            done = client.until('response.done')['response']
            while self.names(done):
                self.answer(client, done)
                client.send('response.create')
                done = client.until('response.done')['response']
        say(client, speech(1, 0, 2) + SILENCE * 30)
        done = client.until('response.done')['response']
        self.assertEqual(self.names(done), [('book', {'id': 7})])
        self.answer(client, done)
        client.send('response.create')
        client.until('response.done')
        return [(d['heard'], d['delay_s'], d['says']) for d in self.log('decision') if d['turn'] == 1]

    def load(self, client):
        turn = DIALOGUE['turns'][0]
        items = [self.said(turn['user'])]
        for n, made in enumerate(turn['calls']):
            items += [{'type': 'function_call', 'call_id': f'c{n}', 'name': made['name'], 'arguments': '{}'},
                      {'type': 'function_call_output', 'call_id': f'c{n}', 'output': '{}'}]
        items.append({'type': 'message', 'role': 'assistant', 'content': [{
            'type': 'output_text', 'text': turn['reply']}]})
        for item in items:
            client.send('conversation.item.create', item=item)
            client.until('conversation.item.done')

    def test_same_draws_as_in_the_whole_dialogue(self):
        whole = self.decisions(load=False)
        self.assertEqual([says for _, _, says in whole], [['book'], ['Booked.']])
        self.assertEqual(self.decisions(load=True), whole)


class Named(Case):
    def test_instances_and_tags(self):
        provider = self.provider('--dialogues', self.dialogues, '--tag-calls', '--log', self.log_path)
        client = self.client(provider, model='trip@7:1')
        client.update(tools=TOOLS)
        client.text('Yes, book it.')
        client.send('response.create')
        done = client.until('response.done')['response']
        self.assertEqual(self.names(done), [('book', {'id': 7, '_sim': 'trip@7:1'})])
        self.answer(client, done)
        client.send('response.create')
        self.assertEqual(self.names(client.until('response.done')['response']), [], 'it knows its own call')
        self.assertEqual([(line['dialogue'], line['name']) for line in self.log('session')], [('trip', 'trip@7:1')])

    def test_several_files(self):
        second = self.write('second.jsonl', {**DIALOGUE, 'id': 'other'})
        for options in (('--dialogues', self.dialogues, second), ('--dialogues', self.dialogues, '--dialogues', second)):
            provider = self.provider(*options, '--tag-calls')
            client = self.client(provider, model='sim:other')
            client.update(tools=TOOLS)
            client.text('Yes, book it.')
            client.send('response.create')
            self.assertEqual(self.names(client.until('response.done')['response']),
                             [('book', {'id': 7, '_sim': 'other'})])


class Accounts(Case):
    def test_hash_and_parameters(self):
        provider = self.provider('--dialogues', self.dialogues, '--log', self.log_path, '--early-wrong', '0.25')
        with open(TIMING, 'rb') as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        self.assertEqual(provider.parameters, 'sha256:' + digest)
        line, = self.log('parameters')
        self.assertEqual((line['sha256'], line['behaviour'], line['early_wrong'], line['eagerness'], line['session']),
                         (digest, 'prompted', 0.25, 1.0, 0))

    def test_proactive_eagerness_is_the_profile_s(self):
        for profile, rate in (('gpt-realtime', 0.108), ('gemini-3.1-flash-live', 0.169), ('gpt-realtime-1.5', 0.108)):
            self.provider('--dialogues', self.dialogues, '--log', self.log_path, '--behaviour', 'proactive',
                          '--profile', profile)
            line, = self.log('parameters')
            self.assertEqual((line['eagerness'], line['profile']), (rate, profile))

    def test_every_response_is_accounted_for(self):
        client = self.talking('--log', self.log_path, '--log-kinds', 'response,closed',
                              instructions='Be brief. ' * 400)
        say(client, speech(2, 0, 3) + SILENCE * 30)
        spoken = client.until('response.done')['response']
        aside = self.aside(client, self.words(0, 0, 3), metadata={'k': 'v'})
        lines = {line['id']: line for line in self.log('response', 'in', 'out', 'decision')}
        self.assertEqual(set(lines), {spoken['id'], aside['id']})
        one, two = lines[spoken['id']], lines[aside['id']]
        self.assertEqual((one['aside'], one['vad'], one['turn'], one['status']), (False, True, 2, 'completed'))
        self.assertEqual((two['aside'], two['vad'], two['metadata']), (True, False, {'k': 'v'}))
        self.assertTrue(one['created'] <= one['first'] <= one['done'])
        tokens, usage = one['tokens'], spoken['usage']
        self.assertEqual(tokens['text_in'] + tokens['audio_in'], usage['input_tokens'])
        self.assertEqual(tokens['text_out'] + tokens['audio_out'], usage['output_tokens'])
        money = (tokens['text_in'] * 4 + tokens['audio_in'] * 32 + tokens['text_out'] * 24
                 + tokens['audio_out'] * 64) / 1e6
        self.assertAlmostEqual(one['usd'], money)
        self.assertGreater(two['tokens']['cached_text'], 1000, 'instructions and tools stand in front')
        cheap = (two['tokens']['text_in'] - two['tokens']['cached_text']) * 4 + two['tokens']['cached_text'] * 0.4
        self.assertAlmostEqual(two['usd'], (cheap + two['tokens']['audio_in'] * 32
                                            + two['tokens']['text_out'] * 24) / 1e6)

    def test_nothing_is_cached_below_1024_tokens(self):
        client = self.talking()
        for _ in range(2):
            done = self.aside(client, self.words(0, 0, 3))
            self.assertEqual(done['usage']['input_token_details']['cached_tokens'], 0)

    def test_round_trip(self):
        """Inside the published times: a longer way makes passes no shorter than it and no pass negative."""
        delays = []
        for rtt in ('0', '40'):
            client = self.talking('--rtt', rtt, '--log', self.log_path, '--log-kinds', 'decision')
            self.aside(client, self.words(0, 0, 3))
            line, = self.log('decision')
            delays.append(line['delay_s'])
        self.assertAlmostEqual(delays[0] - delays[1], 0.04)
        client = self.talking('--rtt', '4000', scale=20)
        client.text('Thank you very much.')
        client.send('response.create')
        self.assertEqual(client.until('response.done')['response']['status'], 'completed')
        client.nothing_more()

    def test_what_was_sent_before_the_end_counts(self):
        client = self.talking('--rtt', '100000', '--log', self.log_path, '--log-kinds', 'conversation', scale=1000)
        client.send('conversation.item.create', item=self.said('Thank you very much.'))
        client.socket.close()
        while not self.log('conversation'):
            pass
        items = self.log('conversation')[0]['items']
        self.assertEqual([item['text'] for item in items], ['Thank you very much.'])


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1], verbosity=1)
