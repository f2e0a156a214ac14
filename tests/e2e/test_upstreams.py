#!/usr/bin/env python3
"""Providers that do things the other way: the call goes on, the caller is answered, and the next session knows.

One gateway serves them all, each under the name of what it does; the calls run side by side.

Usage: test_upstreams.py BUILD SOURCE
"""
import base64
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import threading

from gateway import SOURCE, Case, SimulatedProvider, ToolServer, dialogue, program, run
from world import tool_toml
from ws import wait_until

sys.path.insert(1, os.path.join(SOURCE, 'tests', 'provider'))
from realtime import SILENCE, speech  # noqa: E402  (its folder is known only now)

SCALE = 8  # times as fast as a person
STORY = dialogue('orders-1')
EXACT = ('--premature', '0', '--early-wrong', '0', '--disagree', '0', '--rival', '0')
TRIES = 6  # calls within which a behaviour that needs a race to be won is noticed
PAUSE = SILENCE * 12
END = SILENCE * 40
SHORT = 200  # milliseconds: the default of eager_silence
TURN_END = 25  # pieces of silence that end a turn, and no more


class Provider:
    """One provider under the name its upstream has, with what it was asked."""

    def __init__(self, test, name, *options):
        self.test, self.name = test, name
        folder = os.path.join(test.folder, name)
        os.mkdir(folder)
        self.simulated = SimulatedProvider(folder, test.tools.dialogues, test.provider_key, SCALE, (*EXACT, *options))
        test.addCleanup(self.simulated.end)
        self.key = f'bk-{name}'

    def events(self, direction):
        with open(self.simulated.log_path, encoding='utf-8') as log:
            lines = [json.loads(line) for line in log if line.endswith('\n')]
        return [line['event'] for line in lines if line['kind'] == direction]

    def passes(self):
        return [event['response'] for event in self.events('in') if event['type'] == 'response.create'
                and event.get('response', {}).get('conversation') == 'none']

    def passes_answered(self):
        """Passes that have ended or were refused."""
        return len([event for event in self.events('out') if event['type'] == 'error'
                    or (event['type'] == 'response.done' and event['response']['conversation_id'] is None)])

    def heard(self):
        """What became of the caller's audio."""
        return [event['type'].removeprefix('input_audio_buffer.') for event in self.events('out')
                if event['type'].startswith('input_audio_buffer.')]

    def silences(self):
        """What the updates of turn detection that were answered have made of the silence that ends turns."""
        kept = [event['session']['audio']['input']['turn_detection'] for event in self.events('out')
                if event['type'] in ('session.created', 'session.updated')]
        numbers = [detection['silence_duration_ms'] for detection in kept]
        return [after for before, after in zip(numbers, numbers[1:]) if before != after]

    def flags(self):
        """What the gateway says of it."""
        lines = [line for line in self.test.ask('upstreams').splitlines() if f'upstream={self.name} ' in line]
        return dict(re.findall(r'(\w+)=([^ (]+)', lines[0]))


