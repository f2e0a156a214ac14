#!/usr/bin/env python3
"""Plays the scenarios of one gateway configuration, one after the other, against one daemon.

Usage: play.py BUILD SOURCE CONFIGURATION [PART] [NAME...]

Each scenario is a file of scenarios/; with names, only these are played and their trace is shown.
"""
import contextlib
import glob
import json
import os
import shutil
import sys
import tempfile
import time
import traceback

import stage  # first: it says where ws and gateway are
from actors import Client, Reasoner, Scripted, Tools
from ears import PATIENCE, SYNC, Failure, member, short
from language import BadScript, Script
from meters import Meters
from simulating import Simulating
from ws import Server, connect, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
TRACE_SHOWN = 60  # lines of a failed scenario

SESSION = {
    'type': 'realtime', 'object': 'realtime.session', 'id': 'sess_1', 'tools': [], 'tool_choice': 'auto',
    'audio': {'input': {'format': {'type': 'audio/pcm', 'rate': 24000},
                        'turn_detection': {'type': 'server_vad', 'create_response': True, 'interrupt_response': True,
                                           'silence_duration_ms': 500}}}}


def laid_over(base, more):
    """A copy of base with the members of more, member by member."""
    out = dict(base)
    for key, value in more.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = laid_over(out[key], value) if both else value
    return out


def client_tool(name):
    return {'type': 'function', 'name': name, 'description': f'What {name} does.',
            'parameters': {'type': 'object', 'properties': {'page': {'type': 'string'}}}}


