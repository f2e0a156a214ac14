#!/usr/bin/env python3
"""SIGKILL at any point of a call, then a restart on the same journal: J1 to J4, J6 and J7 as seen from outside.

A call is played once in peace to learn which moments it has; then once for each chosen moment, which ends in the
kill.  What the tool server did is compared with what the journal knows.

Usage: test_crash.py BUILD SOURCE [CLASS]
"""
import collections
import concurrent.futures
import json
import os
import re
import signal
import subprocess
import time

from gateway import TIMING, Case, Gateway, SimulatedProvider, ToolServer, dialogue, program, run
from world import tool_toml
from ws import PATIENCE, wait_until

SCALE = 4  # times as fast as a person
POINTS = 16  # kills per dialogue
AT_ONCE = 4
OPEN_LINE = re.compile(r'journal: intent (\d+) of session (\S+) was open: (\S+) tool (\S+), (.*); look')
COUNT_LINE = re.compile(r'journal \S*journal\.db: (\d+) reads and (\d+) effects were open')


def kind_of(line):
    """What moment a line of the provider's log is; None: none of interest."""
    event = line.get('event', {})
    item = event.get('item', {})
    if line['kind'] == 'in':
        return 'output arrives' if item.get('type') == 'function_call_output' else None
    if event.get('type') == 'response.output_item.done':
        return 'call is complete' if item.get('type') == 'function_call' else 'message is complete'
    return {'session.created': 'provider is there', 'input_audio_buffer.speech_started': 'caller speaks',
            'input_audio_buffer.committed': 'turn ends', 'response.created': 'response begins',
            'response.done': 'response ends'}.get(event.get('type'))


class Moments:
    """Counts what has happened in a call so far: lines of two files and requests at the tool server."""

    def __init__(self, log_path, tools):
        self.log_path, self.tools = log_path, tools
        self.log = open(log_path, encoding='utf-8')
        self.effects = open(tools.effects_path, encoding='utf-8')
        self.rest = ''
        self.counts = collections.Counter()

    def end(self):
        self.log.close()
        self.effects.close()

    def look(self):
        *lines, self.rest = (self.rest + self.log.read()).split('\n')
        for line in lines:
            kind = kind_of(json.loads(line))
            if kind:
                self.counts[kind] += 1
        self.counts['effect happens'] += self.effects.read().count('\n')
        return self.counts