class Talk:
    """A client that speaks the story to one provider."""

    def __init__(self, provider, before=()):
        self.provider = provider
        self.client = provider.test.gateway_.connect(key=provider.key, query=f'model={STORY["id"]}')
        self.client.until('session.created')
        for event in before:
            self.client.event(**event)

    def say(self, audio):
        for at in range(0, len(audio), len(SILENCE)):
            self.client.event('input_audio_buffer.append', audio=base64.b64encode(audio[at:at + len(SILENCE)]).decode())

    def pause(self, passes, said=b''):
        """
        Words, and silence that a pass starts in; it is waited for, where one is expected.  On a slow machine the
        transcript of the words is there before the silence: then their pass has heard all, and the pause needs none.
        """
        asked, answered = len(self.provider.passes()), self.provider.passes_answered()
        self.say(said + PAUSE)
        if passes:
            wait_until(lambda: len(self.provider.passes()) > asked, f'{self.provider.name}: a pass')
            wait_until(lambda: self.provider.passes_answered() > answered, f'{self.provider.name}: its answer')

    def turn(self, number, passes=True, pauses=1):
        turn = STORY['turns'][number]
        cuts = [turn['words'] * cut // pauses for cut in range(pauses + 1)]
        for first, last in zip(cuts, cuts[1:]):
            self.pause(passes, speech(number, first, last - 1))
        self.say(END)
        return turn['reply']

    def answer(self):
        done = self.client.until('response.done')['response']
        return ''.join(part.get('transcript', part.get('text', '')) for item in done['output']
                       for part in item.get('content', []))

    def end(self):
        errors = [event for event in self.client.events if event['type'] == 'error']
        strange = [event for event in self.client.events if event['type'] == 'response.created'
                   and event['response'].get('conversation_id', '') is None]
        self.client.end()
        return errors + strange


class UpstreamsCase(Case):
    def setUp(self):
        super().setUp()
        self.tools = ToolServer(self.folder, STORY, profile='0.05')
        self.addCleanup(self.tools.end)
        self.gateway_ = self.gateway('ws://127.0.0.1:1/v1/realtime',
                                     speculation={'mode': 'confirm', 'relearn_after': '1h'})
        self.provider_key = self.gateway_.provider_key
        self.socket = os.path.join(self.folder, 'control.sock')

    def ask(self, *words):
        done = subprocess.run([program('daemon', 'admin', 'backchannelctl'), '--socket', self.socket, *words],
                              capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        return done.stdout

    def start(self, *providers, **more):
        """The gateway between these providers and their clients; more: options of all upstreams."""
        config = self.gateway_.config
        config['control'] = {'socket': self.socket}
        config['upstream'] = [{'name': provider.name, 'key': 'file:provider.key',
                               'url': f'ws://127.0.0.1:{provider.simulated.port}/v1/realtime', **more}
                              for provider in providers]
        config['client_key'] = [{'name': provider.name, 'upstream': provider.name,
                                 'sha256': hashlib.sha256(provider.key.encode()).hexdigest()}
                                for provider in providers]
        config['include'] = ['tools.toml']
        self.gateway_.write('tools.toml', '\n'.join(tool_toml(STORY, tool, self.tools.port)
                                                    for tool in STORY['tools']))
        self.gateway_.start()

    def call(self, provider, passes=True, turns=2, before=(), pauses=1):
        """A call in which every answer is right and nothing strange is seen."""
        talk = Talk(provider, before)
        for number in range(turns):
            wanted = talk.turn(number, passes, pauses)
            self.assertEqual(talk.answer(), wanted, provider.name)
        self.assertEqual(talk.end(), [], provider.name)

    def beside(self, plays):
        """Each play at the same time; all failures are told."""
        failures = []

        def guarded(play):
            try:
                play()
            except BaseException as failure:  # pylint: disable=broad-except  (it is told below)
                failures.append(f'{play.__name__}: {failure!r}')
        threads = [threading.Thread(target=guarded, args=(play,)) for play in plays]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])

    def until_noticed(self, provider, flag, value, **how):
        for _ in range(TRIES):
            self.call(provider, **how)
            if provider.flags()[flag] == value:
                return
        self.fail(f'{provider.name}: {flag} is {provider.flags()[flag]}')