class Play:
    """One scenario on its stage."""

    def __init__(self, script, world):
        self.script, self.stage = script, world.stage
        self.scripted = script.provider == 'scripted'
        self.trace = []
        self.names, self.calls, self.written, self.pending = {}, {}, {}, {}
        self.ignored = () if self.scripted else ('rate_limits.updated',)
        self.dirty, self.gone = set(), False
        self.syncs = 0
        self.results, self.named = self.stage.results(), self.stage.named()
        self.daemon = Meters(self, self.stage.gateway, script.lines)
        # What a provider does is remembered by its model: each scenario has its own.
        model = os.path.splitext(os.path.basename(script.path))[0]
        self.client = Client(self, self.stage.gateway.connect(query=f'model={model}'), tuple(stage.TOOLS))
        peer = world.server.accept()
        if self.scripted:
            self.provider = Scripted(self, peer)
            self.provider.ear.start()
        else:
            onward = connect(world.simulated(script.provider).port, '/v1/realtime?model=gpt-realtime')
            self.provider = Simulating(self, peer, onward)
            self.provider.start()
        self.client.ear.start()
        self.tool = Tools(self, self.stage.tools)
        self.reasoner = Reasoner(self, self.stage.tools)

    # ---- what the actors need of each other ----

    def note(self, who, event):
        self.trace.append(f'{who} > {short(event)}')

    def identity(self, name):
        if name in self.names:
            return self.names[name]
        if not self.scripted:
            raise BadScript(f'{name} was not named before')
        return name

    def same(self, name, actual):
        """A name means this id from now on, or has meant it before."""
        expected = self.names.setdefault(name, name if self.scripted else actual)
        if expected != actual:
            raise Failure(f'{actual} is not {name}, which is {expected}')

    def call_id(self, name):
        if name not in self.calls:
            raise BadScript(f'{name} is no call')
        return self.calls[name]

    def wait(self, condition, what):
        try:
            wait_until(condition, what, PATIENCE)
        except AssertionError as failure:
            raise Failure(str(failure)) from None

    def expect_result(self):
        self.results += 1

    # ---- order across connections ----

    def sync(self, name):
        """Whatever that actor did has been taken in by the daemon."""
        self.dirty.discard(name)
        if name == 'tool':
            self.wait(lambda: self.stage.results() >= self.results, f'{self.results} ended calls')
        elif name == 'reasoner':
            self.wait(lambda: self.stage.named() >= self.named, f'{self.named} calls named by the reasoner')
        elif not self.gone:
            self.syncs += 1
            here, there = (self.client, self.provider) if name == 'client' else (self.provider, self.client)
            if name == 'client':
                here.peer.event(SYNC, n=self.syncs)
            else:
                here.send({'type': SYNC, 'n': self.syncs})
            there.ear.wait_sync(self.syncs)

    def settle(self):
        """All that anybody did has had its consequences, and these have arrived."""
        for name in ('tool', 'reasoner', 'client', 'provider'):
            self.sync(name)

    # ---- steps ----

    def act(self, line):
        if line.actor not in ('client', 'provider', 'tool', 'reasoner', 'daemon'):
            raise BadScript(f'{line.actor} is no actor')
        actor = getattr(self, line.actor)
        looks = line.verb in ('gets', 'loses', 'waits', 'counts') or (line.actor, line.verb) == ('tool', 'ends')
        if not looks:
            for other in sorted(self.dirty - {line.actor}):
                self.sync(other)
        if line.verb == 'gets' and line.actor in ('client', 'provider'):
            method = getattr(actor, f'gets_{line.word(0)}', None)
        else:
            method = getattr(actor, line.verb, None)
        if method is None:
            raise BadScript(f'the {line.actor} knows no {line.verb} {line.word(0)}')
        method(line)
        if line.verb in ('leaves', 'disappears'):
            self.gone = True
        elif not looks:
            self.dirty.add(line.actor)

    def begin(self):
        if self.scripted:
            self.begin_scripted()
        else:
            self.begin_simulated()
        self.settle()
        self.trace.clear()

    def offer(self):
        """The gateway's own update, before anything else."""
        update = self.provider.take('session.update')
        names = [tool['name'] for tool in update['session']['tools']]
        if names != list(stage.TOOLS):
            raise Failure(f'the gateway offers {names}')
        return update['session']['tools']

    def begin_scripted(self):
        session = laid_over(SESSION, self.script.session)
        offered = self.offer()
        self.provider.say('session.created', session=session)
        self.client.take('session.created')
        self.provider.say('session.updated', session={**session, 'tools': offered})
        if self.script.gateway in stage.UPDATED_TWICE:
            # Words need a transcript, eager turns a shorter silence: the gateway asks, and the client is not shown it.
            update = self.provider.take('session.update')
            session = laid_over(session, {'audio': update['session']['audio']})
            self.provider.say('session.updated', session={**session, 'tools': offered})
        if self.script.client_tools:
            self.client.send({'type': 'session.update', 'session': {
                'type': 'realtime', 'tools': [client_tool(name) for name in self.script.client_tools]}})
            update = self.provider.take('session.update')
            self.provider.say('session.updated', session={**session, 'tools': update['session']['tools']})
            shown = self.client.take('session.updated')['session']['tools']
            assert [tool['name'] for tool in shown] == self.script.client_tools, shown

    def begin_simulated(self):
        self.offer()
        self.client.take('session.created')
        self.client.take('conversation.created')
        session = {'type': 'realtime', **self.script.session}
        if self.script.client_tools:
            session['tools'] = [client_tool(name) for name in self.script.client_tools]
        self.client.send({'type': 'session.update', 'session': session})
        self.provider.take('session.update')
        self.client.take('session.updated')
        self.provider.events.clear()

    def run(self):
        self.begin()
        for line in self.script.lines:
            try:
                self.act(line)
                self.check()
            except Exception as error:
                raise Failure(f'line {line.number}: {line.text}\n{type(error).__name__}: {error}') from error
        self.finish()

    def check(self):
        for eye in (self.client.eye, self.provider.eye):
            if eye.faults:
                raise Failure(eye.faults[0])

    def finish(self):
        """Nothing was left over, every call has its one output, and the session ends."""
        if not self.gone:
            self.client.gets_nothing(None)
            self.provider.gets_nothing(None)
            expected = sorted(self.call_id(name) for name in self.script.unanswered)
            missing = sorted(self.provider.eye.missing(stage.TOOLS))
            if missing != expected:
                raise Failure(f'calls without an output: {missing}')
            if self.client.eye.open:
                raise Failure(f'the client waits for the end of {list(self.client.eye.open)}')
            self.client.peer.close(1000)
            self.provider.close(1000)
        self.check()
        self.wait(lambda: self.stage.gateway.metric('sessions_open') == 0, 'the end of the session')

    def end(self):
        for request in (*self.tool.held.values(), *self.reasoner.held.values()):
            if request.answer is None:
                request.give('cut')
        left = self.stage.tools.clear()
        for peer in (self.client.peer, self.provider.peer, getattr(self.provider, 'onward', None)):
            if peer:
                with contextlib.suppress(OSError):
                    peer.close(1000)
        wait_until(lambda: self.stage.gateway.metric('sessions_open') == 0, 'the end of the session')
        wait_until(lambda: self.stage.gateway.metric('tool_calls_in_flight') == 0, 'the end of the calls')
        for peer in (self.client.peer, self.provider.peer, getattr(self.provider, 'onward', None)):
            if peer:
                peer.end()
        return left


