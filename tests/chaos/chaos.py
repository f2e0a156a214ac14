#!/usr/bin/env python3
"""The real daemon in trouble, call after call on one journal: what its tool server did is what its journal says.

Each call gets one trouble at a random moment: the daemon is killed, the tool server stands still, the disk is full or turns
read-only, the provider goes away in mid-turn, or the caller does; some also meet a tool server that fails or loses its answers.  Then the daemon is started anew,
settles what was left open, and is judged by the tool server's log of effects: nothing lost, nothing double, nothing
unexplained.

Usage: chaos.py BUILD SOURCE CALLS [SEED]
"""
import collections
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.abspath(sys.argv[2]), 'tests', 'e2e'))
from gateway import BUILD, SANITIZE, TIMING, Gateway, SimulatedProvider, ToolServer, dialogue, program  # noqa: E402
from world import tool_toml  # noqa: E402
from ws import PATIENCE, wait_until  # noqa: E402

STORIES = ('booking-1', 'booking-2', 'booking-3', 'address-1', 'travel-1')
SCALE = 12  # times as fast as a person
TOOL_TIME = 0.15  # seconds
LONGEST = 3.0  # seconds until the trouble comes
QUICK = {'mode': 'confirm', 'hold_quiet': '60ms', 'stable_for': '40ms'}
TROUBLES = ('kill',) * 4 + ('stop the tools', 'fill the disk', 'make the disk read-only', 'drop the provider',
                            'drop the caller')
PRELOADED = program('tests', 'chaos', 'libchaos_readonly.so')  # beside a sanitizer nothing can be preloaded
DROPS = ('response.created', 'response.output_item.added', 'response.done', 'input_audio_buffer.committed')
OPEN = "SELECT count(*) FROM intents i LEFT JOIN settlements s ON s.intent = i.intent WHERE s.intent IS NULL"
ROWS = ("SELECT i.key, i.intent, i.tool, i.effect, coalesce(z.how, s.how), r.status,"
        " NOT i.speculative OR coalesce(d.what, '') = 'committed' FROM intents i"
        " LEFT JOIN settlements s ON s.intent = i.intent LEFT JOIN resolutions z ON z.intent = i.intent"
        " LEFT JOIN results r ON r.intent = i.intent LEFT JOIN decisions d ON d.intent = i.intent")
REPORTED = ('in_doubt', 'parked')


class Wrong(Exception):
    """What must not be."""


def expect(condition, *what):
    if not condition:
        raise Wrong(' '.join(str(part) for part in what))


class FullGateway(Gateway):
    """A daemon that is told of a full disk instead of being ended by it."""

    def spawn(self):
        before = subprocess.Popen
        environment = {**os.environ, 'CHAOS_READONLY': self.path('read-only')}
        if not SANITIZE:
            environment['LD_PRELOAD'] = PRELOADED
        subprocess.Popen = lambda *args, **named: before(*args, restore_signals=False, env=environment, **named)
        try:
            super().spawn()
        finally:
            subprocess.Popen = before

    def fill_disk(self, to_the_brim):
        """From now on no file grows; to_the_brim: nor is there room for what takes the place of something older."""
        size = 0 if to_the_brim else max(os.path.getsize(self.path(name)) for name in ('journal.db', 'journal.db-wal'))
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (size, size))

    def set_read_only(self, on):
        """Whether nothing of the journal can be changed any more."""
        if on:
            self.write('read-only', '')
        elif os.path.exists(self.path('read-only')):
            os.unlink(self.path('read-only'))

    def start_read_only(self):
        """A daemon that finds its journal so says so and ends, or serves without it; either way nothing is promised."""
        self.spawn()
        wait_until(lambda: self.process.poll() is not None or self.answers(), 'a start on a read-only disk')
        if self.process.poll() is None:
            self.kill()
            return 'served read-only'
        status, self.process = self.process.poll(), None
        expect(status in (1, 2) and 'cannot start' in self.log(), 'a start on a read-only disk:', status, self.log())
        return 'refused to start read-only'

    def answers(self):
        try:
            return self.fetch('/readyz')[0] == 200
        except OSError:
            return False

    def query(self, text):
        """What the journal says, as another process reads it."""
        with sqlite3.connect(f'file:{self.path("journal.db")}?mode=ro', uri=True, timeout=PATIENCE) as db:
            rows = db.execute(text).fetchall()
        db.close()
        return rows