class Passes(UpstreamsCase):
    def test_what_passes_may_not_have(self):
        audio, refs = Provider(self, 'audio', '--no-inline-audio'), Provider(self, 'refs', '--refuse-references')
        none, bare = Provider(self, 'none', '--no-out-of-band'), Provider(self, 'bare', '--no-input')
        blank, mute = Provider(self, 'blank', '--no-metadata'), Provider(self, 'mute', '--no-aside-calls')
        self.start(audio, refs, none, bare, blank, mute)

        def u1_words_where_audio_is_refused():
            self.call(audio, turns=1)
            self.assertEqual(audio.flags()['inline_audio'], 'no')
            asked = len(audio.passes())
            self.call(audio, passes=False)
            self.assertNotIn('input_audio', json.dumps(audio.passes()[asked:]))

        def u2_text_where_references_are_refused():
            talk = Talk(refs)
            for number in range(3):
                wanted = talk.turn(number)
                self.assertEqual(talk.answer(), wanted)
            self.assertEqual(talk.end(), [])
            self.assertEqual(refs.flags()['references'], 'no')
            kinds = [item['type'] for item in refs.passes()[-1]['input']]
            self.assertEqual((kinds.count('function_call'), kinds.count('function_call_output')), (3, 3))

        def u21_nothing_out_of_band(provider):
            talk = Talk(provider)
            wanted = talk.turn(0)
            self.assertEqual(talk.answer(), wanted)
            self.assertEqual(talk.end(), [])
            self.assertEqual(provider.flags()['out_of_band'], 'no')
            asked = len(provider.passes())
            self.call(provider, passes=False)
            self.assertEqual(len(provider.passes()), asked)

        def u21_no_mark():
            talk = Talk(blank)
            wanted = talk.turn(0)
            self.assertEqual(talk.answer(), wanted)
            self.assertEqual(talk.end(), [])
            self.assertEqual(blank.flags()['metadata'], 'no')
            asked = len(blank.passes())
            self.call(blank, passes=False)
            self.assertEqual(len(blank.passes()), asked)

        def u3_passes_that_name_nothing():
            self.until_noticed(mute, 'pass_silent_turns', '1', turns=1)
            self.until_noticed(mute, 'pass_calls', 'no', turns=1)
            self.assertEqual(mute.flags()['pass_silent_turns'], '4')
            asked = len(mute.passes())
            self.call(mute, passes=False)
            self.assertEqual(len(mute.passes()), asked)

        def u21_no_conversation():
            u21_nothing_out_of_band(none)

        def u21_no_input():
            u21_nothing_out_of_band(bare)

        self.beside([u1_words_where_audio_is_refused, u2_text_where_references_are_refused, u21_no_conversation,
                     u21_no_input, u21_no_mark, u3_passes_that_name_nothing])


class Conversation(UpstreamsCase):
    def test_what_the_conversation_may_not_have(self):
        calls, names = Provider(self, 'calls', '--no-function-items'), Provider(self, 'names', '--rename-call-ids')
        texts, usage = Provider(self, 'texts', '--text-after-text'), Provider(self, 'usage', '--cancel-null-usage')
        slow, cache = Provider(self, 'slow', '--cancel-delay', '1600'), Provider(self, 'cache', '--no-aside-cache')
        self.start(calls, names, texts, usage, slow, cache)

        def u9_strict_where_calls_are_refused():
            self.until_noticed(calls, 'client_calls', 'no')
            made = len([event for event in calls.events('in') if event['type'] == 'conversation.item.create'
                        and event['item']['type'] == 'function_call'])
            self.call(calls)
            self.assertEqual(made, len([event for event in calls.events('in')
                                        if event['type'] == 'conversation.item.create'
                                        and event['item']['type'] == 'function_call']))

        def u9_strict_where_calls_are_renamed():
            self.until_noticed(names, 'client_calls', 'no')
            self.call(names)

        def u17_spoken_answers_are_asked_for():
            said = {'type': 'message', 'role': 'assistant', 'content': [{'type': 'output_text', 'text': 'Hello.'}]}
            before = [{'event_type': 'conversation.item.create', 'item': said}]
            self.until_noticed(texts, 'audio_after_text', 'no', before=before)
            self.call(texts, before=before)
            asked = [event.get('response', {}) for event in texts.events('in') if event['type'] == 'response.create']
            self.assertIn(['audio'], [params.get('output_modalities') for params in asked])

        def u8_usage_of_what_was_cancelled():
            self.until_noticed(usage, 'cancelled_usage', 'no')

        def u8_a_slow_cancel():
            for _ in range(TRIES):
                self.call(slow)
                if slow.flags()['cancel_time'] != '?':
                    break
            self.assertGreaterEqual(int(slow.flags()['cancel_time'].removesuffix('ms')), 150)

        def u5_nothing_from_the_cache():
            long = [{'event_type': 'session.update',
                     'session': {'type': 'realtime', 'instructions': 'Be brief. ' * 600}}]
            self.call(cache, turns=3, before=long, pauses=3)
            self.assertEqual(cache.flags()['pass_cache'], 'no')

        self.beside([u9_strict_where_calls_are_refused, u9_strict_where_calls_are_renamed,
                     u17_spoken_answers_are_asked_for, u8_usage_of_what_was_cancelled, u8_a_slow_cancel,
                     u5_nothing_from_the_cache])