class Call:
    """All programs of one call; leave with end()."""

    def __init__(self, folder, story, provider_options=(), speculation=None):
        os.mkdir(folder)
        self.story = story
        self.cleanup = []
        self.tools = self.keep(ToolServer(folder, story, profile='0.05'))
        self.gateway = self.keep(Gateway(folder, 'ws://127.0.0.1:1/v1/realtime'))
        self.provider = self.keep(SimulatedProvider(folder, self.tools.dialogues, self.gateway.provider_key, SCALE,
                                                    options=provider_options))
        self.gateway.config['upstream'][0]['url'] = f'ws://127.0.0.1:{self.provider.port}/v1/realtime'
        self.gateway.config['speculation'] = speculation or {'mode': 'strict'}
        self.gateway.config['include'] = ['tools.toml']
        self.gateway.write('tools.toml', '\n'.join(tool_toml(story, tool, self.tools.port)
                                                   for tool in story['tools']))
        self.moments = self.keep(Moments(self.provider.log_path, self.tools))

    def keep(self, part):
        self.cleanup.append(part)
        return part

    def end(self):
        for part in reversed(self.cleanup):
            part.end()

    def speak(self):
        """Start the caller."""
        return subprocess.Popen(
            [program('tests', 'caller', 'caller'), '--url',
             f'ws://127.0.0.1:{self.gateway.port}/v1/realtime?model={self.story["id"]}', '--key',
             self.gateway.client_key, '--dialogues', self.tools.dialogues, '--timing', TIMING, '--scale', str(SCALE),
             '--repairs'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def known(self):
        """Every intent of the journal by its idempotency key."""
        known = {}
        for session in {row['session'] for row in self.gateway.intents()}:
            text = self.gateway.journal('show', session)
            for intent, tool, rest in re.findall(r'^intent (\d+) (\S+)\n((?:  .*\n)+)', text, re.MULTILINE):
                key = re.search(r'^  key +(\S+)$', rest, re.MULTILINE)[1]
                assert key not in known, f'two intents share the key {key}'
                known[key] = {'intent': intent, 'tool': tool, 'result': '\n  result ' in '\n' + rest}
        return known


class Crash(Case):
    """The tests; each class below is one dialogue."""

    story = None

    def play(self, name, until=None):
        """
        One call to its end: its moments.  Or to the moment until = (kind, number) and the kill that follows: how many
        effects were open then.
        """
        call = Call(os.path.join(self.folder, name), self.story)
        try:
            call.gateway.start()
            caller = call.speak()
            try:
                if until is None:
                    self.assertEqual(caller.wait(4 * PATIENCE), 0)
                    call.gateway.wait_metric('sessions_open', 0)
                    return self.check_peace(call)
                self.wait_for(call, caller, *until)
                call.gateway.kill()
            finally:
                caller.kill()
                caller.wait()
            return self.check_after(call)
        finally:
            call.end()

    def wait_for(self, call, caller, kind, number):
        if kind == 'request is held':
            self.hold_request(call, caller, number)
            return
        limit = time.monotonic() + 4 * PATIENCE
        while call.moments.look()[kind] < number and caller.poll() is None:
            self.assertLess(time.monotonic(), limit, f'{kind} {number} never came')
            time.sleep(0.001)

    def hold_request(self, call, caller, number):
        """Let requests pass one after the other; keep back the answer of the one with that number."""
        for tool in self.story['tools']:
            call.tools.hold(tool['name'])
        limit = time.monotonic() + 4 * PATIENCE
        while caller.poll() is None:
            self.assertLess(time.monotonic(), limit)
            calls = call.tools.calls()
            if len(calls) >= number:
                return
            if any(made['answered'] is None for made in calls):
                call.tools.release()
                wait_until(lambda: all(made['answered'] is not None for made in call.tools.calls()), 'answers')
                for tool in self.story['tools']:
                    call.tools.hold(tool['name'])
            time.sleep(0.002)

    def check_effects(self, call, known):
        """J1 and J6: whatever happened was intended before, under its own key, once."""
        effects = call.tools.effects()
        keys = [effect['key'] for effect in effects]
        self.assertEqual(len(keys), len(set(keys)), effects)
        doings = [(effect['tool'], json.dumps(effect['args'], sort_keys=True)) for effect in effects]
        self.assertEqual(len(doings), len(set(doings)), effects)
        for effect in effects:
            self.assertIn(effect['key'], known, 'an effect without an intent')
            self.assertEqual(known[effect['key']]['tool'], effect['tool'])
        return effects

    def check_peace(self, call):
        """A call without a crash leaves nothing open; its moments are what the others may end at."""
        self.check_effects(call, call.known())
        self.assertEqual(call.gateway.intents('--open'), [])
        counts = dict(call.moments.look())
        counts['request is held'] = len(call.tools.calls())
        effects = len(call.tools.effects())
        self.assertEqual(effects, sum(1 for turn in self.story['turns'] for made in turn['calls']
                                      if not made['read_only']))
        return counts

    def check_after(self, call):
        gateway = call.gateway
        self.assertTrue(gateway.journal('verify').endswith('journal clean\n'))
        left = gateway.intents('--open')
        known = call.known()
        effects = [row for row in left if row['effect'] != 'read']
        call.tools.release()

        gateway.start()
        log = gateway.log()
        self.assertEqual(COUNT_LINE.search(log).groups(), (str(len(left) - len(effects)), str(len(effects))))
        reported = [(intent, session, effect, tool, words == 'its result was recorded')
                    for intent, session, effect, tool, words in OPEN_LINE.findall(log)]
        self.assertEqual(sorted(reported), sorted((row['intent'], row['session'], row['effect'], row['tool'],
                                                   row['state'] == 'done') for row in effects))
        self.assertTrue(gateway.journal('verify').endswith('journal clean\n'))
        # Every effect is in the journal, and where no result is, a person is told.
        for effect in self.check_effects(call, known):
            intent = known[effect['key']]
            self.assertTrue(intent['result'] or intent['intent'] in [row['intent'] for row in effects])
        # J4: what is repeatable was sent again under its key, so that its outcome is known; a hold is never sent again.
        wait_until(lambda: {row['state'] for row in gateway.intents('--open')} <= {'in_doubt'}, 'every outcome')
        doubtful = gateway.intents('--open')
        self.assertEqual({row['intent'] for row in effects
                          if row['state'] == 'intended' and row['effect'] == 'hold'},
                         {row['intent'] for row in doubtful})
        self.check_effects(call, known)
        self.assertLessEqual({row['intent'] for row in doubtful}, {row['intent'] for row in effects})

        client = gateway.connect(query=f'model={self.story["id"]}')
        client.until('session.created')
        client.close()
        client.lost()
        client.end()
        gateway.stop()
        gateway.start()
        self.assertEqual(COUNT_LINE.search(gateway.log()).groups(), ('0', '0'))
        self.assertEqual(gateway.intents('--open'), doubtful)
        gateway.stop()
        self.assertTrue(gateway.journal('verify').endswith('journal clean\n'))
        self.assertEqual({key: row['intent'] for key, row in call.known().items()},
                         {key: row['intent'] for key, row in known.items()})
        return len(effects)

    def choose(self, counts):
        """Moments of every kind, those around tools first, spread evenly over the others."""
        tools = [(kind, number) for kind in ('request is held', 'effect happens', 'output arrives')
                 for number in range(1, counts.get(kind, 0) + 1)]
        others = [(kind, number) for kind in sorted(counts) if (kind, 1) not in tools
                  for number in range(1, counts[kind] + 1)]
        step = max(1, len(others) / max(1, POINTS - len(tools)))
        return tools + [others[int(at * step)] for at in range(int(len(others) / step))]

    def check_all(self):
        counts = self.play('peace')
        points = self.choose(counts)
        self.assertGreaterEqual(len(points), 12, counts)
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            runs = {point: pool.submit(self.play, f'{point[0]} {point[1]}'.replace(' ', '-'), point)
                    for point in points}
            found = 0
            for point, result in runs.items():
                with self.subTest(point):
                    found += result.result()
        # At least the kill while the write's answer was kept back.
        self.assertGreaterEqual(found, 1)


class Reversible(Crash):
    story = dialogue('booking-1')

    def test_every_moment(self):
        self.check_all()


class ReversibleExact(Crash):
    story = dialogue('booking-3')

    def test_every_moment(self):
        self.check_all()


# Passes while the caller speaks name what they can, and it is run; the provider's own response decides otherwise, so nothing
# of that becomes real as long as its answer is kept back.
HASTY = {'provider_options': ('--eagerness', '1', '--early-wrong', '0', '--rival', '1'),
         'speculation': {'mode': 'confirm', 'growth': '100ms', 'interval': '100ms', 'stable_for': '0s',
                         'passes_max': 64}}


class Undo(Crash):
    """Killed between an effect and its undo, and again while the undo is on its way."""

    story = dialogue('booking-1')

    def effect_then_kill(self, call, caller):
        tool = self.writing_tool()
        call.tools.hold(tool)
        wait_until(lambda: call.tools.effects() or caller.poll() is not None, 'the effect')
        call.gateway.kill()
        self.assertEqual(len(call.tools.effects()), 1)
        rows = [row for row in call.gateway.intents('--open') if row['effect'] == 'reversible']
        self.assertEqual([(row['tool'], row['who']) for row in rows], [(tool, 'guess')])
        return rows[0]

    def writing_tool(self):
        return next(made['name'] for turn in self.story['turns'] for made in turn['calls'] if not made['read_only'])

    def inverse(self):
        return next(tool['inverse']['name'] for tool in self.story['tools'] if tool['name'] == self.writing_tool())

    def left_behind(self, name):
        """A call whose daemon was killed right after the effect of a guess, and the row of that guess."""
        call = Call(os.path.join(self.folder, name), self.story, **HASTY)
        self.addCleanup(call.end)
        call.gateway.start()
        caller = call.speak()
        try:
            return call, self.effect_then_kill(call, caller)
        finally:
            caller.kill()
            caller.wait()

    def test_a_guess_of_a_caller_who_hangs_up_is_taken_back(self):
        """Nobody is killed: a pass names a write while the caller speaks, it is run, and the turn never ends."""
        call = Call(os.path.join(self.folder, 'live'), self.story, **HASTY)
        self.addCleanup(call.end)
        gateway = call.gateway
        gateway.config['control'] = {'socket': gateway.path('control.sock')}
        gateway.start()
        call.tools.hold(self.writing_tool())
        caller = call.speak()
        try:
            wait_until(lambda: call.tools.effects() or caller.poll() is not None, 'the effect')
        finally:
            caller.kill()
            caller.wait()
        wait_until(lambda: gateway.metric('sessions_open') == 0, 'the end of the call')
        wait_until(lambda: any('abandoned' in row for row in self.listed(gateway)), 'the end of the turn in the journal')
        guess, = self.listed(gateway)
        self.assertEqual(guess[4:], ['reversible', 'guess', 'abandoned', self.writing_tool()])
        call.tools.release()
        wait_until(lambda: call.tools.request('/control/effects')['effects'] == [], 'the undo')
        log = [(made['kind'], made['tool']) for made in call.tools.effects()]
        self.assertEqual(log, [('effect', self.writing_tool()), ('undo', self.inverse())])
        wait_until(lambda: {(found['effect'], found['who'], found['state']) for found in gateway.intents()
                            if found['effect'] != 'read'} ==
                   {('reversible', 'guess', 'undone'), ('undo', 'asked', 'used')}, 'the record of the undo')
        self.assertEqual(self.listed(gateway), [])
        self.assertIn('undone', self.operate(gateway, 'show', guess[2])[1])
        gateway.stop()
        self.assertTrue(gateway.journal('verify').endswith('journal clean\n'))

    def test_kill_between_effect_and_undo(self):
        self.take_back(*self.left_behind('undo'))

    def test_parked_until_the_operator_retries(self):
        call, row = self.left_behind('parked')
        gateway = call.gateway
        with open(gateway.path('tools.toml'), encoding='utf-8') as file:
            good = file.read()
        gateway.write('tools.toml', re.sub(r'(?m)^(undo = .*)/tools/', r'\1/nowhere/', good))
        gateway.config['control'] = {'socket': gateway.path('control.sock')}
        gateway.config['tools'] = {'undo_attempts_max': 2, 'undo_backoff': '1ms'}
        call.tools.release()
        gateway.start()
        gateway.wait_metric('journal_parked', 1)
        self.assertEqual(self.operate(gateway, 'resolve', '999', '--as', 'done')[0], 1)
        self.assertEqual(self.operate(gateway, 'retry', 'x')[0], 1)
        status, listed = self.operate(gateway, 'list')
        self.assertEqual(status, 0)
        self.assertIn(row['intent'], [line.split()[0] for line in listed.splitlines() if ' parked ' in line])
        self.assertIn('abandoned', self.operate(gateway, 'show', row['session'])[1])

        gateway.write('tools.toml', good)
        gateway.signal(signal.SIGHUP)
        wait_until(lambda: 'configuration read again' in gateway.log(), 'the reload')
        self.assertEqual(self.operate(gateway, 'retry', row['intent'])[0], 0)
        gateway.wait_metric('journal_parked', 0)
        self.assertEqual(call.tools.request('/control/effects')['effects'], [])
        self.assertEqual(self.operate(gateway, 'retry', row['intent'])[0], 1)
        gateway.stop()
        self.assertTrue(gateway.journal('verify').endswith('journal clean\n'))

    @staticmethod
    def operate(gateway, *words):
        done = subprocess.run([program('daemon', 'admin', 'backchannelctl'), '--socket', gateway.path('control.sock'),
                               'journal', *words], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    def listed(self, gateway):
        status, text = self.operate(gateway, 'list')
        self.assertEqual(status, 0)
        return [line.split() for line in text.splitlines()[1:]]

    def take_back(self, call, row):
        gateway = call.gateway
        call.tools.release()
        call.tools.hold(self.inverse())
        gateway.start()
        wait_until(lambda: any(made['tool'] == self.inverse() for made in call.tools.calls()), 'the undo')
        abandoned = [found for found in gateway.intents('--open') if found['effect'] == 'reversible']
        self.assertEqual([(found['intent'], found['state']) for found in abandoned], [(row['intent'], 'abandoned')])
        gateway.kill()
        call.tools.release()
        gateway.start()
        # The journal tells when it is over: the gauge of undos is zero before the daemon has begun with them, too.
        wait_until(lambda: {(found['effect'], found['state']) for found in gateway.intents()
                            if found['effect'] != 'read'} == {('reversible', 'undone'), ('undo', 'used')}, 'the undo')
        self.assertEqual(call.tools.request('/control/effects')['effects'], [])
        undos = [made for made in call.tools.calls() if made['tool'] == self.inverse()]
        self.assertGreaterEqual(len(undos), 2)
        self.assertEqual(len({made['key'] for made in undos}), 1, 'J6: one key for all attempts, also after a restart')
        gateway.stop()
        self.assertTrue(gateway.journal('verify').endswith('journal clean\n'))


class Hold(Crash):
    story = dialogue('address-1')

    def test_every_moment(self):
        self.check_all()


class HoldAfterCorrection(Crash):
    story = dialogue('travel-1')

    def test_every_moment(self):
        self.check_all()


if __name__ == '__main__':
    run()