class World:
    """What the scenarios of one run share."""

    def __init__(self, configuration):
        self.folder = tempfile.mkdtemp(prefix='async-')
        self.providers = {}
        self.server = Server()
        self.stage = stage.Stage(self.folder, configuration, f'ws://127.0.0.1:{self.server.port}/v1/realtime')

    def simulated(self, words):
        """The simulated provider that was started with these options: "simulated [OPTION...]"."""
        options = tuple(f'--{word}' if word[0].isalpha() else word for word in words.split()[1:])
        if options not in self.providers:
            self.providers[options] = stage.Simulated(options)
        return self.providers[options]

    def end(self):
        self.stage.end()
        for provider in self.providers.values():
            provider.end()
        self.server.end()
        shutil.rmtree(self.folder, ignore_errors=True)


def play(script, world):
    """None, or why it failed; and the trace."""
    one = None
    try:
        one = Play(script, world)
        one.run()
        why = None
    except Exception as error:  # whatever it is, the next scenario has its turn
        why = f'{type(error).__name__}: {error}'
        if not isinstance(error, Failure):
            why += '\n' + traceback.format_exc()
    left = one.end() if one else []
    if left and why is None:
        why = f'nobody asked for these calls: {left}'
    return why, one.trace if one else []


def comment(text):
    print('\n'.join(f'# {line}' for line in text.splitlines()))


def scripts(configuration, part, names):
    """The scenarios of a configuration; part "i/n" takes every n-th from the i-th on."""
    paths = sorted(glob.glob(os.path.join(HERE, 'scenarios', '*.txt')))
    chosen = [Script(path) for path in paths]
    chosen = [script for script in chosen if script.gateway == configuration]
    if names:
        return [script for script in chosen if os.path.splitext(os.path.basename(script.path))[0] in names]
    first, of = (int(number) for number in part.split('/'))
    return chosen[first - 1::of]


def main(configuration, part='1/1', *names):
    chosen = scripts(configuration, part, names)
    print(f'1..{len(chosen)}', flush=True)
    world = World(configuration)
    failed = 0
    try:
        for number, script in enumerate(chosen, 1):
            began = time.monotonic()
            why, trace = play(script, world)
            failed += why is not None
            if why or names:
                comment('\n'.join(trace[-TRACE_SHOWN:]))
                comment(why or '')
            print(f'{"not " if why else ""}ok {number} - {script.title}', flush=True)
            if time.monotonic() - began > 3:
                comment(f'{script.path}: {time.monotonic() - began:.1f} s')
    finally:
        world.end()
    return 1 if failed or not chosen else 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[3:]))