class Others(UpstreamsCase):
    def test_what_makes_no_difference(self):
        """U7, U10 to U13, U16: what is done anyway suits these, too."""
        names = ('no-manual-commit', 'no-output-while-active', 'idle-needs-create', 'cancel-late-create',
                 'truncate-on-interrupt', 'queue-auto-create')
        providers = [Provider(self, name, f'--{name}') for name in names]
        self.start(*providers)
        self.beside([lambda provider=provider: self.call(provider) for provider in providers])
        for provider in providers:
            self.assertNotIn('no', provider.flags().values(), provider.name)
            self.assertEqual(provider.flags()['inline_audio'], 'yes')

    def test_u15_the_result_of_a_call_that_is_gone_is_told_in_a_message(self):
        """The simulated model takes results from outputs only, so that its answer says nothing here."""
        old = Provider(self, 'old', '--call-age', '0.000001')
        self.start(old)
        talk = Talk(old)
        talk.turn(0)
        talk.answer()
        self.assertEqual(talk.end(), [])
        self.assertEqual(old.flags()['old_calls'], 'no')
        told = [event['item'] for event in old.events('in') if event['type'] == 'conversation.item.create'
                and event['item'].get('role') == 'system']
        self.assertIn('coffee machine', json.dumps(told))

    def test_each_name_is_explained(self):
        provider = Provider(self, 'plain')
        self.start(provider)
        self.assertEqual(self.ask('upstreams', 'help').splitlines()[::2], list(provider.flags())[2:])

    def test_it_is_kept_forgotten_and_overruled(self):
        none = Provider(self, 'none', '--no-out-of-band')
        self.start(none)
        self.call(none, passes=False, turns=1)
        wait_until(lambda: none.flags()['out_of_band'] == 'no', 'the refusal')
        self.gateway_.stop()
        self.gateway_.start()
        self.assertRegex(self.ask('upstreams'), r'upstream=none model=orders-1 .*out_of_band=no\(noticed,\d+s\)')
        asked = len(none.passes())
        self.call(none, passes=False, turns=1)
        self.assertEqual(len(none.passes()), asked)
        self.assertEqual(self.ask('upstreams', 'forget', 'none'), 'forgotten: 1\n')
        self.assertEqual(none.flags()['out_of_band'], '?')
        self.call(none, turns=1)
        self.assertEqual(none.flags()['out_of_band'], 'no')
        self.gateway_.stop()
        with open(self.gateway_.path('journal.db.upstreams'), 'w', encoding='utf-8') as file:
            file.write('{"version": 1, "upstreams": [{"upstream"')
        self.gateway_.config['upstream'][0]['assume'] = ['out_of_band=no']
        self.gateway_.start()
        self.assertIn('cannot be read', self.gateway_.log())
        self.assertIn('out_of_band=no(configured)', self.ask('upstreams'))
        asked = len(none.passes())
        self.call(none, passes=False, turns=1)
        self.assertEqual(len(none.passes()), asked)