class Chaos:
    def __init__(self, folder, seed):
        self.folder = folder
        self.random = random.Random(seed)
        self.stories = [dialogue(name) for name in STORIES]
        self.tools = ToolServer(folder, *self.stories, profile=str(TOOL_TIME),
                                options=('--fail-rate', '0.04', '--lose-rate', '0.04', '--error-rate', '0.02'))
        self.gateway = FullGateway(folder, 'ws://127.0.0.1:1/v1/realtime')
        self.gateway.config['speculation'] = dict(QUICK)
        self.gateway.config['include'] = ['tools.toml']
        self.gateway.config['tools'] = {'undo_backoff': '20ms', 'undo_attempts_max': 4, 'retry_backoff': '20ms'}
        self.told = collections.Counter()
        self.deck = []

    def end(self):
        self.tools.process.send_signal(signal.SIGCONT)
        try:
            self.gateway.end()
        finally:
            self.tools.end()

    def prepare(self, number):
        """The tools of one dialogue, with a state of its own at the tool server."""
        story = self.random.choice(self.stories)
        own = {**story, 'id': f'{story["id"]}@{number}'}
        self.gateway.write('tools.toml', '\n'.join(
            tool_toml(own, tool, self.tools.port).replace('effect = ', 'timeout = "1s"\neffect = ')
            for tool in story['tools']))
        return story

    def speak(self, story):
        return subprocess.Popen(
            [program('tests', 'caller', 'caller'), '--url',
             f'ws://127.0.0.1:{self.gateway.port}/v1/realtime?model={story["id"]}', '--key', self.gateway.client_key,
             '--dialogues', self.tools.dialogues, '--timing', TIMING, '--scale', str(SCALE), '--repairs'],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def draw(self):
        """Each trouble comes as often as it stands in the list, in another order each time."""
        if not self.deck:
            self.deck = [trouble for trouble in TROUBLES if not (SANITIZE and 'read-only' in trouble)]
            self.random.shuffle(self.deck)
        return self.deck.pop()

    def options(self, trouble):
        wrong = ('--early-wrong', '0.3', '--eagerness', '1')
        if trouble != 'drop the provider':
            return wrong
        if self.random.random() < 0.5:
            return wrong + ('--drop-at', self.random.choice(DROPS))
        return wrong + ('--drop-after', str(self.random.randint(2, 400)))

    def await_effect(self, caller):
        size = os.path.getsize(self.tools.effects_path)
        limit = time.monotonic() + 2 * LONGEST
        while os.path.getsize(self.tools.effects_path) == size and caller.poll() is None and time.monotonic() < limit:
            time.sleep(0.002)

    def trouble(self, trouble, caller):
        """It comes at some moment, also when the call is over; every other time around an effect."""
        if self.random.random() < 0.5:
            time.sleep(self.random.uniform(0, LONGEST))
        else:
            self.await_effect(caller)
            time.sleep(self.random.uniform(0, 2 * TOOL_TIME))
        if trouble == 'stop the tools':
            self.tools.process.send_signal(signal.SIGSTOP)
            time.sleep(self.random.uniform(0.05, 1.5))
            if self.random.random() < 0.5:
                self.gateway.kill()
            self.tools.process.send_signal(signal.SIGCONT)
        elif trouble == 'fill the disk':
            self.gateway.fill_disk(self.random.random() < 0.7)
            time.sleep(self.random.uniform(0.1, 1.5))
        elif trouble == 'make the disk read-only':
            self.gateway.set_read_only(True)
            time.sleep(self.random.uniform(0.1, 1.5))
        elif trouble == 'drop the caller':
            caller.kill()
            time.sleep(self.random.uniform(0, 0.3))
        elif trouble == 'drop the provider':
            time.sleep(self.random.uniform(0, 0.5))

    def play(self, number):
        story = self.prepare(number)
        trouble = self.draw()
        provider = SimulatedProvider(self.folder, self.tools.dialogues, self.gateway.provider_key, SCALE,
                                     self.options(trouble))
        try:
            self.gateway.config['upstream'][0]['url'] = f'ws://127.0.0.1:{provider.port}/v1/realtime'
            self.gateway.start()
            caller = self.speak(story)
            try:
                self.trouble(trouble, caller)
            finally:
                caller.kill()
                caller.wait()
            if self.gateway.process:
                self.count_guesses()
                self.gateway.kill()
            if os.path.exists(self.gateway.path('read-only')) and self.random.random() < 0.5:
                self.told[self.gateway.start_read_only()] += 1
            self.gateway.set_read_only(False)
            self.told[trouble] += 1
            self.told['kills'] += 1
            self.told['open at a kill'] += self.gateway.query(OPEN)[0][0]
            self.recover()
        finally:
            provider.end()

    def count_guesses(self):
        self.told['guesses'] += self.gateway.metric('spec_guesses_total')
        self.told['journals that failed'] += self.gateway.metric('journal_errors_total') > 0

    def recover(self):
        """A start in a world that is well again settles everything; sometimes it is killed while it does."""
        if self.random.random() < 0.3:
            self.gateway.start()
            time.sleep(self.random.uniform(0, 0.1))
            self.gateway.kill()
            self.told['kills'] += 1
        self.gateway.start()
        self.gateway.wait_metric('journal_undos_open', 0)
        wait_until(lambda: self.gateway.query(OPEN)[0][0] == 0, 'settlement of all that was open')
        self.gateway.stop()
        verdict = self.gateway.journal('verify')
        expect(verdict.endswith('journal clean\n'), verdict)
        self.judge()

    def judge(self):
        """The effects the tool server has seen since its start against the intents of the journal since its."""
        rows, log = self.gateway.query(ROWS), self.tools.effects()
        known, done, undone = self.read(rows, log)
        self.judge_effects(known, done, undone)
        self.told['effects'], self.told['undone'] = len(done), len(undone)
        self.told['left to the operator'] = sum(1 for row in known.values() if row['how'] in REPORTED)
        if done:
            self.judge_judge(rows, log)

    def judge_judge(self, rows, log):
        """What would be wrong is found."""
        key = next(line['key'] for line in log if line['kind'] == 'effect' and not line.get('not found'))
        for lie_rows, lie_log in (
                (rows, log + [dict(next(line for line in log if line['key'] == key), duplicate=False)]),
                ([row for row in rows if row[0] != key], log),
                ([row[:4] + ('never_started',) + row[5:] if row[0] == key else row for row in rows], log),
                ([row[:4] + ('unused', 200, 0) if row[0] == key else row for row in rows], log),
                (rows + [('lost', 0, 'a tool', 'hold', 'used', 200, 1)], log)):
            try:
                self.judge_effects(*self.read(lie_rows, lie_log))
            except Wrong:
                continue
            raise AssertionError('the judge is blind')

    @staticmethod
    def read(rows, log):
        known = {}
        for key, intent, tool, effect, how, status, wanted in rows:
            expect(key not in known, 'two intents share the key', key)
            known[key] = {'intent': intent, 'tool': tool, 'effect': effect, 'how': how, 'status': status,
                          'wanted': wanted}
        log = [line for line in log if not line.get('not found')]
        done = [line for line in log if line['kind'] == 'effect' and not line.get('duplicate')]
        undone = [line for line in log if line['kind'] == 'undo' and not line.get('duplicate')]
        for line in done + undone:
            expect(line['key'] in known, 'nobody intended', line)
        for lines in (done, undone):
            keys = collections.Counter(line['key'] for line in lines)
            expect(max(keys.values(), default=0) <= 1, 'done twice:', keys.most_common(1))
        return known, done, undone

    @staticmethod
    def judge_effects(known, done, undone):
        effects = {line['key'] for line in done}
        undos = {line['key'] for line in undone}
        taken_back = sum(1 for row in known.values() if row['effect'] == 'reversible' and row['how'] == 'undone')
        for key, row in known.items():
            if row['effect'] in ('reversible', 'hold'):
                if row['how'] in ('used', 'undone'):
                    expect(key in effects, 'the journal knows of an effect that never was:', row)
                elif row['how'] in ('never_started', 'failed'):
                    expect(key not in effects, 'the journal does not know of an effect:', row)
                # Where it was wanted, the call was over before it could be told.
                expect(row['how'] != 'unused' or row['wanted'], 'an effect nobody wanted stands:', row)
                expect(not (row['effect'] == 'hold' and row['how'] == 'undone'), 'a hold was undone:', row)
            elif row['effect'] == 'undo' and row['how'] == 'used':
                expect(key in undos, 'the journal knows of an undo that never was:', row)
        expect(taken_back == sum(1 for key in undos if known[key]['how'] == 'used'), 'undos and undone effects differ')


def main():
    calls = int(sys.argv[3])
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else random.SystemRandom().randrange(1 << 32)
    folder = tempfile.mkdtemp(prefix='chaos-')
    print(f'seed {seed}: chaos.py {BUILD} {sys.argv[2]} {calls} {seed}', flush=True)
    chaos = Chaos(folder, seed)
    try:
        for number in range(calls):
            try:
                chaos.play(number)
            except Exception:
                print(f'call {number} of seed {seed}; its files are in {folder}', flush=True)
                raise
    finally:
        chaos.end()
    print(f'{calls} calls:', ', '.join(f'{count} {what}' for what, count in sorted(chaos.told.items())))
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == '__main__':
    main()