class Silence(UpstreamsCase):
    def test_u6_the_silence_is_shortened_while_nobody_speaks(self):
        """An update that makes the provider forget the speech under way comes before there is any."""
        reset = Provider(self, 'reset', '--reset-vad')
        self.gateway_.config['speculation']['eager_turn'] = True
        self.start(reset)
        self.call(reset, passes=False)
        self.assertGreater(self.gateway_.metric('spec_eager_turns_total'), 1)
        self.assertEqual(self.gateway_.metric('spec_eager_resumed_total'), 0)
        self.assertNotEqual(reset.flags()['short_silence'], 'no')
        self.assertEqual(reset.heard(), ['speech_started', 'speech_stopped', 'committed'] * 2)

    def test_u6_speech_that_is_lost_over_the_shorter_silence_is_the_last_one(self):
        """The update was sent before anybody spoke, and takes its time."""
        late = Provider(self, 'late', '--reset-vad', '--detection-lag', str(1000 * SCALE))
        self.gateway_.config['speculation']['eager_turn'] = True
        self.start(late)
        for _ in range(TRIES):
            talk = Talk(late)
            talk.say(speech(0, 0, STORY['turns'][0]['words'] - 1))
            wait_until(lambda: late.silences()[-1:] == [SHORT], 'the shorter silence')
            if late.heard()[-1:] == ['speech_started']:
                break
            talk.end()  # nothing was said in time

        def noticed():
            talk.say(END)
            return late.flags()['short_silence'] == 'no'
        wait_until(noticed, 'the lost speech')
        wait_until(lambda: late.silences()[-1] == 500, "the client's own silence")
        wanted = talk.turn(0, passes=False)
        self.assertEqual(talk.answer(), wanted)
        self.assertEqual(talk.end(), [])
        updates = len(late.silences())
        self.call(late)
        self.assertEqual(late.silences()[updates:], [])

    def test_u18_the_lag_of_transcripts_is_measured(self):
        """The silence ends with the turn: whatever the lag is measured from came before the transcript was begun."""
        lag = 16
        late = Provider(self, 'late', '--asr-lag', str(lag))
        self.start(late)
        self.assertEqual(late.flags()['transcript_lag'], '?')
        talk = Talk(late, [{'event_type': 'session.update',
                            'session': {'type': 'realtime', 'audio': {'input': {'transcription': {
                                'model': 'whisper-1'}}}}}])
        talk.client.until('session.updated')
        talk.say(speech(0, 0, STORY['turns'][0]['words'] - 1) + SILENCE * TURN_END)
        talk.client.until('conversation.item.input_audio_transcription.completed')
        wait_until(lambda: late.flags()['transcript_lag'] != '?', 'the lag')
        self.assertGreaterEqual(int(late.flags()['transcript_lag'].removesuffix('ms')), lag * 1000 // SCALE)
        self.assertEqual(talk.end(), [])


class Pace(UpstreamsCase):
    ENOUGH = 32  # answers of either kind before anything is said of them
    COST = 250   # milliseconds

    def answers(self, provider, beside):
        """One call of that many answers, to words that ask for nothing: beside a pass, or behind its end."""
        talk = Talk(provider)
        for _ in range(self.ENOUGH):
            talk.say(speech(0, 0, 0))
            talk.pause(not beside)
            talk.say(END)
            self.assertEqual(talk.answer(), 'Go on.')
            wait_until(lambda: provider.passes_answered() == len(provider.passes()), 'the end of the pass')
        self.assertEqual(talk.end(), [])

    def passes_at_the_end(self, provider):
        """Passes that a client's own end of a turn sets off."""
        talk = Talk(provider, [{'event_type': 'session.update', 'session': {
            'type': 'realtime', 'audio': {'input': {'turn_detection': None}}}}])
        talk.client.until('session.updated')
        talk.say(speech(0, 0, 0))
        before = len(provider.passes())
        talk.client.event('input_audio_buffer.commit')
        talk.client.until('input_audio_buffer.committed')
        talk.client.event('response.create')
        self.assertEqual(talk.answer(), 'Go on.')
        self.assertEqual(talk.end(), [])
        return len(provider.passes()) - before

    def test_u4_no_pass_is_begun_while_an_answer_it_would_slow_is_awaited(self):
        slowed = Provider(self, 'slowed', '--aside-cost', str(self.COST * SCALE))
        self.start(slowed)
        self.assertEqual(self.passes_at_the_end(slowed), 1)
        self.answers(slowed, beside=False)
        self.assertEqual(slowed.flags()['parallel_passes'], '?')
        self.answers(slowed, beside=True)
        flags = slowed.flags()
        self.assertEqual(flags['parallel_passes'], 'no')
        alone, beside = (int(flags[name].removesuffix('ms')) for name in ('answer_alone', 'answer_beside'))
        self.assertGreaterEqual(beside - alone, self.COST / 2)
        self.assertIn('beginning none while one is awaited', self.gateway_.log())
        self.assertEqual(self.passes_at_the_end(slowed), 0)
        self.call(slowed)  # at pauses they are made as before


class Lines(UpstreamsCase):
    THRESHOLD = 8.0  # of the provider: it takes noise up to -21 dBFS for silence, and the gateway up to -45

    def talk(self, provider, loudest):
        """A call on a line with that noise, of which two turns are answered, and a third is not at its end."""
        draw = random.Random(loudest)
        noise = b''.join(draw.randint(-loudest, loudest).to_bytes(2, 'little', signed=True)
                         for _ in range(len(SILENCE) // 2))
        talk = Talk(provider, [{'event_type': 'session.update', 'session': {
            'type': 'realtime', 'audio': {'input': {'turn_detection': {
                'type': 'server_vad', 'threshold': self.THRESHOLD}}}}}])
        talk.client.until('session.updated')
        for number in range(2):
            turn = STORY['turns'][number]
            talk.say(speech(number, 0, turn['words'] - 1) + noise * 40)
            self.assertEqual(talk.answer(), turn['reply'])
        wait_until(lambda: provider.passes_answered() == len(provider.passes()), 'the end of the passes')
        before = len(provider.passes())
        talk.say(speech(2, 0, 0) + noise * 12)
        if self.gateway_.metric('spec_ears_given_up_total') == 0:
            wait_until(lambda: len(provider.passes()) > before, 'a pass at the pause')
            wait_until(lambda: provider.passes_answered() == len(provider.passes()), 'its end')
        self.assertEqual(talk.end(), [])

    def test_u19_the_noise_of_a_line_is_no_voice(self):
        line = Provider(self, 'line')
        self.start(line)
        self.talk(line, 100)
        self.assertEqual(self.gateway_.metric('spec_level_raised_total'), 0)
        self.talk(line, 568)
        self.assertEqual(self.gateway_.metric('spec_level_raised_total'), 1)
        self.assertEqual(self.gateway_.metric('spec_ears_given_up_total'), 0)
        self.talk(line, 1800)
        self.assertEqual(self.gateway_.metric('spec_ears_given_up_total'), 1)
        self.assertIn('too noisy to hear pauses', self.gateway_.log())


class Modes(UpstreamsCase):
    def test_modes_of_key_upstream_and_tool(self):
        off, strict, tool = Provider(self, 'off'), Provider(self, 'strict'), Provider(self, 'tool')
        self.start(off, strict, tool)
        self.gateway_.stop()
        config = self.gateway_.config
        config['client_key'][0]['speculation'] = 'off'
        config['upstream'][0]['speculation'] = 'inject'
        config['upstream'][1]['speculation'] = 'strict'
        text = '\n'.join(tool_toml(STORY, each, self.tools.port) for each in STORY['tools'])
        self.gateway_.start()
        self.call(off, passes=False)
        self.assertEqual(off.passes(), [])
        self.call(strict)
        self.assertGreater(self.gateway_.metric('spec_guesses_total'), 0)
        self.assertEqual(self.gateway_.metric('spec_takeovers_total'), 0)
        self.gateway_.stop()
        for name in ('get_order', 'get_invoice', 'track_shipment'):
            text = text.replace(f'name = "{name}"\n', f'name = "{name}"\nspeculation = "strict"\n')
        self.gateway_.write('tools.toml', text)
        self.gateway_.start()
        self.call(tool)
        self.assertGreater(self.gateway_.metric('spec_guesses_total'), 0)
        self.assertEqual(self.gateway_.metric('spec_takeovers_total'), 0)


if __name__ == '__main__':
    run()
